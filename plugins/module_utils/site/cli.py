"""SITE-ctl: the commands for one site on its host.

Its name has the site's name (``shop-ctl``). It is installed as one file that contains the code of the playbooks' steps,
so it restarts a site as a playbook does, through the other slot.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from ansible_collections.wsgi.sites.plugins.module_utils.certificates.folder import Folder
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.lineage import Lineage
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.renewal import take
from ansible_collections.wsgi.sites.plugins.module_utils.daemons.errors import Refused
from ansible_collections.wsgi.sites.plugins.module_utils.releases import deployment, retained
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import history, jobs
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.lock import Busy, Held, read, site_lock
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.run_identity import Run
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.supervisor import SupervisorError
from ansible_collections.wsgi.sites.plugins.module_utils.site import cli_database, logs, maintenance, remote_upstream
from ansible_collections.wsgi.sites.plugins.module_utils.site.cli_process import CommandError, as_site, execute
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout
from ansible_collections.wsgi.sites.plugins.module_utils.site.registry import PROXY_ONLY, recorded
from ansible_collections.wsgi.sites.plugins.module_utils.site.status import status as live_status
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import TAIL, visible

USAGE = """usage: {name} COMMAND

  status           what is live, since when, whether it answers, and what was done last
  restart          new processes of the live release; no request is lost, unless the site
                   has going_live: replace
  maintenance on [REASON] | off
                   clients get a maintenance page, except those of maintenance.allow;
                   nothing is reloaded or stopped
  logs [-f]        the last lines of its logs; -f follows them
  shell            a shell as the site, in app/, with its environment
  flask ...        the site's flask command
  run COMMAND...   any command as the site
  job NAME         one run of a job of the site, as cron starts it; waits for its end
  db               the shell of the database that DATABASE_URL names
  bans             the addresses that fail2ban has banned; unban ADDRESS removes one
  renewed          install certbot's new certificate; certbot calls this itself

To deploy or to roll back, run the playbooks, which handle all hosts at once.
"""

# Of each log.
LINES = 30


def main(argv: Sequence[str]) -> int:
    """Entry point."""
    name = os.path.basename(argv[0])
    try:
        if list(argv[1:]) == [cli_database.AS_SITE]:
            cli_database.database_shell(os.environ)
        site_name = name.removesuffix("-ctl")
        command, *arguments = argv[1:] or ["help"]
        if command in ("help", "-h", "--help") or command not in COMMANDS:
            print(USAGE.format(name=name), file=sys.stdout if command in ("help", "-h", "--help") else sys.stderr)
            return 0 if command in ("help", "-h", "--help") else 2
        if os.geteuid() != 0:
            raise CommandError(f"needs root, to become the site's user: sudo {name} {command}")
        record = recorded(site_name)
        if not record:
            raise CommandError(f"there is no site {site_name} on this host")
        if PROXY_ONLY in record and command not in PROXY_ONLY_COMMANDS:
            where = ", ".join(record[PROXY_ONLY]["servers"])
            raise CommandError(f"this host has only the site's nginx; run {command} on its servers' hosts: {where}")
        return COMMANDS[command](Layout(site_name, Path(record.get("root", "/nonexistent"))), arguments)
    except (CommandError, jobs.JobError, deployment.StepError, Refused, Busy) as error:
        print(f"{name}: {visible(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def status(site: Layout, _arguments: list[str]) -> int:
    """Show what is live; the exit code is 0 if the site is healthy."""
    if found := recorded(site.name).get(PROXY_ONLY):
        told = remote_upstream.status(site.name, found)
        for title, value in (
            ("site", site.name),
            ("servers", "on other hosts"),
            ("healthy", ("yes: " if told["healthy"] else "NO: ") + told["detail"]),
            *([("problem", told["problems"])] if told["problems"] else []),
            *([("maintenance", told["maintenance"])] if told["maintenance"] else []),
        ):
            print(visible(f"{title:<12}{value}"))
        return 0 if told["healthy"] else 1
    found = live_status(site)
    holder = read(site).get("holder")
    rows = [
        ("site", site.name),
        ("slot", found["slot"] or "-"),
        ("release", found["release"] or "-"),
        ("made from", site.manifest(found["release"]).get("source") or "-"),
        ("live since", found["since"] or "-"),
        ("previous", found["previous"] or "-"),
        ("supervisor", found["state"] or "-"),
        ("healthy", ("yes: " if found["healthy"] else "NO: ") + found["detail"]),
        *([("processes", found["processes"])] if found["processes"] else []),
        *([("problem", found["problems"])] if found["problems"] else []),
        *([("maintenance", found["maintenance"])] if found["maintenance"] else []),
        *([("running", f"{holder['who']}@{holder['controller']}: {holder['action']}")] if holder else []),
    ]
    for title, value in rows:
        print(visible(f"{title:<12}{value}"))
    for line in history.read(site, 5):
        print(f"{line['time']}  {line['action']} {line['result']}  {line.get('release', '')}  {line.get('by', '')}")
    return 0 if found["healthy"] else 1


def restart(site: Layout, _arguments: list[str]) -> int:
    """Start the live release in the other slot and switch, as a deploy does."""
    me = Run(uuid.uuid4().hex[:16], "restart", *whoami(), time.time(), step=True)
    with site_lock(site, last=True, me=me) as held:
        if held.remark:
            print(held.remark, file=sys.stderr)
        release_id = retained.choose(site, "live")
        try:
            return _restart(site, release_id, held)
        except (deployment.StepError, SupervisorError) as error:
            held.note("failed", release=release_id, reason=str(error))
            raise


def _restart(site: Layout, release_id: str, held: Held) -> int:
    print(f"{site.name}: starting {release_id} in slot {site.idle_slot()}", flush=True)
    # Finish even if the terminal closes; undo if terminated.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    try:
        slot = deployment.start(site, release_id, needs_room=False)["slot"]
        done = deployment.switch(site, slot, release_id)
    except BaseException:  # no later run would clear the started slot
        with contextlib.suppress(deployment.StepError, SupervisorError):
            deployment.abort(site)
        raise
    held.note("ok", release=release_id, previous=release_id, downtime=done["downtime"])
    cost = f"; downtime: {done['downtime']:.1f} s (going_live: replace)" if done["downtime"] else ""
    print(f"{site.name}: live in slot {slot}, with new processes{cost}")
    for words in done["problems"]:
        held.note("process-failed", release=release_id, reason=words)
        print(words, file=sys.stderr)
    return 1 if done["problems"] else 0


def whoami() -> tuple[str, str]:
    """The user's name, before sudo, and the host's name."""
    who = os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
    return who, socket.gethostname().split(".")[0]


def set_maintenance(site: Layout, arguments: list[str]) -> int:
    """Turn maintenance on, or change its reason, or turn it off."""
    by = "@".join(whoami())
    match arguments:
        case ["on", *reason]:
            maintenance.turn_on(site, by, " ".join(reason))
            words = maintenance.describe(maintenance.read(site))
        case ["off"]:
            words = "off" if maintenance.turn_off(site, by) else "was off"
        case _:
            raise CommandError("maintenance takes on [REASON] or off")
    print(f"{site.name}: maintenance {words}")
    return 0


def show_logs(site: Layout, arguments: list[str]) -> int:
    """Show the last lines, or follow them, with control characters made visible."""
    if arguments not in ([], ["-f"]):
        raise CommandError("logs takes nothing but -f")
    if not arguments:
        sys.stdout.write(logs.show(site.logs, LINES))
        return 0
    files = [str(site.logs / name) for name in logs.names(site.logs)]
    with subprocess.Popen(["/usr/bin/tail", "-n", str(LINES), "-F", *files], stdout=subprocess.PIPE) as tail:
        try:
            while line := tail.stdout.readline(TAIL):
                sys.stdout.write(visible(line.decode("utf-8", "replace")))
                sys.stdout.flush()
        finally:
            tail.terminate()
    return tail.returncode


def job(site: Layout, arguments: list[str]) -> int:
    """Run a job and wait for its end."""
    if len(arguments) != 1:
        raise CommandError("job takes the name of one job")
    said = jobs.run(site, arguments[0])
    if sys.stdout.isatty():  # cron would mail it
        print(f"{site.name}: job {arguments[0]}: {said}")
    return 0


def shell(site: Layout, arguments: list[str]) -> NoReturn:
    """Run a shell as the site's user."""
    as_site(site, [shutil.which("bash", path="/bin:/usr/bin") or "/bin/sh", *arguments])


