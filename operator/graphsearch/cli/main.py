"""Arguments, and the way from an exception to an exit code.

Decided against: a command-line framework. Five commands with a handful of options are what argparse is for.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from graphsearch.cli.exits import CommandError, Exit

_RUNS = Path("graphsearch-runs")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    try:
        return _call(_parser().parse_args(arguments))
    except KeyboardInterrupt:
        return _fail(Exit.INTERRUPTED, "interrupted")


def _call(options: argparse.Namespace) -> int:
    # Importing takes a second or more, in which Ctrl-C is answered already.
    from graphsearch.api import ManifestError

    try:
        command = importlib.import_module(f"graphsearch.cli.{options.module}")
        return int(command.run(options))
    except CommandError as error:
        return _fail(error.code, str(error))
    except ManifestError as error:
        return _fail(Exit.USAGE, str(error))
    except ModuleNotFoundError as error:
        if error.name in ("graphsearch", "graphtrial"):
            raise
        return _fail(Exit.USAGE, f"{error.name} is not installed; install graphsearch[local]")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except Exception:
        traceback.print_exc()
        return _fail(Exit.INTERNAL, "this is a fault of graphsearch; please report it with the lines above")


def _fail(code: Exit, message: str) -> int:
    print(f"graphsearch: {message}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="graphsearch",
        description="Finds the best way for several neural networks to teach one another.",
        epilog="Exit codes: " + ", ".join(f"{code.value} {code.name.lower()}" for code in Exit),
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run a search on this machine, or go on with it")
    run.add_argument("manifest", type=Path, help="a GraphSearch in YAML")
    run.add_argument("--output", type=Path, help=f"the search's folder (default: {_RUNS}/NAME)")
    run.add_argument("--parallel", type=_positive, help="trials at a time (default: parallelTrials, at most the cores)")
    run.add_argument("--plain", action="store_true", help="plain lines instead of a live table")
    run.set_defaults(module="run", runs=_RUNS)

    validate = commands.add_parser("validate", help="check a manifest")
    validate.add_argument("manifest", type=Path)
    validate.set_defaults(module="validate")

    preview = commands.add_parser("preview", help="what a search will cost, before it is spent")
    preview.add_argument("manifest", type=Path)
    preview.add_argument("--tflops", type=float, default=1.0, help="sustained TFLOP/s of a device (default: 1)")
    preview.add_argument("--images", type=_positive, help="training images, where the catalogue does not know them")
    preview.set_defaults(module="preview")

    status = commands.add_parser("status", help="how a search on this machine stands")
    status.add_argument("folder", type=Path, help="its folder, or its name below " + str(_RUNS))
    status.add_argument("-o", "--output", choices=("table", "json"), default="table")
    status.set_defaults(module="status", runs=_RUNS)

    report = commands.add_parser("report", help="write the report of a search on this machine again")
    report.add_argument("folder", type=Path, help="its folder, or its name below " + str(_RUNS))
    report.set_defaults(module="report", runs=_RUNS)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1 (given: {text})")
    return int(text)
