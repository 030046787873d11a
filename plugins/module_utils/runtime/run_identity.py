"""The identity of the run (of a playbook or of SITE-ctl) that a step belongs to."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime

# Not a module parameter: one `environment` keyword of a block reaches all its steps, whatever the module.
VARIABLE = "SITES_RUN"
# Seconds without a sign of life after which a run of another machine counts as dead.
PATIENCE = 600.0


@dataclass(frozen=True)
class Run:
    """The identity of one run.

    :param machine: identifies the controller, its boot and its PID namespace, where process IDs are comparable
    :param process: the controller's process, ``PID:START``; empty where processes cannot be listed
    :param alive: the controller's processes that may be runs, at the time of this step
    :param patience: seconds of silence after which this run regards another one as dead
    :param silence: seconds that this run may be silent on a host while it waits for another host
    :param step: whether the run is a single step, which holds the kernel lock until its end
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
        """Its start time: the same on every host, whatever their clocks show."""
        return datetime.fromtimestamp(int(self.began), tz=UTC)


def current() -> Run | None:
    """The run that this process belongs to, or None for a step outside a run."""
    text = os.environ.get(VARIABLE, "")
    if not text:
        return None
    values = json.loads(text)
    return Run(**{**values, "alive": frozenset(values.get("alive", []))})


def author() -> str:
    """The author of a deploy, for ``release.json``."""
    run = current()
    return run.author if run else ""


def moment() -> datetime:
    """The time in a new release's ID: the same on all hosts of a run."""
    run = current()
    return run.moment if run else datetime.now(UTC)
