"""``python -m e2e.cluster build [PROGRAM ...]``: build ahead of the tests, all programs unless some are named."""

from __future__ import annotations

import argparse
import sys

from e2e.cluster.binaries import PROGRAMS, build
from e2e.cluster.processes import ClusterError


def main() -> int:
    """Run the command; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m e2e.cluster", description="Servers for the tests.")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("build", help="build what is not installed, print where each program lies")
    command.add_argument("programs", nargs="*", metavar="PROGRAM", help=f"{', '.join(PROGRAMS)}; default: all")
    try:
        found = build(parser.parse_args().programs or PROGRAMS)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    for name, path in found.items():
        print(f"{name}\t{path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
