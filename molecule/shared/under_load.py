"""Sites under load while an event happens to them, and the outcome of every request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from load_generator import LoadGenerator, Report
from reliability import Table
from shops import Shop


@dataclass
class Load:
    """One load generator and, afterwards, one report for each site."""

    generators: dict[str, LoadGenerator] = field(default_factory=dict)
    reports: dict[str, Report] = field(default_factory=dict)

    @property
    def harm(self) -> dict[str, dict[str, list[str]]]:
        """Everything that a client could notice, by site."""
        return {name: report.harm for name, report in self.reports.items() if report.harm}

    @property
    def idle_closes(self) -> int:
        """Keep-alive connections that were closed between two requests."""
        return sum(report.idle_closes for report in self.reports.values())

    @property
    def bad_answers(self) -> dict[str, list[str]]:
        """Wrong responses, lost POSTs and POSTs that ran twice: what not even an outage may cause."""
        found = {name: report.wrong + report.lost + report.duplicated for name, report in self.reports.items()}
        return {name: notes for name, notes in found.items() if notes}


@contextmanager
def under_load(shops: list[Shop], event: str, table: Table, **settings: Any) -> Iterator[Load]:
    """Put these sites under load during an event; the reports and the rows of the table are there afterwards."""
    load = Load({shop.name: shop.generator(**settings) for shop in shops})
    with ExitStack() as stack:
        for generator in load.generators.values():
            stack.enter_context(generator)
        for generator in load.generators.values():
            stack.enter_context(generator.event())
        yield load
    for shop in shops:
        generator = load.generators[shop.name]
        report = load.reports[shop.name] = generator.report(shop.stored(generator))
        table.add(event, shop.kind, report)