def flask(site: Layout, arguments: list[str]) -> NoReturn:
    """Run the site's flask, with --app unless FLASK_APP is set."""
    manifest = site.manifest(site.live_release() or "")
    told = any(word in ("-A", "--app") or word.startswith("--app=") for word in arguments)
    if not told and "FLASK_APP=" not in _environment(site):
        arguments = ["--app", manifest.get("wsgi", "wsgi:app"), *arguments]
    as_site(site, ["flask", *arguments])


def _environment(site: Layout) -> str:
    try:
        return (site.live / "release" / "environment").read_text(encoding="utf-8")
    except OSError:
        return ""


def command(site: Layout, arguments: list[str]) -> NoReturn:
    """Run any command as the site's user."""
    if not arguments:
        raise CommandError("run needs a command, such as: run env")
    as_site(site, arguments)


def bans(site: Layout, arguments: list[str]) -> NoReturn:
    """Show the banned addresses."""
    if arguments:
        raise CommandError("bans takes no arguments")
    execute(["/usr/bin/fail2ban-client", "status", _jail(site)], os.environ)


def unban(site: Layout, arguments: list[str]) -> NoReturn:
    """Unban an address."""
    if len(arguments) != 1:
        raise CommandError("unban takes one address")
    execute(["/usr/bin/fail2ban-client", "set", _jail(site), "unbanip", *arguments], os.environ)


def _jail(site: Layout) -> str:
    file = site.jail
    if not file.exists():
        raise CommandError("the site has no jail (its key `ban`)")
    return file.stem


def renewed(site: Layout, _arguments: list[str]) -> int:
    """Install certbot's new certificate; certbot calls this after each success."""

    def say(words: str) -> bool:
        print(f"{site.name}: {words}")
        return True

    take(Folder(site.name), Lineage(site.name), say)
    return 0


# The commands on a host that has only nginx of the site.
PROXY_ONLY_COMMANDS = ("status", "logs", "maintenance", "bans", "unban", "renewed")
COMMANDS: dict[str, Callable[[Layout, list[str]], int]] = {
    "status": status,
    "restart": restart,
    "maintenance": set_maintenance,
    "logs": show_logs,
    "shell": shell,
    "flask": flask,
    "run": command,
    "job": job,
    "db": cli_database.database,
    "bans": bans,
    "unban": unban,
    "renewed": renewed,
}
