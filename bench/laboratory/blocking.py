"""Is it blocking? So many requests that sleep, all at once, and who answers how many of them at a time."""

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
from laboratory.bench import CPUS, MANY, Bench, Row
from laboratory.cases import AS_IT_COMES, CONNECTIONS
from laboratory.fronts import chains
from laboratory.rows import unique, values
from laboratory.servers import await_answer, development

TITLE = "Blocking requests"
TEXT = """Requests that sleep, as requests do that wait for other services, all sent at once. The expected time follows
from the number of requests that a server processes simultaneously; the others wait. Flask's development server is
measured directly, all others as they are deployed: behind nginx, on their socket."""

ENDLESS = math.inf


@dataclass(frozen=True)
class Case:
    """One server.

    :param at_once: how many requests it can have at work
    :param development: words for Flask's own server; else it is a site with `keys`
    """

    title: str
    at_once: float
    keys: Mapping[str, Any] = field(default_factory=dict)
    development: Mapping[str, Any] | None = None


def gunicorn(kind: str, workers: int, threads: int = 1) -> dict[str, Any]:
    """Keys of a site."""
    return {"worker_class": kind, "workers": workers, "threads": threads}


def uwsgi(workers: int, threads: int = 1) -> dict[str, Any]:
    """The same with uWSGI."""
    return {"server": "uwsgi", "workers": workers, "threads": threads}


CASES = (
    Case("development, threaded", ENDLESS, development={"threaded": True}),
    Case("development, unthreaded", 1, development={"threaded": False}),
    Case(f"development, {MANY} processes", MANY, development={"threaded": False, "processes": MANY}),
    Case("gunicorn sync, 1 worker", 1, gunicorn("sync", 1)),
    Case(f"gunicorn sync, 2·CPU+1 = {MANY} workers", MANY, gunicorn("sync", MANY)),
    Case("gunicorn gthread, 1 worker × 4 threads", 4, gunicorn("gthread", 1, 4)),
    Case(f"gunicorn gthread, {MANY} workers × 1 thread", MANY, gunicorn("gthread", MANY)),
    Case(f"gunicorn gthread, {MANY} workers × 4 threads", 4 * MANY, gunicorn("gthread", MANY, 4)),
    Case(
        f"gunicorn gthread, {MANY} workers × 4 threads, {AS_IT_COMES}",
        4 * MANY,
        {**gunicorn("gthread", MANY, 4), "settings": CONNECTIONS},
    ),
    Case(f"gunicorn gevent, {CPUS} workers", ENDLESS, gunicorn("gevent", CPUS)),
    Case("gunicorn tornado, 1 worker", 1, gunicorn("tornado", 1)),
    Case(f"uWSGI, {MANY} processes", MANY, uwsgi(MANY)),
    Case("uWSGI, 1 process × 4 threads", 4, uwsgi(1, 4)),
    Case(f"uWSGI, {MANY} processes × 4 threads", 4 * MANY, uwsgi(MANY, 4)),
)


def loads(quick: bool) -> tuple[tuple[int, float], ...]:
    """How many requests, and how long each of them sleeps; at last as many as the default can have at work."""
    return ((10, 0.1), (3, 0.2), (4 * MANY, 0.1)) if quick else ((10, 5.0), (3, 10.0), (4 * MANY, 1.0))


def rows(quick: bool) -> list[str]:
    """What the report has a row for."""
    return [case.title for case in CASES]


def steps(quick: bool) -> int:
    """How many measurements it makes."""
    return len(CASES) * len(loads(quick))


def measure(bench: Bench) -> Iterator[Row]:
    """Ask each server in turn."""
    behind = {f"s{number}": case.keys for number, case in enumerate(CASES) if case.development is None}
    with contextlib.ExitStack() as stack:
        urls = stack.enter_context(chains(bench, behind))
        for number, case in enumerate(CASES):
            if case.development is not None:
                port = stack.enter_context(development(bench, **case.development))
                urls[f"s{number}"] = f"http://127.0.0.1:{port}"
                await_answer(f"{urls[f's{number}']}/tiny")
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
    """Send so many requests at once; the seconds until the last is answered, and what each was told."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    answers: list[dict[str, int]] = []
    start = threading.Barrier(count + 1)

    def one() -> None:
        start.wait()
        # Who is not answered, by a server that was killed for its silence, is counted by the answers that are missing.
        with contextlib.suppress(OSError), opener.open(url, timeout=300) as answer:
            answers.append(json.load(answer))

    threads = [threading.Thread(target=one, daemon=True) for _ in range(count)]
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
    """The first load: expected beside measured."""
    count, seconds = rows[0]["requests"], rows[0]["sleep"]
    here = [row for row in rows if (row["requests"], row["sleep"]) == (count, seconds)]
    groups = [(row["server"], [row["expected"], row["took"]]) for row in here]
    title = f"{count} requests at once, each of which sleeps {seconds:g} s"
    return {"blocking": chart.bars(title, "seconds until the last is answered", ["expected", "measured"], groups)}
