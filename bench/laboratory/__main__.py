"""Run the experiments, one after the other, and write what they say."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from pathlib import Path
from types import ModuleType

from measuring.commands import BenchError

from laboratory import page
from laboratory.bench import opened

EXPERIMENTS = ("blocking", "chain", "growth", "switch", "json_libraries")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench/run", description="Measure servers, classes and ways of going live.")
    parser.add_argument("--quick", action="store_true", help="scaled down: shows that all of it runs, measures nothing")
    parser.add_argument("--only", choices=EXPERIMENTS, action="append", help="one experiment alone; may be repeated")
    parser.add_argument("--publish", action="store_true", help="write docs/performance.md from the last run")
    parser.add_argument("--timeout", type=int, help="seconds after which an experiment is given up (quick: 300; 3600)")
    parser.add_argument("--into", type=Path, help="the folder for what is written (build/bench/laboratory)")
    arguments = parser.parse_args()
    arguments.into = (arguments.into or page.FOLDERS[arguments.quick]).absolute()
    arguments.only = [name for name in EXPERIMENTS if name in (arguments.only or EXPERIMENTS)]
    arguments.timeout = arguments.timeout or (300 if arguments.quick else 3600)
    return arguments


def experiment(name: str) -> ModuleType:
    """An experiment's module."""
    return importlib.import_module(f"laboratory.{name}")


def give_up(*_: object) -> None:
    """It takes too long."""
    raise BenchError("an experiment took longer than --timeout allows; what was measured before it is written")


def main() -> int:
    """Measure and report; 0 if everything could be measured, whatever the figures."""
    arguments = parse()
    # So that `kill` cleans up as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGALRM, give_up)
    try:
        written = page.publish(arguments.into) if arguments.publish else measure(arguments)
    except BenchError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"Written: {written}")
    return 0


def measure(arguments: argparse.Namespace) -> Path:
    """Run the experiments; the page, which is written anew after each of them."""
    modules = {name: experiment(name) for name in arguments.only}
    results = page.begin(arguments.quick)
    written = arguments.into
    with opened(arguments.quick, sum(module.steps(arguments.quick) for module in modules.values())) as bench:
        for name, module in modules.items():
            signal.alarm(arguments.timeout)
            results["experiments"][name] = list(module.measure(bench))
            signal.alarm(0)
            written = page.write(results, arguments.into)
    return written


if __name__ == "__main__":
    sys.exit(main())
