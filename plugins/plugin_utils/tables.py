"""Plain-text tables of hosts' results, for the operator's terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# By host: a module's result, or the merged site config.
Answers = Mapping[str, Mapping[str, Any]]
Rows = list[list[object]]
NONE = "-"


def status(answers: Answers, configs: Answers, chosen: str = "") -> str:
    """One line for each site of each host, configured or found there.

    :param answers: the results of `release_status`
    :param configs: the site config of each host
    :param chosen: the only site to list, or all if it is empty
    """
    head = ["HOST", "SITE", "SLOT", "RELEASE", "VERSION", "LIVE SINCE (UTC)", "HEALTHY", "PROCESSES", "ADDRESS"]
    rows: Rows = [head]
    for host, answer in answers.items():
        sites, found = configs[host]["sites"], {each["site"]: each for each in answer["sites"]}
        rows += [status_row(host, each, sites.get(name)) for name, each in found.items()]
        rows += [
            [host, name, *[NONE] * 4, "NO", NONE, "not on this host yet: ansible-playbook site.yml"]
            for name, site in sites.items()
            if name not in found and site.get("state", "present") == "present" and chosen in ("", name)
        ]
    if all(row[7] == NONE for row in rows[1:]):
        # A column only if a site has processes, to keep the table narrow.
        rows = [row[:7] + row[8:] for row in rows]
    return text(rows)


def status_row(host: str, found: Mapping[str, Any], site: Mapping[str, Any] | None) -> list[object]:
    """The line of a site that is on a host.

    :param site: its merged entry, or None if it is not in the site config
    """
    address = "unmanaged: not in the site config; `state: absent` there removes it"
    if site is not None:
        address = site.get("url", NONE) if found["healthy"] else found["detail"]
        address += f", maintenance {found['maintenance']}" if found.get("maintenance") else ""
        address += f" ({found['problems']})" if found["problems"] else ""
    return [
        host,
        found["site"],
        *(found[key] or NONE for key in ("slot", "release", "version")),
        time(found["since"], 16),
        "yes" if found["healthy"] else "NO",
        found["processes"] or NONE,
        address,
    ]


def releases(answers: Answers) -> str:
    """The releases on each host, newest first, and below them the history.

    :param answers: the results of `release_report`
    """
    present: Rows = [["HOST", "SITE", "RELEASE", "IS", "LIVE FROM (UTC)", "BY", "SOURCE"]]
    history: Rows = [["HOST", "SITE", "WHEN (UTC)", "WHAT", "RESULT", "RELEASE", "SECONDS", "BY", "WHY"]]
    for host, site in each_site(answers):
        for each in site["releases"]:
            origin = [each[key] or NONE for key in ("by", "source")]
            live = time(each["live_since"], 16)
            present.append([host, site["site"], each["release"], each["mark"] or "kept", live, *origin])
        if not site["releases"]:
            present.append([host, site["site"], *[NONE] * 4, "no release yet"])
        for each in site["history"]:
            details = [each.get(key, NONE) for key in ("release", "seconds", "by")]
            when = time(each["time"], 19)
            history.append([host, site["site"], when, each["action"], each["result"], *details, each.get("reason", "")])
    return f"{text(present)}\n{text(history)}"


def certificates(answers: Answers) -> str:
    """One line for each present site of each host.

    :param answers: the results of `certificate_status`
    """
    rows: Rows = [["HOST", "SITE", "MODE", "ISSUER", "NAMES", "DAYS LEFT", "RENEWAL"]]
    for host, site in each_site(answers):
        days = site["days"] if site["names"] else NONE
        names = ", ".join(site["names"]) or NONE
        rows.append([host, site["site"], site["mode"], site["issuer"] or NONE, names, days, site["renewal"] or NONE])
    return text(rows)


def each_site(answers: Answers) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Each host's results for each site."""
    return ((host, site) for host, answer in answers.items() for site in answer["sites"])


def time(stamp: str | None, length: int) -> str:
    """A time in UTC without its T, cut to a number of characters."""
    return (stamp or NONE)[:length].replace("T", " ")


def text(rows: Rows) -> str:
    """Rows as lines, each column as wide as its longest cell."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "".join(f"{line.rstrip()}\n" for line in lines)
