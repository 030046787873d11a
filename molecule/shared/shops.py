"""The shop app as a site of each server kind: what the tests change, deploy and put under load."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from barriers import Barrier
from load_generator import LoadGenerator
from support import PROJECT, SITES, Machine, Run, Site, command_of, run_playbook, wait_until

SOURCE = PROJECT / "molecule/shared/shop"
T = TypeVar("T")
U = TypeVar("U")
# gunicorn's worker classes, and uWSGI.
SERVER_KINDS = ("sync", "gthread", "gevent", "tornado", "uwsgi")


@dataclass
class Shop(Site):
    """One such site: its code and its entry in the site config, which the tests change."""

    folder: Path

    @property
    def server(self) -> str:
        """Its server."""
        return self.entry.get("server", "gunicorn")

    @property
    def kind(self) -> str:
        """Its server kind: a worker class of gunicorn's, or uwsgi."""
        return "uwsgi" if self.server == "uwsgi" else self.entry["worker_class"]

    @property
    def code(self) -> Path:
        """The folder that it is deployed from."""
        return self.folder / self.name

    @property
    def site_config(self) -> dict[str, Any]:
        """The site config of a run for this site alone."""
        return {self.name: {**self.entry, "source": {"path": str(self.code)}}}

    @property
    def templates(self) -> Path:
        """The operator's overrides for it, if there are any."""
        return self.folder / "templates" / self.name

    def copy(self, folder: Path) -> Shop:
        """The same site from another folder with its own site config, so that changes there do not change this one."""
        shutil.copytree(self.code, folder / self.name)
        return replace(self, entry=copy.deepcopy(self.entry), folder=folder)

    def append(self, line: str, file: str = "wsgi.py") -> None:
        """Add a line to its code."""
        with (self.code / file).open("a") as code:
            code.write(line + "\n")

    def arguments(self, *variables: str) -> list[str]:
        """The arguments that limit a run to this site."""
        overrides = [f"operator_templates={self.templates.parent}"] if self.templates.exists() else []
        return [f"--extra-vars={variable}" for variable in (f"site={self.name}", *overrides, *variables)]

    def run(self, verb: str, *variables: str) -> Run:
        """Run a verb's playbook for it."""
        arguments = self.arguments(*variables)
        return run_playbook(f"playbooks/{verb}.yml", *arguments, machine=self.machine, sites=self.site_config)

    def run_ok(self, verb: str, *variables: str) -> Run:
        """Run a verb's playbook for it; the run must succeed."""
        return self.run(verb, *variables).checked()

    @property
    def deploy_command(self) -> list[str]:
        """The command of a deploy that a test starts and interrupts."""
        return command_of("playbooks/deploy.yml", *self.arguments(), machine=self.machine, sites=self.site_config)

    def generator(self, **settings: Any) -> LoadGenerator:
        """Clients that send requests to it until their limit."""
        return LoadGenerator(self.machine.address, self.server_name, self.name, port=self.port, **settings)

    def stored(self, generator: LoadGenerator) -> list[str]:
        """The orders of these clients that it has stored."""
        return stored(self, generator)

    def logged(self, generator: LoadGenerator, count: int) -> list[str]:
        """The lines of nginx's access logs, rotated ones included, about these clients, once there are so many."""

        def lines() -> list[str]:
            command = "zgrep -h -F %s /var/log/%s/access.log*"
            return self.machine.output(command, generator.name, self.name).splitlines()

        # nginx writes each line a moment after the response.
        wait_until(lambda: len(lines()) >= count, "the log has a line for each request")
        return lines()


def stored(site: Site, generator: LoadGenerator) -> list[str]:
    """The orders of these clients that a site with the shop app has stored."""
    return site.machine.output("grep -F %s %s/shared/data/orders || true", generator.name, site.root).splitlines()


def make(machine: Machine, name: str, folder: Path, **entry: Any) -> Shop:
    """A site of the scenario with its own copy of the code, or another one if an entry is given."""
    entry = entry or {key: value for key, value in SITES[name].items() if key != "source"}
    shop = Shop(machine, name, entry, folder)
    shutil.copytree(SOURCE, shop.code, ignore=shutil.ignore_patterns("__pycache__"))
    return shop


def deploy_all(shops: list[Shop]) -> Run:
    """Deploy several sites in one run; the run must succeed."""
    sites = {name: entry for shop in shops for name, entry in shop.site_config.items()}
    return run_playbook("playbooks/deploy.yml", machine=shops[0].machine, sites=sites).checked()


def distribute(shops: list[Shop], jobs: list[T], do: Callable[[Shop, T], U]) -> list[U]:
    """Distribute jobs over the sites: one after the other on each site, the sites in parallel."""
    shares = [jobs[number :: len(shops)] for number in range(len(shops))]
    with ThreadPoolExecutor(len(shops)) as pool:
        results = pool.map(lambda shop, share: [do(shop, job) for job in share], shops, shares)
    return [outcome for result in results for outcome in result]


def in_parallel(shops: list[Shop], job: Callable[[Shop], Any]) -> list[Any]:
    """Do the same to several sites at once."""
    with ThreadPoolExecutor(len(shops)) as pool:
        return list(pool.map(job, shops))


@contextmanager
def deploy_at_barrier(shop: Shop, barrier: Barrier) -> Iterator[subprocess.Popen]:
    """A deploy that waits at a barrier inside the context, and has ended after it in any case."""
    run = subprocess.Popen(
        shop.deploy_command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        barrier.wait()
        yield run
    finally:
        barrier.open()
        run.communicate(timeout=300)


def add_package(lock: Path, name: str, other: Path) -> None:
    """Add a package to a lock file, with the hashes that another lock file has for it."""
    found = re.search(rf"^{name}==.*?(?=^\S)", other.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    lock.write_text(lock.read_text() + found.group())
