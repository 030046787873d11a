"""Cost of the chain: a server by itself, behind the collection's nginx, and behind that of most tutorials."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from measuring.tables import number, spread, table

from laboratory import chart
from laboratory.bench import FILES, Bench, Row, folder, write_site
from laboratory.cases import DEFAULT, SERVERS, TUTORIAL, VARIANTS
from laboratory.load import wrk
from laboratory.proxies import all_standalone, chains, tutorial_nginx
from laboratory.rows import median, unique, values

TITLE = "Cost of the chain"
TEXT = """wrk requests a tiny page, JSON and a page from SQLite from each server: by itself on TCP; deployed, behind the
collection's nginx on its socket; and behind nginx as most tutorials configure it (`bench/baseline/`: TCP, HTTP/1.0, no
keepalive). All have 2·CPU+1 workers, and 4 threads where they have threads. Files: the collection's site beside
Debian's default site."""

STANDALONE, COLLECTION, TUTORIALS = "by itself", "the collection's nginx", "the tutorials' nginx"
SETUPS = (STANDALONE, COLLECTION, TUTORIALS)
PAGES = ("tiny", "json", "database")
CLIENTS = 32


def rows(quick: bool) -> list[str]:
    """The rows of the report."""
    return [*SERVERS, *VARIANTS, *map(described, FILES)]


def rounds(quick: bool) -> int:
    """The number of rounds."""
    return 1 if quick else 3


def steps(quick: bool) -> int:
    """The number of measurements."""
    pages = (len(SERVERS) * len(SETUPS) + len(VARIANTS)) * len(PAGES)
    return rounds(quick) * (pages + 2 * len(FILES))


def measure(bench: Bench) -> Iterator[Row]:
    """Measure all of them in turn, round by round."""
    with contextlib.ExitStack() as stack:
        names = {name: f"s{position}" for position, name in enumerate([*SERVERS, *VARIANTS])}
        bench.progress.now("starting all servers")
        alone = stack.enter_context(all_standalone(bench, SERVERS))
        keys = {names[name]: keys for name, keys in (SERVERS | VARIANTS).items()}
        collection = stack.enter_context(chains(bench, keys))
        static = stack.enter_context(folder("files"))
        (static / "app").mkdir()
        write_site(static / "app")
        tutorials = stack.enter_context(
            tutorial_nginx({names[name]: (ports, SERVERS[name]) for name, ports in alone.items()}, static)
        )
        urls = {(name, COLLECTION): collection[short] for name, short in names.items()}
        urls |= {(name, STANDALONE): f"http://127.0.0.1:{http}" for name, (http, _) in alone.items()}
        urls |= {(name, TUTORIALS): tutorials[names[name]] for name in SERVERS}
        requests = [
            (name, setup, page, f"{urls[name, setup]}/{page}")
            for page in PAGES
            for name in names
            for setup in SETUPS
            if (name, setup) in urls
        ]
        requests += [
            ("files", setup, file, f"{base}/static/{file}")
            for file in FILES
            for setup, base in ((COLLECTION, collection[names[DEFAULT]]), (TUTORIALS, tutorials["files"]))
        ]
        seconds = bench.choose(3.0, 0.2)
        for turn in range(rounds(bench.quick)):
            # The order changes from round to round.
            for name, setup, page, url in requests if turn % 2 == 0 else reversed(requests):
                bench.progress.now(f"{name}, {setup}: {page}")
                seen = wrk(url, CLIENTS, seconds)
                row = {"server": name, "setup": setup, "page": page, "round": turn, **seen}
                yield bench.end(f"{name}, {setup}: {page}: {seen['rate']:,.0f} a second", row)


def report(rows: list[Row]) -> str:
    """The targets, a table for each page, and the files."""
    parts = [targets(rows)]
    parts += [servers(rows, page) for page in PAGES]
    parts += [files(rows), remarks(rows)]
    return "\n\n".join(parts)


