"""What is timed: each case, the playbook that each side runs for it, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from measuring.commands import ROOT

SIDES = {"bundle": "this bundle", "baseline": "the usual way"}


@dataclass(frozen=True)
class Case:
    """One kind of run.

    :param baseline: empty where the usual way has nothing to set against it
    :param changes: whether a host is another one afterwards
    :param drains: whether an old release gets its time to end its requests
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
        """What an operator would run, relative to the project."""
        return str(getattr(self, side))


CASES = {
    "bare": Case("a bare host", "site.yml", earlier=42),
    "nothing": Case("nothing to do", "site.yml", changes=False, earlier=19),
    "idle": Case("nothing to do, the sites only", "playbooks/deploy.yml", changes=False),
    "code": Case("new code, the whole job", "site.yml", drains=True, earlier=9.5),
    "deploy": Case("new code, the sites only", "playbooks/deploy.yml", drains=True),
    "rollback": Case("back to the code before", "playbooks/rollback.yml", drains=True),
    "dependency": Case("one package more, the sites only", "playbooks/deploy.yml", drains=True),
    "restart": Case("new processes", "playbooks/restart.yml", "bench/baseline/restart.yml", drains=True),
    "floor": Case("Ansible alone", "bench/floor.yml", "", changes=False),
}
# Small packages that the site does not need, and whose hashes the tests' own lock knows.
PACKAGES = ("iniconfig", "pathspec", "pluggy")


@dataclass(frozen=True)
class Step:
    """One case in a round, with what the site's page must show afterwards."""

    case: str
    revision: int
    package: str = ""


def steps(repeat: int) -> Iterator[Step]:
    """One round: a bare host, then what can be repeated."""
    revision, package = 1, ""
    yield Step("bare", revision)
    for number in range(repeat):
        yield Step("nothing", revision, package)
        yield Step("idle", revision, package)
        before, live = 2 * number + 2, 2 * number + 3
        yield Step("code", before, package)
        yield Step("deploy", live, package)
        # The usual way has no way back: it deploys the old code again.
        yield Step("rollback", before, package)
        # Another one each time: the usual way takes none away, so what it once installed costs nothing any more.
        revision, package = before, PACKAGES[number % len(PACKAGES)]
        yield Step("dependency", revision, package)
        yield Step("restart", revision, package)
        yield Step("floor", revision, package)


def drain() -> float:
    """Seconds that the bundle leaves an old release after the switch."""
    defaults = yaml.safe_load((ROOT / "roles/release/defaults/main.yml").read_text(encoding="utf-8"))
    return float(defaults["release_drain"])
