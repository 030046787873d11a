"""Playbook runs for the site `ledger`, and its history."""

from __future__ import annotations

from support import Machine, Run, Site, run_playbook, wait_until


def run(verb: str, *variables: str, machine: Machine | None = None, sites: dict | None = None) -> Run:
    """Run a verb's playbook for the ledger, with extra variables such as ``release=…``."""
    extra = [f"--extra-vars={variable}" for variable in ("site=ledger", *variables)]
    return run_playbook(f"playbooks/{verb}.yml", *extra, machine=machine, sites=sites)


def run_ok(verb: str, *variables: str, machine: Machine | None = None, sites: dict | None = None) -> Run:
    """Run a verb's playbook for the ledger; the run must succeed."""
    return run(verb, *variables, machine=machine, sites=sites).checked()


def live_releases(sites: list[Site]) -> set[str]:
    """The live releases as the app reports them; each site must be healthy."""
    for site in sites:
        wait_until(site.is_healthy, f"{site.name} on {site.machine.name} is healthy")
    return {site.answering_release for site in sites}


def history(site: Site) -> list[str]:
    """The lines of a site's history, without their times."""
    return [line.partition(" ")[2] for line in site.machine.output("cat %s/releases.log", site.root).splitlines()]
