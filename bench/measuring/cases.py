"""The cases: the playbook that each side runs, and the order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from measuring.commands import ROOT

SIDES = {"bundle": "this bundle", "baseline": "the baseline"}


@dataclass(frozen=True)
class Case:
    """One kind of run.

    :param baseline: empty where the baseline has no counterpart
    :param changes: whether the run changes the host
    :param drains: whether an old release gets time to finish its requests
    :param earlier: seconds that the best-known roles put together (nginx, supervisor, pip, releases) took for it,
        measured earlier on a 2-core machine
    """

    title: str
    bundle: str
    baseline: str = "bench/baseline/site.yml"
    changes: bool = True
    drains: bool = False
    earlier: float | None = None

    def playbook(self, side: str) -> str:
        """The playbook of a side, relative to the project."""
        return str(getattr(self, side))


CASES = {
    "bare": Case("a bare host", "site.yml", earlier=42),
    "nothing": Case("nothing to do", "site.yml", changes=False, earlier=19),
    "idle": Case("nothing to do, the sites only", "playbooks/deploy.yml", changes=False),
    "code": Case("new code, the whole job", "site.yml", drains=True, earlier=9.5),
    "deploy": Case("new code, the sites only", "playbooks/deploy.yml", drains=True),
    "rollback": Case("rollback to the previous code", "playbooks/rollback.yml", drains=True),
    "dependency": Case("one package more, the sites only", "playbooks/deploy.yml", drains=True),
    "restart": Case("new processes", "playbooks/restart.yml", "bench/baseline/restart.yml", drains=True),
    "ansible": Case("Ansible alone", "bench/ansible_alone.yml", "", changes=False),
}
# Small packages that the site does not need, and whose hashes the tests' own lock knows.
PACKAGES = ("iniconfig", "pathspec", "pluggy")


@dataclass(frozen=True)
class Step:
    """One case in a round, with what the health page must show afterwards."""

    case: str
    revision: int
    package: str = ""


def steps(repeat: int) -> Iterator[Step]:
    """One round: a bare host, then the cases that can be repeated."""
    revision, package = 1, ""
    yield Step("bare", revision)
    for number in range(repeat):
        yield Step("nothing", revision, package)
        yield Step("idle", revision, package)
        before, live = 2 * number + 2, 2 * number + 3
        yield Step("code", before, package)
        yield Step("deploy", live, package)
        # The baseline has no rollback: it deploys the old code again.
        yield Step("rollback", before, package)
        # Another one each time: the baseline removes none, so a package that it once installed costs nothing again.
        revision, package = before, PACKAGES[number % len(PACKAGES)]
        yield Step("dependency", revision, package)
        yield Step("restart", revision, package)
        yield Step("ansible", revision, package)


def drain() -> float:
    """Seconds that an old release gets after the switch."""
    defaults = yaml.safe_load((ROOT / "roles/release/defaults/main.yml").read_text(encoding="utf-8"))
    return float(defaults["release_drain"])
