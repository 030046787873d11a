"""Sites that book sales, one for each worker class and server, and what happens to them while they are hammered."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from hammer import Hammer, Report
from holding import Hold
from reliability import Table
from support import PROJECT, Machine, Run, Site, command_of, play, until

SOURCE = PROJECT / "molecule/deploy/till"
T = TypeVar("T")
U = TypeVar("U")
# Worker classes of gunicorn, and the other server.
KINDS = ("sync", "gthread", "gevent", "tornado", "uwsgi")


@dataclass
class Till(Site):
    """One such site: its code and its entry on the page, which the tests change."""

    folder: Path

    @property
    def server(self) -> str:
        """Its server."""
        return self.entry.get("server", "gunicorn")

    @property
    def kind(self) -> str:
        """What is told apart: a worker class, or the other server."""
        return "uwsgi" if self.server == "uwsgi" else self.entry["worker_class"]

    @property
    def code(self) -> Path:
        """The folder that it is deployed from."""
        return self.folder / self.name

    @property
    def page(self) -> dict[str, Any]:
        """The page of a run for this site alone."""
        return {self.name: {**self.entry, "source": {"path": str(self.code)}}}

    @property
    def templates(self) -> Path:
        """The operator's overrides for it, if there are any."""
        return self.folder / "templates" / self.name

    def copy(self, folder: Path) -> Till:
        """The same site from another folder, with a page of its own: what is changed there is not changed here."""
        shutil.copytree(self.code, folder / self.name)
        return replace(self, entry=copy.deepcopy(self.entry), folder=folder)

    def write(self, line: str, file: str = "wsgi.py") -> None:
        """Change its code by another line at the end."""
        with (self.code / file).open("a") as code:
            code.write(line + "\n")

    def words(self, *words: str) -> list[str]:
        """The arguments that make a run one for this site."""
        overrides = [f"operator_templates={self.templates.parent}"] if self.templates.exists() else []
        return [f"--extra-vars={word}" for word in (f"site={self.name}", *overrides, *words)]

    def run(self, verb: str, *words: str) -> Run:
        """Run a verb's playbook for it."""
        return play(f"playbooks/{verb}.yml", *self.words(*words), machine=self.machine, sites=self.page)

    def well(self, verb: str, *words: str) -> Run:
        """The same, and it must end well."""
        done = self.run(verb, *words)
        assert done.rc == 0, done.output
        return done

    def deploying(self) -> list[str]:
        """The command of a deploy, to be started and killed."""
        return command_of("playbooks/deploy.yml", *self.words(), machine=self.machine, sites=self.page)

    def hammer(self, **settings: Any) -> Hammer:
        """Clients that ask it and end by themselves."""
        return Hammer(self.machine.address, self.server_name, self.name, port=self.port, **settings)

    def booked(self, hammer: Hammer) -> list[str]:
        """The sales of these clients that it has booked."""
        return self.machine.output("grep -F %s %s/shared/data/sales || true", hammer.name, self.root).splitlines()

    def logged(self, hammer: Hammer, count: int) -> list[str]:
        """The lines of nginx's log about these clients, wherever they were rotated to, once so many are written."""

        def lines() -> list[str]:
            command = "zgrep -h -F %s /var/log/%s/access.log*"
            return self.machine.output(command, hammer.name, self.name).splitlines()

        # Each is written a moment after its answer.
        until(lambda: len(lines()) >= count, "a line about each request is in the log")
        return lines()


def make(machine: Machine, kind: str, folder: Path, name: str = "") -> Till:
    """A till before its first deploy."""
    name = name or f"till_{kind}"
    entry = {"server_names": [f"{name}.test"], "workers": 2, "requirements": "requirements.txt"}
    entry |= {"server": "uwsgi", "worker_class": "gthread"} if kind == "uwsgi" else {"worker_class": kind}
    till = Till(machine, name, entry, folder)
    shutil.copytree(SOURCE, till.code, ignore=shutil.ignore_patterns("__pycache__"))
    return till


def in_lanes(tills: list[Till], jobs: list[T], do: Callable[[Till, T], U]) -> list[U]:
    """Share the jobs out among the sites: one after the other on each site, the sites side by side."""
    shares = [jobs[number :: len(tills)] for number in range(len(tills))]
    with ThreadPoolExecutor(len(tills)) as pool:
        lanes = pool.map(lambda till, share: [do(till, job) for job in share], tills, shares)
    return [outcome for lane in lanes for outcome in lane]


def at_once(tills: list[Till], job: Callable[[Till], Any]) -> list[Any]:
    """Do the same to several sites at a time."""
    with ThreadPoolExecutor(len(tills)) as pool:
        return list(pool.map(job, tills))


@dataclass
class Load:
    """What came of it: one hammer and one report for each site."""

    hammers: dict[str, Hammer] = field(default_factory=dict)
    reports: dict[str, Report] = field(default_factory=dict)

    @property
    def harm(self) -> dict[str, dict[str, list[str]]]:
        """Whatever anybody noticed."""
        return {name: report.harm for name, report in self.reports.items() if report.harm}

    @property
    def idle_closes(self) -> int:
        """Kept connections that closed while nothing was under way."""
        return sum(report.idle_closes for report in self.reports.values())


@contextmanager
def under_load(tills: list[Till], what: str, table: Table, **settings: Any) -> Iterator[Load]:
    """Hammer these sites while ``what`` happens to them; the reports are there afterwards."""
    load = Load({till.name: till.hammer(**settings) for till in tills})
    with ExitStack() as stack:
        for hammer in load.hammers.values():
            stack.enter_context(hammer)
        for hammer in load.hammers.values():
            stack.enter_context(hammer.change())
        yield load
    for till in tills:
        hammer = load.hammers[till.name]
        report = load.reports[till.name] = hammer.report(till.booked(hammer))
        table.add(what, till.kind, report)


@contextmanager
def held(till: Till, hold: Hold) -> Iterator[subprocess.Popen]:
    """A deploy that has come so far that it waits for a word; it has ended afterwards, whatever happened."""
    run = subprocess.Popen(till.deploying(), cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        hold.wait()
        yield run
    finally:
        hold.let_go()
        run.communicate(timeout=300)


def add_package(lock: Path, name: str, other: Path) -> None:
    """Put a package into a lock file, with the hashes that another lock has of it."""
    found = re.search(rf"^{name}==.*?(?=^\S)", other.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    lock.write_text(lock.read_text() + found.group())
