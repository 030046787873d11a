"""Run the experiments one after the other, and write the report."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from pathlib import Path
from types import ModuleType

from measuring.commands import BenchError

from laboratory import report
from laboratory.bench import opened

EXPERIMENTS = ("blocking", "chain", "growth", "switch", "json_libraries")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench/run", description="Measure servers, worker classes and deployments.")
    parser.add_argument(
        "--quick", action="store_true", help="scaled down, to show that everything runs; the figures mean nothing"
    )
    parser.add_argument("--only", choices=EXPERIMENTS, action="append", help="one experiment; may be repeated")
    parser.add_argument("--publish", action="store_true", help="write docs/performance.md from the last full run")
    parser.add_argument(
        "--timeout", type=int, help="seconds after which an experiment is stopped (3600; 300 with --quick)"
    )
    parser.add_argument("--into", type=Path, help="the folder of the results (build/bench/laboratory)")
    arguments = parser.parse_args()
    arguments.into = (arguments.into or report.FOLDERS[arguments.quick]).absolute()
    arguments.only = [name for name in EXPERIMENTS if name in (arguments.only or EXPERIMENTS)]
    arguments.timeout = arguments.timeout or (300 if arguments.quick else 3600)
    return arguments


def experiment(name: str) -> ModuleType:
    """An experiment's module."""
    return importlib.import_module(f"laboratory.{name}")


def give_up(*_: object) -> None:
    """Stop an experiment that takes too long."""
    raise BenchError("an experiment took longer than --timeout allows; the results of those before it are written")


def main() -> int:
    """Measure and report; 0 if everything could be measured, whatever the figures."""
    arguments = parse()
    # So that `kill` cleans up as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGALRM, give_up)
    try:
        written = report.publish(arguments.into) if arguments.publish else measure(arguments)
    except BenchError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"Written: {written}")
    return 0


def measure(arguments: argparse.Namespace) -> Path:
    """Run the experiments; the page is written after each of them, and returned."""
    modules = {name: experiment(name) for name in arguments.only}
    results = report.begin(arguments.quick)
    written = arguments.into
    with opened(arguments.quick, sum(module.steps(arguments.quick) for module in modules.values())) as bench:
        for name, module in modules.items():
            signal.alarm(arguments.timeout)
            results["experiments"][name] = list(module.measure(bench))
            signal.alarm(0)
            written = report.write(results, arguments.into)
    return written


if __name__ == "__main__":
    sys.exit(main())
