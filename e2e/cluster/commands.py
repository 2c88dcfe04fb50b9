"""Commands that must succeed."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from e2e.cluster.processes import ClusterError


def run(command: Sequence[object]) -> str:
    """A command's output.

    Raises:
        ClusterError: With the end of what it said, if it fails.
    """
    words = [str(part) for part in command]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        said = (done.stderr + done.stdout)[-4000:]
        raise ClusterError(f"{' '.join(words)[:300]} ended with {done.returncode}:\n{said}")
    return done.stdout
