"""The processes of a site, and the listeners on the host."""

from __future__ import annotations

from support import SITES, Machine, Site


def test_only_the_live_slot_runs(site: Site) -> None:
    assert site.programs == {f"{site.name}-{site.slot}": "RUNNING"}
    files = site.machine.output("ls /etc/supervisor/conf.d").split()
    wanted = {site.slot, *site.entry.get("processes", {}), *site.entry.get("cron", {})}
    if site.entry.get("workers_min") and site.entry.get("server", "gunicorn") == "gunicorn":
        wanted.add("scaler")
    assert {name for name in files if name.startswith(f"{site.name}-")} == {f"{site.name}-{it}.conf" for it in wanted}


def test_the_number_of_workers_follows_the_site_config_or_the_usable_cpus(site: Site) -> None:
    wanted = site.entry.get("workers", "auto")
    if wanted == "auto":
        wanted = 2 * site.machine.cpus + 1
        if site.entry.get("workers_max"):
            wanted = min(wanted, site.entry["workers_max"])
    assert (site.entry.get("workers_min") or wanted) <= len(site.workers) <= wanted


def test_only_ssh_nginx_and_configured_listeners_are_reachable(machine: Machine) -> None:
    wanted = {22, *(entry.get("http_port", 80) for entry in SITES.values())}
    wanted |= {Site(machine, name, entry).port for name, entry in SITES.items()}
    wanted |= {int(listener.rpartition(":")[2]) for entry in SITES.values() for listener in entry.get("bind", [])}
    wanted |= set(machine.platform.get("foreign_ports", []))
    lines = machine.output("ss --no-header --listening --tcp --numeric").splitlines()
    assert {int(line.split()[3].rpartition(":")[2]) for line in lines} == wanted
