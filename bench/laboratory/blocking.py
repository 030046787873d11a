"""Blocking requests: how many of them each server processes at once."""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from measuring.tables import spread, table

from laboratory import chart
from laboratory.bench import CPUS, WORKERS, Bench, Row
from laboratory.cases import CONNECTIONS, OWN_CONNECTIONS
from laboratory.proxies import chains
from laboratory.rows import unique, values
from laboratory.servers import development, wait_for_answer

TITLE = "Blocking requests"
TEXT = """Requests that sleep, as requests do that wait for other services, all sent at once. The expected time follows
from the number of requests that a server processes simultaneously; the others wait. Flask's development server is
measured directly, all others as they are deployed: behind nginx, on their socket. Tornado's
worker handles one blocking request at a time and does not report to gunicorn meanwhile: after `timeout` (30 s) gunicorn
kills it, and its waiting requests fail."""

UNLIMITED = math.inf


@dataclass(frozen=True)
class Case:
    """One server.

    :param at_once: how many requests it processes at once
    :param development: arguments of Flask's own server; without them it is a site with `keys`
    """

    title: str
    at_once: float
    keys: Mapping[str, Any] = field(default_factory=dict)
    development: Mapping[str, Any] | None = None


def gunicorn(kind: str, workers: int, threads: int = 1) -> dict[str, Any]:
    """Keys of a site with gunicorn."""
    return {"worker_class": kind, "workers": workers, "threads": threads}


def uwsgi(workers: int, threads: int = 1) -> dict[str, Any]:
    """Keys of a site with uWSGI."""
    return {"server": "uwsgi", "workers": workers, "threads": threads}


CASES = (
    Case("development, threaded", UNLIMITED, development={"threaded": True}),
    Case("development, unthreaded", 1, development={"threaded": False}),
    Case(f"development, {WORKERS} processes", WORKERS, development={"threaded": False, "processes": WORKERS}),
    Case("gunicorn sync, 1 worker", 1, gunicorn("sync", 1)),
    Case(f"gunicorn sync, 2·CPU+1 = {WORKERS} workers", WORKERS, gunicorn("sync", WORKERS)),
    Case("gunicorn gthread, 1 worker × 4 threads", 4, gunicorn("gthread", 1, 4)),
    Case(f"gunicorn gthread, {WORKERS} workers × 1 thread", WORKERS, gunicorn("gthread", WORKERS)),
    Case(f"gunicorn gthread, {WORKERS} workers × 4 threads", 4 * WORKERS, gunicorn("gthread", WORKERS, 4)),
    Case(
        f"gunicorn gthread, {WORKERS} workers × 4 threads, {OWN_CONNECTIONS}",
        4 * WORKERS,
        {**gunicorn("gthread", WORKERS, 4), "settings": CONNECTIONS},
    ),
    Case(f"gunicorn gevent, {CPUS} workers", UNLIMITED, gunicorn("gevent", CPUS)),
    Case("gunicorn tornado, 1 worker", 1, gunicorn("tornado", 1)),
    Case(f"uWSGI, {WORKERS} processes", WORKERS, uwsgi(WORKERS)),
    Case("uWSGI, 1 process × 4 threads", 4, uwsgi(1, 4)),
    Case(f"uWSGI, {WORKERS} processes × 4 threads", 4 * WORKERS, uwsgi(WORKERS, 4)),
)


def loads(quick: bool) -> tuple[tuple[int, float], ...]:
    """Numbers of requests, and the seconds that each sleeps; the last is the capacity of the default."""
    return ((10, 0.1), (3, 0.2), (4 * WORKERS, 0.1)) if quick else ((10, 5.0), (3, 10.0), (4 * WORKERS, 1.0))


def rows(quick: bool) -> list[str]:
    """The rows of the report."""
    return [case.title for case in CASES]


def steps(quick: bool) -> int:
    """The number of measurements."""
    return len(CASES) * len(loads(quick))


def measure(bench: Bench) -> Iterator[Row]:
    """Measure each server in turn."""
    behind = {f"s{number}": case.keys for number, case in enumerate(CASES) if case.development is None}
    with contextlib.ExitStack() as stack:
        urls = stack.enter_context(chains(bench, behind))
        for number, case in enumerate(CASES):
            if case.development is not None:
                port = stack.enter_context(development(bench, **case.development))
                urls[f"s{number}"] = f"http://127.0.0.1:{port}"
                wait_for_answer(f"{urls[f's{number}']}/tiny")
        for count, seconds in loads(bench.quick):
            for number, case in enumerate(CASES):
                bench.progress.now(f"{case.title}: {count} × {seconds:g} s")
                took, answers = all_at_once(f"{urls[f's{number}']}/sleep?seconds={seconds}", count)
                row = {
                    "server": case.title,
                    "requests": count,
                    "sleep": seconds,
                    "expected": math.ceil(count / min(case.at_once, count)) * seconds,
                    "took": round(took, 3),
                    "failed": count - len(answers),
                    "processes": len({answer["pid"] for answer in answers}),
                    "threads": len({(answer["pid"], answer["thread"]) for answer in answers}),
                }
                yield bench.end(f"{case.title}: {count} × {seconds:g} s in {took:.2f} s", row)


def all_at_once(url: str, count: int) -> tuple[float, list[dict[str, int]]]:
    """Send requests at once; return the seconds until the last answer, and the answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    answers: list[dict[str, int]] = []
    start = threading.Barrier(count + 1)

    def send() -> None:
        start.wait()
        # A failed request is counted as a missing answer: gunicorn kills workers that exceed its timeout.
        with contextlib.suppress(OSError), opener.open(url, timeout=300) as answer:
            answers.append(json.load(answer))

    threads = [threading.Thread(target=send, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.monotonic()
    for thread in threads:
        thread.join()
    return time.monotonic() - began, answers


def report(rows: list[Row]) -> str:
    """A table for each load."""
    parts = []
    for count, seconds in dict.fromkeys((row["requests"], row["sleep"]) for row in rows):
        here = [row for row in rows if (row["requests"], row["sleep"]) == (count, seconds)]
        lines = [
            [
                name,
                spread(values(here, "expected", server=name), "{:.2f}".format),
                spread(values(here, "took", server=name), "{:.2f}".format),
                *(spread(values(here, of, server=name), "{:.0f}".format) for of in ("processes", "threads", "failed")),
            ]
            for name in unique(here, "server")
        ]
        head = [
            f"{count} × {seconds:g} s",
            "expected, s",
            "measured, s",
            "processes that answered",
            "threads",
            "failed",
        ]
        parts.append(table(head, lines))
    return "\n\n".join(parts)


def plots(rows: list[Row]) -> dict[str, str]:
    """Expected and measured times of the first load."""
    count, seconds = rows[0]["requests"], rows[0]["sleep"]
    here = [row for row in rows if (row["requests"], row["sleep"]) == (count, seconds)]
    groups = [(row["server"], [row["expected"], row["took"]]) for row in here]
    title = f"{count} simultaneous requests that sleep {seconds:g} s each"
    return {"blocking": chart.bars(title, "seconds until the last answer", ["expected", "measured"], groups)}
