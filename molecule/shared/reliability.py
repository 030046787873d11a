"""The table of what was tried under load, and what came of it: `build/reliability.md`."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from hammer import Report

HEAD = """\
| while it was hammered | worker class | requests | of them POST | failed or wrong | POST lost or doubled | \
idle closes | at rest: p50 / p99 / slowest, ms | during it: p50 / p99 / slowest, ms | longest without an answer, ms |
| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- | ---: |
"""


@dataclass
class Table:
    """Grows by a row for each report, and is written anew each time, so that nothing is lost if the tests stop."""

    path: Path
    rows: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str, kind: str, report: Report) -> None:
        """One more."""
        harmed, booked_badly = len(report.failed) + len(report.wrong), len(report.lost) + len(report.doubled)
        cells = [what, kind, report.requests, report.posts, harmed, booked_badly, report.idle_closes]
        cells += [report.rest, report.during, f"{report.away * 1000:.0f}"]
        with self.lock:
            self.rows.append("| " + " | ".join(map(str, cells)) + " |\n")
            self.path.parent.mkdir(exist_ok=True)
            self.path.write_text(HEAD + "".join(self.rows))
