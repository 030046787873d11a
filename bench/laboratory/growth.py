"""Scaling with clients and workers, and the memory of the workers."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measuring.commands import ROOT
from measuring.tables import spread, table

from laboratory import chart
from laboratory.bench import CPUS, WORKERS, Bench, Row
from laboratory.blocking import all_at_once
from laboratory.cases import DEFAULT, SERVERS, TUTORIAL
from laboratory.load import wrk
from laboratory.proxies import all_standalone, chains, collection_nginx, tutorial_nginx
from laboratory.rows import median, unique, values
from laboratory.servers import deployed, wait_for_answer, wait_until

TITLE = "Scaling with clients and workers"
TEXT = """First with the number of clients, for a JSON answer. Then with the number of workers and 32 clients, for a
page from SQLite, which needs a CPU, and for one that waits 20 ms for something else. Then the memory of the sample
site's workers: what the kernel counts for all processes of a server together, shared pages once (PSS)."""

TUTORIAL_CHAIN = "the tutorials' chain"
CHAINS = {name: SERVERS[name] for name in (DEFAULT, "gunicorn gevent", "uWSGI, processes")}
CLASSES: dict[str, dict[str, Any]] = {
    "sync": {"worker_class": "sync"},
    "gthread × 4": {"threads": 4},
    "uWSGI": {"server": "uwsgi", "threads": 1},
}
PAGES = {"database": "database", "waiting": "sleep?seconds=0.02"}
MEMORY: dict[str, dict[str, Any]] = {
    # A sync worker accepts one request at a time, so that all of them have to answer.
    "gunicorn": {"worker_class": "sync"},
    "gunicorn, preload": {"worker_class": "sync", "preload": True},
    "uWSGI": {"server": "uwsgi"},
    "uWSGI, preload": {"server": "uwsgi", "preload": True},
}


def client_counts(quick: bool) -> tuple[int, ...]:
    """Numbers of clients."""
    return (1, 512) if quick else tuple(2**power for power in range(10))


def worker_counts(quick: bool) -> tuple[int, ...]:
    """Numbers of workers: up to four for each CPU."""
    return (1, WORKERS) if quick else tuple(sorted({1, CPUS, CPUS + 1, 2 * CPUS, WORKERS, 3 * CPUS, 4 * CPUS}))


def rounds(quick: bool) -> int:
    """The number of rounds."""
    return 1 if quick else 3


def rows(quick: bool) -> list[str]:
    """The rows of the report."""
    return [*map(str, client_counts(quick)), *map(str, worker_counts(quick)), *MEMORY]


def steps(quick: bool) -> int:
    """The number of measurements."""
    by_clients = (len(CHAINS) + 1) * len(client_counts(quick))
    by_workers = len(CLASSES) * len(PAGES) * len(worker_counts(quick))
    return rounds(quick) * (by_clients + by_workers) + len(MEMORY)


def measure(bench: Bench) -> Iterator[Row]:
    """One part after the other, so that its servers do not slow down the next."""
    yield from with_clients(bench)
    yield from with_workers(bench)
    yield from memory(bench)


def with_clients(bench: Bench) -> Iterator[Row]:
    """More and more clients, all from one address, which nginx limits to 400 connections by default."""
    names = {f"s{position}": name for position, name in enumerate(CHAINS)}
    tutorial = {"theirs": SERVERS[TUTORIAL]}
    with contextlib.ExitStack() as stack:
        bundle = stack.enter_context(
            chains(bench, {short: CHAINS[name] for short, name in names.items()}, nginx_client_connections=0)
        )
        standalone = stack.enter_context(all_standalone(bench, tutorial))
        behind = {name: (standalone[name], keys) for name, keys in tutorial.items()}
        urls = {names[short]: url for short, url in bundle.items()}
        urls[TUTORIAL_CHAIN] = stack.enter_context(tutorial_nginx(behind, Path("/nonexistent")))["theirs"]
        for turn in range(rounds(bench.quick)):
            for clients in client_counts(bench.quick):
                for name, url in urls.items():
                    bench.progress.now(f"{name}: {clients} clients")
                    seen = wrk(f"{url}/json", clients, bench.choose(2.0, 0.2))
                    row = {"part": "clients", "server": name, "clients": clients, "round": turn, **seen}
                    yield bench.end(f"{name}, {clients} clients: {seen['rate']:,.0f} a second", row)


def with_workers(bench: Bench) -> Iterator[Row]:
    """More and more workers, of each class."""
    counts = worker_counts(bench.quick)
    for kind, keys in CLASSES.items():
        with chains(bench, {f"w{count}": {**keys, "workers": count} for count in counts}) as urls:
            for turn in range(rounds(bench.quick)):
                for page, path in PAGES.items():
                    for count in counts:
                        bench.progress.now(f"{kind}, {count} workers: {page}")
                        seen = wrk(f"{urls[f'w{count}']}/{path}", 32, bench.choose(2.0, 0.2))
                        row = {
                            "part": "workers", "server": kind, "page": page, "workers": count, "round": turn, **seen
                        }  # fmt: skip
                        yield bench.end(f"{kind}, {count} workers: {page}: {seen['rate']:,.0f} a second", row)


