"""Cost of a switch: requests during a deploy by restart, by HUP and by slots."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from load_generator import LoadGenerator, Times
from measuring.commands import ROOT, command
from measuring.tables import number, spread, table
from nginx_rig import free_port, render
from supervised import GROUP, SUPERVISORD, USER, Host, made_host

from ansible_collections.wsgi.sites.plugins.module_utils.releases import deployment as deploy
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import supervisor
from laboratory import chart
from laboratory.bench import Bench, Row
from laboratory.proxies import nginx
from laboratory.rows import unique, values
from laboratory.servers import release, site_entry, wait_until

TITLE = "Cost of a switch"
TEXT = """New code goes live while eight clients send requests without pause; half of them keep their connections. The
site is the same for all three, behind the collection's nginx and under supervisor: the tests' shop app, which takes a
second to import, as many apps do. By restart and by HUP, the code is overwritten, as is usual; by slots, it is a new
release, and the old one gets the usual 2.5 s to finish its requests. A request is lost if it got no answer, or none
that a client can use. The grey area is the change, from its command to its end."""

SHOP_APP = ROOT / "molecule" / "shared" / "shop" / "wsgi.py"
RELEASE = 'os.environ["SITE_RELEASE"]'


class Shop:
    """The shop app under supervisor, behind the collection's nginx."""

    def __init__(self, bench: Bench, host: Host, port: int) -> None:
        self.bench, self.host, self.port = bench, host, port
        shared = host.site.root / "shared" / "data"
        shared.mkdir(parents=True)
        shutil.chown(shared, USER, GROUP)
        self.prepare("one")
        slot = deploy.start(host.site, "one")["slot"]
        deploy.switch(host.site, slot, "one", drain=0)

    def prepare(self, release_id: str) -> None:
        """Write a release with this version of the app."""
        release(
            self.bench, self.host, {"health": {"path": "/healthz"}}, release_id, lambda app: self.write(app, release_id)
        )

    def write(self, app: Path, version: str) -> dict[str, str]:
        """Write the shop app with its version; return its environment."""
        text = SHOP_APP.read_text(encoding="utf-8")
        importing = f"import time\ntime.sleep({self.bench.choose(1.0, 0.2)})\n"
        (app / "wsgi.py").write_text(text.replace(RELEASE, f'"{version}"') + importing, encoding="utf-8")
        return {"SITE_NAME": "shop", "SITE_SHARED": str(self.host.site.root / "shared")}

    def code(self) -> str:
        """The version that answers, or an empty string."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            return str(json.load(answer)["release"]) if answer.status == 200 else ""

    def overwrite(self) -> None:
        """Overwrite the running code."""
        self.write(self.host.site.live / "release" / "app", "two")

    def restart(self) -> None:
        """Overwrite the code and restart, as the well-known roles do."""
        self.overwrite()
        settings = self.host.folder / "supervisorctl.conf"
        settings.write_text(f"[supervisorctl]\nserverurl = unix://{self.host.folder}/sock\n")
        control = Path(str(SUPERVISORD)).with_name("supervisorctl")
        command(control, "-c", settings, "restart", f"shop-{self.host.site.live_slot()}")

    def hup(self) -> None:
        """Overwrite the code and start new workers under the same master, until all old ones have ended."""
        self.overwrite()
        master = supervisor.Supervisor().info(f"shop-{self.host.site.live_slot()}")["pid"]
        old = children(master)
        os.kill(master, signal.SIGHUP)
        wait_until(lambda: not old & children(master), "the old workers do not stop")

    def slots(self) -> None:
        """Deploy a release: build, start, health gate, switch, drain."""
        self.prepare("two")
        slot = deploy.start(self.host.site, "two")["slot"]
        deploy.switch(self.host.site, slot, "two")


def children(parent: int) -> set[int]:
    """The workers of a master."""
    return set(map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()))


METHODS: dict[str, Callable[[Shop], None]] = {
    "restart": Shop.restart,
    "HUP": Shop.hup,
    "slots": Shop.slots,
}


def rows(quick: bool) -> list[str]:
    """The rows of the report."""
    return list(METHODS)


def rounds(quick: bool) -> int:
    """The number of rounds."""
    return 1 if quick else 3


def steps(quick: bool) -> int:
    """The number of measurements."""
    return rounds(quick) * len(METHODS)


def measure(bench: Bench) -> Iterator[Row]:
    """Each method on a host of its own, in turn."""
    for turn in range(rounds(bench.quick)):
        for name, change in METHODS.items():
            bench.progress.now(f"{name}: starting a site")
            row = {"method": name, "round": turn, **deploy_under_load(bench, name, change, first=turn == 0)}
            yield bench.end(f"{name}: {row['lost']} of {row['requests']} lost", row)


def deploy_under_load(bench: Bench, name: str, change: Callable[[Shop], None], *, first: bool) -> Row:
    """One deploy under load."""
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        host = stack.enter_context(made_host(patch, bench.library))
        host.boot()
        port = free_port()
        site = site_entry(host.site.root, {"http_port": port})
        shop = Shop(bench, host, port)
        stack.enter_context(nginx(*render({"shop": site}), {"shop": site}))
        wait_until(lambda: shop.code() == "one", "the site does not answer")
        around = bench.choose(600, 200)
        generator = LoadGenerator("127.0.0.1", "127.0.0.1", "shop", port=port, clients=8, pause=0.02, seconds=120)
        with generator:
            generator.wait_for(around)
            started = time.monotonic()
            bench.progress.now(f"{name}: changing")
            change(shop)
            ended = time.monotonic()
            wait_until(lambda: shop.code() == "two", f"{name}: the new code does not answer")
            generator.wait_for(around)
        stored = (host.site.root / "shared/data/orders").read_text().split()
        counts = generator.report(stored)
        history = [(at - started, took, good) for at, took, good in generator.history]
        during = [took for at, took, good in history if good and 0 <= at <= ended - started]
        rest = [took for at, took, good in history if good and not 0 <= at <= ended - started]
        return {
            "requests": counts.requests,
            "lost": len(counts.failed),
            "duplicated": len(counts.duplicated),
            "idle closes": counts.idle_closes,
            "downtime": round(counts.longest_gap, 3),
            "change": round(ended - started, 3),
            "rest": [round(Times(rest).percentile(share), 2) for share in (0.5, 0.99)],
            "during": [round(Times(during).percentile(share), 2) for share in (0.5, 0.99)],
            "slowest": round(Times(during).percentile(1), 2),
            # Seconds from the change's command, milliseconds: for the plot, which shows one round.
            "history": [[round(at, 3), round(took * 1000, 2), good] for at, took, good in history] if first else [],
        }


def report(rows: list[Row]) -> str:
    """A row for each method."""
    lines = []
    for method in unique(rows, "method"):
        here = [row for row in rows if row["method"] == method]
        lines.append(
            [
                method,
                spread(values(here, "requests"), "{:,.0f}".format),
                *(spread(values(here, of), "{:,.0f}".format) for of in ("lost", "duplicated", "idle closes")),
                *(spread(values(here, of)) for of in ("downtime", "change")),
                *(quantiles(here, of) for of in ("rest", "during")),
                spread(values(here, "slowest")),
            ]
        )
    head = ["method", "requests", "lost", "booked twice", "idle closes", "longest without an answer, s"]
    head += ["the change took, s", "p50 / p99 at rest, ms", "p50 / p99 during it, ms", "slowest, ms"]
    return table(head, lines)


def quantiles(rows: list[Row], of: str) -> str:
    """p50 and p99, as medians of the rounds."""
    return " / ".join(number(statistics.median(each)) for each in zip(*values(rows, of), strict=True))


def plots(rows: list[Row]) -> dict[str, str]:
    """Each request of the first round, by method."""
    panels = [
        (
            f"{row['method']}: {row['lost']:,} lost",
            [(at, took, good) for at, took, good in row["history"] if -2 <= at <= 10],
            (0.0, row["change"]),
        )
        for row in rows
        if row["history"]
    ]
    return {"switch": chart.timelines("New code goes live", "milliseconds; red is a lost request", panels)}
