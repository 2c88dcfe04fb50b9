"""``python -m graphtrial`` runs one trial, ``python -m graphtrial serve`` forks trials for a local runner."""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
from pathlib import Path

from graphtrial.contract import SPEC_VARIABLE, ExitCode

# numpy's linear algebra is not used, and would start threads when it is imported: a process with threads cannot fork.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main() -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m graphtrial", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["run", "serve"], default="run")
    parser.add_argument("--spec", type=Path, help=f"file with the TrialSpec in JSON; default: ${SPEC_VARIABLE}")
    options = parser.parse_args()
    # A crash below Python says where in the log; an exit code alone helps nobody.
    faulthandler.enable()
    # The first process of a container ignores signals that it has no handler for, and the imports take seconds.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(ExitCode.STOPPED))
    if options.command == "serve":
        from graphtrial.training.serve import serve

        return serve()
    try:
        text = options.spec.read_text() if options.spec else os.environ[SPEC_VARIABLE]
    except KeyError:
        print(f"give the TrialSpec in ${SPEC_VARIABLE} or with --spec FILE", file=sys.stderr)
        return ExitCode.BAD_SPEC
    except (OSError, UnicodeDecodeError) as error:
        print(f"--spec {options.spec} cannot be read: {error}", file=sys.stderr)
        return ExitCode.BAD_SPEC
    from graphtrial.training.trial import run

    return run(text)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Without the interpreter's own end, which waits for threads that fetch data, a pod's whole grace period long; and
    # where torch's compilers tell, on what is the server's log, what they leak.
    os._exit(code)
