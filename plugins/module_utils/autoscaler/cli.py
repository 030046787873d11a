"""The autoscaler's command line: follow the live server of a site."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.autoscaler import unix_sockets
from ansible_collections.wsgi.sites.plugins.module_utils.autoscaler.master import Master
from ansible_collections.wsgi.sites.plugins.module_utils.autoscaler.policy import Policy, Sample
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout

INTERVAL = 0.25


def main(words: list[str]) -> None:
    """Run until an error; supervisor restarts it."""
    if len(words) != 3:
        sys.exit("usage: scaler ROOT SITE")
    try:
        watch(Layout(words[2], Path(words[1])))
    except (OSError, KeyError) as error:
        sys.exit(f"scaler: {type(error).__name__}: {error}")


def watch(site: Layout) -> None:
    """Follow the server of the live slot, and each successor."""
    release = os.environ["SITE_RELEASE"]
    least, most, each = (int(os.environ[f"SITE_{name}"]) for name in ("WORKERS_MIN", "WORKERS", "THREADS"))
    # Fails here, with the kernel's message, where the kernel does not list sockets.
    next(unix_sockets.listing(), None)
    Path("/proc/thread-self/children").read_text(encoding="ascii")
    say(f"{site.name}: {least} to {most} workers, each for {each} requests at once")
    while True:
        # The server has ended, or has not started yet.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError, KeyError):
            master = Master(*live(site, release))
            try:
                follow(site, release, master, Policy(least, most, each))
            finally:
                master.close()
        time.sleep(INTERVAL)


def live(site: Layout, release: str) -> tuple[str, dict]:
    """The live slot, and the launcher's record of its server.

    :raises ProcessLookupError: if another release is live, which has its own autoscaler or none
    """
    slot = site.live_slot()
    if slot is None or site.release_in(slot) != release:
        raise ProcessLookupError(slot)
    return slot, json.loads(site.pid(slot).read_text(encoding="utf-8"))


def follow(site: Layout, release: str, master: Master, policy: Policy) -> None:
    """Scale one server as long as it is the live one."""
    socket = site.socket(master.slot)
    while live(site, release) == (master.slot, master.note):
        if master.takes_signals():
            change = policy.decide(Sample(time.monotonic(), master.workers(), *unix_sockets.queue(socket)))
            if change:
                master.send(signal.SIGTTIN if change > 0 else signal.SIGTTOU)
                say(f"{master.slot}: {policy.wanted - change} → {policy.wanted} workers ({policy.reason})")
        time.sleep(INTERVAL)


def say(message: str) -> None:
    """Write to the log."""
    print(f"{time.strftime('[%Y-%m-%d %H:%M:%S %z]')} {message}", flush=True)
