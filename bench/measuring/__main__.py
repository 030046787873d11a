"""Measure all cases on both sides, and write the report."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys

from measuring.cases import SIDES
from measuring.commands import WORK, BenchError
from measuring.hosts import prepare
from measuring.report import about, report
from measuring.rounds import measure
from measuring.source import ARCHIVE, SOURCE


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench/deploy", description="Measure what a deploy costs.")
    parser.add_argument("--quick", action="store_true", help="one round, each run once")
    parser.add_argument("--rounds", type=int, help="fresh containers so many times (3)")
    parser.add_argument("--repeat", type=int, help="measure what can be repeated so many times a round (2)")
    parser.add_argument("--only", choices=list(SIDES), help="one side alone")
    parser.add_argument("--release", default="bookworm", help="the hosts' Debian (%(default)s)")
    parser.add_argument("--timeout", type=int, default=600, help="seconds after which a run is given up (%(default)s)")
    parser.add_argument(
        "-e",
        "--extra-vars",
        dest="extra",
        type=json.loads,
        default={},
        metavar="JSON",
        help="host variables for both sides",
    )
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 3)
    arguments.repeat = arguments.repeat or (1 if arguments.quick else 2)
    arguments.sides = [arguments.only] if arguments.only else list(SIDES)
    return arguments


def main() -> int:
    """Measure and report; 0 if every run could be measured, whatever the figures."""
    arguments = parse()
    # So that `kill` cleans up as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    WORK.mkdir(parents=True, exist_ok=True)
    try:
        print("Preparing podman and the hosts' image (a minute, the first time)", file=sys.stderr, flush=True)
        arguments.image = prepare(arguments.release)
        facts = about(arguments)
        runs = list(measure(arguments))
        print(report(runs, facts, arguments))
    except BenchError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(WORK / "inventory", ignore_errors=True)
        shutil.rmtree(SOURCE, ignore_errors=True)
        ARCHIVE.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