def targets(rows: list[Row]) -> str:
    """The default chain compared with the tutorials' and with its server by itself."""
    lines = []
    for page in PAGES:
        here = [row for row in rows if row["page"] == page]
        rate, tutorials, alone = (
            median(here, "rate", server=server, setup=setup)
            for server, setup in ((DEFAULT, COLLECTION), (TUTORIAL, TUTORIALS), (DEFAULT, STANDALONE))
        )
        p99, tutorial_p99 = (
            median(here, "p99", server=server, setup=setup)
            for server, setup in ((DEFAULT, COLLECTION), (TUTORIAL, TUTORIALS))
        )
        lines.append([page, *(f"{share:.2f}" for share in (rate / tutorials, p99 / tutorial_p99, rate / alone))])
    head = [
        "the default chain", "rate relative to the tutorials'", "p99 relative to the tutorials'",
        "rate relative to its server by itself",
    ]  # fmt: skip
    return table(head, lines)


def servers(rows: list[Row], page: str) -> str:
    """Each server in each setup, for one page."""
    here = [row for row in rows if row["page"] == page]
    lines = []
    for name in [*SERVERS, *VARIANTS]:
        line, found = [name], {}
        for setup in SETUPS:
            rates = values(here, "rate", server=name, setup=setup)
            if not rates:
                line += ["-", "-"]
                continue
            found[setup] = median(here, "rate", server=name, setup=setup)
            line += [spread(rates), quantiles(here, server=name, setup=setup)]
        for setup in (STANDALONE, TUTORIALS):
            line.append(f"{found[COLLECTION] / found[setup]:.2f}" if setup in found else "-")
        lines.append(line)
    head = [f"{page}: requests a second"]
    for setup in SETUPS:
        head += [setup, "p50 / p99, ms"]
    return table([*head, "relative to by itself", "relative to the tutorials'"], lines)


def files(rows: list[Row]) -> str:
    """The collection's static files and Debian's."""
    lines = []
    for file in FILES:
        here = [row for row in rows if row["page"] == file]
        found = {setup: median(here, "rate", setup=setup) for setup in (COLLECTION, TUTORIALS)}
        line = [described(file)]
        for setup in (COLLECTION, TUTORIALS):
            line += [spread(values(here, "rate", setup=setup)), quantiles(here, setup=setup)]
        lines.append([*line, f"{found[COLLECTION] / found[TUTORIALS]:.2f}"])
    head = ["files: requests a second", COLLECTION, "p50 / p99, ms", "Debian's default site", "p50 / p99, ms", "ratio"]
    return table(head, lines)


def described(file: str) -> str:
    """The name and size of a file."""
    return f"{file}, {FILES[file] / 1000:g} kB"


def quantiles(rows: list[Row], **where: object) -> str:
    """p50 and p99, as medians of the rounds."""
    return " / ".join(number(median(rows, of, **where)) for of in ("p50", "p99"))


def remarks(rows: list[Row]) -> str:
    """Whether wrk was the bottleneck, and the failed requests."""
    busiest = {kind: max(row["wrk"] for row in rows if (row["server"] == "files") == kind) for kind in (False, True)}
    failed = [f"{row['failed']} ({row['server']}, {row['setup']}, {row['page']})" for row in rows if row["failed"]]
    return (
        f"{CLIENTS} clients. wrk itself took {busiest[False]:.0%} of one CPU at the most for pages, and "
        f"{busiest[True]:.0%} for files. Failed requests: {', '.join(failed) or 'none'}."
    )


def plots(rows: list[Row]) -> dict[str, str]:
    """Requests a second for the tiny page and for the one from SQLite."""
    drawn = {}
    for page, words in (("tiny", "a tiny page"), ("database", "a page from SQLite")):
        here = [row for row in rows if row["page"] == page]
        groups = [
            (name, [median(here, "rate", server=name, setup=setup) for setup in SETUPS])
            for name in unique(here, "server")
            if name in SERVERS
        ]
        drawn[f"chain-{page}"] = chart.bars(
            f"Cost of nginx as reverse proxy: {words}", f"requests a second, {CLIENTS} clients", SETUPS, groups
        )
    return drawn
