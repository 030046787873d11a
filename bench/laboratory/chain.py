"""What the chain costs: a server alone, behind the bundle's nginx, and behind that of most tutorials."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from measuring.tables import number, spread, table

from laboratory import chart
from laboratory.bench import FILES, Bench, Row, folder, lay_site
from laboratory.cases import DEFAULT, SERVERS, TUTORIAL, VARIANTS
from laboratory.fronts import by_themselves, chains, tutorials
from laboratory.load import ask
from laboratory.rows import median, unique, values

TITLE = "Cost of the chain"
TEXT = """wrk requests a tiny page, JSON and a page from SQLite from each server: by itself on TCP; deployed, behind the
collection's nginx on its socket; and behind nginx as most tutorials configure it (`bench/baseline/`: TCP, HTTP/1.0, no
keepalive). All have 2·CPU+1 workers, and 4 threads where they have threads. Files: the collection's site beside
Debian's default site."""

BARE, OURS, TUTORIALS = "by itself", "the bundle's nginx", "the tutorials' nginx"
WAYS = (BARE, OURS, TUTORIALS)
PAGES = ("tiny", "json", "database")
CLIENTS = 32


def rows(quick: bool) -> list[str]:
    """What the report has a row for."""
    return [*SERVERS, *VARIANTS, *map(told, FILES)]


def rounds(quick: bool) -> int:
    """How often each is measured."""
    return 1 if quick else 3


def steps(quick: bool) -> int:
    """How many measurements it makes."""
    pages = (len(SERVERS) * len(WAYS) + len(VARIANTS)) * len(PAGES)
    return rounds(quick) * (pages + 2 * len(FILES))


def measure(bench: Bench) -> Iterator[Row]:
    """Ask all of them in turn, round by round."""
    with contextlib.ExitStack() as stack:
        names = {name: f"s{position}" for position, name in enumerate([*SERVERS, *VARIANTS])}
        bench.progress.now("starting all servers")
        alone = stack.enter_context(by_themselves(bench, SERVERS))
        keys = {names[name]: keys for name, keys in (SERVERS | VARIANTS).items()}
        ours = stack.enter_context(chains(bench, keys))
        home = stack.enter_context(folder("files"))
        (home / "app").mkdir()
        lay_site(home / "app")
        theirs = stack.enter_context(
            tutorials({names[name]: (ports, SERVERS[name]) for name, ports in alone.items()}, home)
        )
        urls = {(name, OURS): ours[short] for name, short in names.items()}
        urls |= {(name, BARE): f"http://127.0.0.1:{http}" for name, (http, _) in alone.items()}
        urls |= {(name, TUTORIALS): theirs[names[name]] for name in SERVERS}
        asked = [
            (name, way, page, f"{urls[name, way]}/{page}")
            for page in PAGES
            for name in names
            for way in WAYS
            if (name, way) in urls
        ]
        asked += [
            ("files", way, file, f"{base}/static/{file}")
            for file in FILES
            for way, base in ((OURS, ours[names[DEFAULT]]), (TUTORIALS, theirs["files"]))
        ]
        seconds = bench.choose(3.0, 0.2)
        for turn in range(rounds(bench.quick)):
            # Who goes first changes from round to round.
            for name, way, page, url in asked if turn % 2 == 0 else reversed(asked):
                bench.progress.now(f"{name}, {way}: {page}")
                seen = ask(url, CLIENTS, seconds)
                row = {"server": name, "way": way, "page": page, "round": turn, **seen}
                yield bench.end(f"{name}, {way}: {page}: {seen['rate']:,.0f} a second", row)


def report(rows: list[Row]) -> str:
    """The aims, a table for each page, and the files."""
    parts = [aims(rows)]
    parts += [servers(rows, page) for page in PAGES]
    parts += [files(rows), remarks(rows)]
    return "\n\n".join(parts)


def aims(rows: list[Row]) -> str:
    """What the default chain is measured by."""
    lines = []
    for page in PAGES:
        ours = {of: median(rows, of, server=DEFAULT, way=OURS, page=page) for of in ("rate", "p99")}
        theirs = {of: median(rows, of, server=TUTORIAL, way=TUTORIALS, page=page) for of in ("rate", "p99")}
        alone = median(rows, "rate", server=DEFAULT, way=BARE, page=page)
        lines.append(
            [page, *(f"{share:.2f}" for share in
                     (ours["rate"] / theirs["rate"], ours["p99"] / theirs["p99"], ours["rate"] / alone))]
        )  # fmt: skip
    head = [
        "the default chain", "requests a second, of the tutorials'", "its p99, of the tutorials'",
        "requests a second, of its server by itself",
    ]  # fmt: skip
    return table(head, lines)


def servers(rows: list[Row], page: str) -> str:
    """Each server, each way, for one page."""
    here = [row for row in rows if row["page"] == page]
    lines = []
    for name in [*SERVERS, *VARIANTS]:
        line, found = [name], {}
        for way in WAYS:
            rates = values(here, "rate", server=name, way=way)
            if not rates:
                line += ["-", "-"]
                continue
            found[way] = median(here, "rate", server=name, way=way)
            line += [spread(rates), quantiles(here, server=name, way=way)]
        for way in (BARE, TUTORIALS):
            line.append(f"{found[OURS] / found[way]:.2f}" if way in found else "-")
        lines.append(line)
    head = [f"{page}: requests a second"]
    for way in WAYS:
        head += [way, "p50 / p99, ms"]
    return table([*head, "the bundle's, of by itself", "of the tutorials'"], lines)


def files(rows: list[Row]) -> str:
    """The bundle's site beside Debian's."""
    lines = []
    for file in FILES:
        here = [row for row in rows if row["page"] == file]
        found = {way: median(here, "rate", way=way) for way in (OURS, TUTORIALS)}
        line = [told(file)]
        for way in (OURS, TUTORIALS):
            line += [spread(values(here, "rate", way=way)), quantiles(here, way=way)]
        lines.append([*line, f"{found[OURS] / found[TUTORIALS]:.2f}"])
    head = ["files: requests a second", OURS, "p50 / p99, ms", "Debian's default site", "p50 / p99, ms", "ratio"]
    return table(head, lines)


def told(file: str) -> str:
    """A file and its size."""
    return f"{file}, {FILES[file] / 1000:g} kB"


def quantiles(rows: list[Row], **where: object) -> str:
    """Half of the answers, and 99 % of them."""
    return " / ".join(number(median(rows, of, **where)) for of in ("p50", "p99"))


def remarks(rows: list[Row]) -> str:
    """Whether wrk was the bottleneck, and what failed."""
    busiest = {kind: max(row["wrk"] for row in rows if (row["server"] == "files") == kind) for kind in (False, True)}
    failed = [f"{row['failed']} ({row['server']}, {row['way']}, {row['page']})" for row in rows if row["failed"]]
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
            (name, [median(here, "rate", server=name, way=way) for way in WAYS])
            for name in unique(here, "server")
            if name in SERVERS
        ]
        drawn[f"chain-{page}"] = chart.bars(
            f"What nginx in front costs: {words}", f"requests a second, {CLIENTS} clients", WAYS, groups
        )
    return drawn
