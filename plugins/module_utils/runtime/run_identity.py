"""Who is at work: the run of a playbook (or of SITE-ctl) that a step belongs to."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime

# Not a module's parameter: one keyword of a block reaches every step below it, whatever module that is.
VARIABLE = "SITES_RUN"
# Seconds without a sign of life after which nobody believes any more that a run on another machine goes on.
PATIENCE = 600.0


@dataclass(frozen=True)
class Run:
    """One run, told from every other one.

    :param machine: names the controller, its boot and its process namespace: only there do process IDs mean anything
    :param process: the controller's process, ``PID:START``; empty where its like cannot be listed
    :param alive: the processes on the controller that a run could be, when this run's step was sent
    :param patience: seconds of silence after which this run takes another one for dead
    :param silence: seconds that this run itself may be silent on one host, while it waits for another one
    :param step: whether the run is one single step, which has the kernel's lock for as long as it lives
    """

    id: str
    action: str
    who: str
    controller: str
    began: float
    machine: str = ""
    process: str = ""
    alive: frozenset[str] = field(default=frozenset(), repr=False)
    patience: float = PATIENCE
    silence: float = 0.0
    take: bool = False
    step: bool = False

    @property
    def author(self) -> str:
        """``alice@laptop``."""
        return f"{self.who}@{self.controller}"

    @property
    def moment(self) -> datetime:
        """When it began: the same on every host, whatever their clocks say."""
        return datetime.fromtimestamp(int(self.began), tz=UTC)


def current() -> Run | None:
    """The run that this process belongs to, or None for a step that somebody calls by itself."""
    text = os.environ.get(VARIABLE, "")
    if not text:
        return None
    values = json.loads(text)
    return Run(**{**values, "alive": frozenset(values.get("alive", []))})


def author() -> str:
    """Who deploys, for a release's ``release.json``."""
    run = current()
    return run.author if run else ""


def moment() -> datetime:
    """The time that a new release's ID begins with: one and the same on all hosts of a run."""
    run = current()
    return run.moment if run else datetime.now(UTC)
