"""What the tests of deploys are written with: verbs for one site, and its history."""

from __future__ import annotations

import os

import testinfra
from support import Machine, Run, Site, play, until


def machine_of(name: str) -> Machine:
    """A host of the scenario by its name."""
    inventory = os.environ["MOLECULE_INVENTORY_FILE"]
    return Machine(testinfra.get_host(f"ansible://{name}?ansible_inventory={inventory}"))


def run(verb: str, *words: str, machine: Machine | None = None, sites: dict | None = None) -> Run:
    """Run a verb's playbook for the ledger, with extra variables such as ``release=…``."""
    extra = [f"--extra-vars={word}" for word in ("site=ledger", *words)]
    return play(f"playbooks/{verb}.yml", *extra, machine=machine, sites=sites)


def well(verb: str, *words: str, machine: Machine | None = None, sites: dict | None = None) -> Run:
    """The same, and it must end well."""
    done = run(verb, *words, machine=machine, sites=sites)
    assert done.rc == 0, done.output
    return done


def releases(sites: list[Site]) -> set[str]:
    """What is live, by what the app itself tells; each site must be well."""
    for site in sites:
        until(site.is_well, f"{site.name} on {site.machine.name} is well")
    return {site.answering_release for site in sites}


def history(site: Site) -> list[str]:
    """The lines of a site's history, without their times."""
    return [line.partition(" ")[2] for line in site.machine.output("cat %s/releases.log", site.root).splitlines()]