def memory(bench: Bench) -> Iterator[Row]:
    """The sample site, once each of its workers has answered."""
    for name, keys in MEMORY.items():
        with (
            deployed(bench, {"threads": 1, **keys}, write_sample) as host,
            collection_nginx({"sample": (host, keys)}) as urls,
        ):
            seen: set[int] = set()

            def all_answered(url: str = urls["sample"], seen: set[int] = seen) -> bool:
                seen.update(answer["pid"] for answer in all_at_once(f"{url}/probe?seconds=0.1", 2 * WORKERS)[1])
                return len(seen) == WORKERS

            wait_for_answer(f"{urls['sample']}/healthz")
            wait_until(all_answered, f"{name}: a worker does not answer")
            total = memory_of(host.process.pid)
            row = {"part": "memory", "server": name, "workers": WORKERS, "megabytes": round(total, 1)}
            yield bench.end(f"{name}: {total:.0f} MB for {WORKERS} workers", row)


def write_sample(target: Path) -> dict[str, str]:
    """Write the sample site into a release; return its environment."""
    shutil.copytree(ROOT / "app", target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    return {
        "SECRET_KEY": "public, for measurements only",
        "PROBE_MAX_SECONDS": "1",
        "DATABASE_URL": f"sqlite:///{target}/words.db",
    }


def memory_of(session: int) -> float:
    """Megabytes of all processes of a session; shared pages count once."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[3]) == session:
                lines = (folder / "smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def report(rows: list[Row]) -> str:
    """The tables of all parts, and the saturation."""
    by_clients = [row for row in rows if row["part"] == "clients"]
    by_workers = [row for row in rows if row["part"] == "workers"]
    parts = [
        crossed(by_clients, "clients", "clients: requests a second", "rate"),
        crossed(by_clients, "clients", "clients: p99, ms", "p99"),
    ]
    for page in PAGES:
        here = [row for row in by_workers if row["page"] == page]
        parts.append(crossed(here, "workers", f"workers, {page}: requests a second", "rate"))
    parts.append(saturation(by_workers))
    lines = [
        [row["server"], str(row["workers"]), f"{row['megabytes']:.0f}", f"{row['megabytes'] / row['workers']:.1f}"]
        for row in rows
        if row["part"] == "memory"
    ]
    parts.append(table(["memory of the sample site", "workers", "MB together", "MB a worker"], lines))
    failed = [
        f"{row['failed']} ({row['server']}, {row[row['part']]} {row['part']})" for row in rows if row.get("failed")
    ]
    parts.append(f"Failed requests: {', '.join(failed) or 'none'}.")
    return "\n\n".join(parts)


def crossed(rows: list[Row], down: str, head: str, of: str) -> str:
    """A row for each number, a column for each server."""
    names = unique(rows, "server")
    lines = [
        [str(count), *(spread(values(rows, of, server=name, **{down: count})) for name in names)]
        for count in unique(rows, down)
    ]
    return table([head, *names], lines)


def saturation(rows: list[Row]) -> str:
    """The smallest number of workers with 95 % of the best rate, and the share that 2·CPU+1 reach."""
    lines = []
    for page in PAGES:
        for name in unique(rows, "server"):
            rates = {
                count: median(rows, "rate", server=name, page=page, workers=count) for count in unique(rows, "workers")
            }
            best = max(rates.values())
            enough = min(count for count, rate in rates.items() if rate >= 0.95 * best)
            lines.append([f"{name}, {page}", str(enough), f"{rates[WORKERS] / best:.2f}"])
    head = ["saturation", "workers that reach 95 % of the best", f"share that 2·CPU+1 = {WORKERS} reach"]
    return table(head, lines)


def plots(rows: list[Row]) -> dict[str, str]:
    """Requests a second and p99 by clients; requests a second by workers."""
    by_clients = [row for row in rows if row["part"] == "clients"]
    by_workers = [row for row in rows if row["part"] == "workers"]

    def curves(here: list[Row], across: str, of: str) -> list[tuple[str, list[chart.Point]]]:
        return [
            (name, [(x, median(here, of, server=name, **{across: x})) for x in unique(here, across)])
            for name in unique(here, "server")
        ]

    drawn = {
        "growth-rate": chart.lines(
            "Request rate by clients", "clients", "requests a second", curves(by_clients, "clients", "rate")
        ),
        "growth-p99": chart.lines(
            "p99 by clients",
            "clients",
            "p99 in milliseconds",
            curves(by_clients, "clients", "p99"),
            log_up=True,
        ),
    }
    for page, words in (("database", "a page that needs a CPU"), ("waiting", "a page that waits 20 ms")):
        here = [row for row in by_workers if row["page"] == page]
        drawn[f"growth-{page}"] = chart.lines(
            f"Request rate by workers: {words}",
            f"workers, on {CPUS} CPUs",
            "requests a second",
            curves(here, "workers", "rate"),
            noted=(WORKERS, "2·CPU+1"),
        )
    return drawn
