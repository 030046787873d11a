"""The table of events under load and their outcome: `build/reliability.md`."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from load_generator import Report

HEAD = """\
| event | server kind | requests | of them POST | failed or wrong | POST lost or duplicated | \
idle closes | \
before and after: p50 / p99 / slowest, ms | during: p50 / p99 / slowest, ms | longest gap between responses, ms |
| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- | ---: |
"""


@dataclass
class Table:
    """Gets a row for each report, and writes the whole file each time, so that a run that stops loses nothing."""

    path: Path
    rows: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, event: str, kind: str, report: Report) -> None:
        """Add a row."""
        failed, bad_posts = len(report.failed) + len(report.wrong), len(report.lost) + len(report.duplicated)
        cells = [event, kind, report.requests, report.posts, failed, bad_posts, report.idle_closes]
        cells += [report.baseline, report.during, f"{report.longest_gap * 1000:.0f}"]
        with self.lock:
            self.rows.append("| " + " | ".join(map(str, cells)) + " |\n")
            self.path.parent.mkdir(exist_ok=True)
            self.path.write_text(HEAD + "".join(self.rows))
