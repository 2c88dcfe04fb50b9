"""Arguments, and the way from an exception to an exit code.

Decided against: a command-line framework. Commands with a handful of options each are what argparse is for.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import math
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from graphsearch.cli.arguments import RUNS, add_seeing, add_steering
from graphsearch.cli.exits import CommandError, Exit, is_of_output
from graphsearch.controller.settings import add_flags

_EXTRAS = {
    **dict.fromkeys(("aiohttp", "kopf", "kubernetes"), "operator"),
    "mlflow": "mlflow",
    "tensorboard": "tensorboard",
}
"""By package, what to install for it; ``local`` has all others."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    code = int(Exit.OK)
    try:
        code = _call(parser().parse_args(arguments))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _fail(Exit.INTERRUPTED, "interrupted")
    except OSError as error:
        if not is_of_output(error):
            raise
        # What is left unprinted would fail once more when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:
            return code
        return code or _fail(Exit.STORAGE, f"standard output cannot be written: {error.strerror}")
    return code


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
        name = (error.name or "").partition(".")[0]
        if name in ("graphsearch", "graphtrial"):
            raise
        return _fail(Exit.USAGE, f"{name} is not installed; install graphsearch[{_EXTRAS.get(name, 'local')}]")
    except Exception as error:
        if is_of_output(error):
            raise
        with suppress(BrokenPipeError):
            traceback.print_exc()
        return _fail(Exit.INTERNAL, "this is a fault of graphsearch; please report it with the lines above")


def _fail(code: Exit, message: str) -> int:
    with suppress(BrokenPipeError):  # as in ``2>&1 | head``: the code says it all the same
        print(f"graphsearch: {message}", file=sys.stderr)
    return code


def parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    top = argparse.ArgumentParser(
        prog="kubectl graphsearch" if Path(sys.argv[0]).name == "kubectl-graphsearch" else "graphsearch",
        description="Finds the best way for several neural networks to teach one another.",
        epilog="Exit codes: " + ", ".join(f"{code.value} {code.name.lower()}" for code in Exit),
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run a search on this machine, or go on with it")
    run.add_argument("manifest", type=Path, help="a GraphSearch in YAML")
    run.add_argument("--output", type=Path, help=f"the search's folder (default: {RUNS}/NAME)")
    run.add_argument("--parallel", type=_positive, help="trials at a time (default: parallelTrials, at most the cores)")
    run.add_argument("--plain", action="store_true", help="plain lines instead of a live table")
    run.set_defaults(module="run", runs=RUNS)

    validate = commands.add_parser("validate", help="check a manifest")
    validate.add_argument("manifest", type=Path)
    validate.set_defaults(module="validate")

    preview = commands.add_parser("preview", help="what a search will cost, before it is spent")
    preview.add_argument("manifest", type=Path)
    preview.add_argument("--tflops", type=_rate, default=1.0, help="sustained TFLOP/s of a device (default: 1)")
    preview.add_argument("--images", type=_positive, help="training images, where the catalogue does not know them")
    preview.set_defaults(module="preview")

    add_seeing(commands)
    add_steering(commands)

    crds = commands.add_parser("crds", help="the definitions of GraphSearch and GraphTrial for a cluster")
    crds.add_argument("--output", type=Path, help="a folder for one file each (default: both are printed)")
    crds.set_defaults(module="crds")

    operator = commands.add_parser(
        "operator",
        help="run the searches of a cluster",
        epilog="Each flag may stand in the environment as well: --prometheus-url as GRAPHSEARCH_PROMETHEUS_URL.",
    )
    add_flags(operator)
    operator.set_defaults(module="operator")
    return top


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0 (given: {text})")
    return value


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1 (given: {text})")
    return int(text)
