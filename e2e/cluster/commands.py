"""Commands that must succeed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from e2e.cluster.processes import ClusterError


def run(
    command: Sequence[object],
    *,
    input: str | None = None,
    check: bool = True,
    environment: Mapping[str, str] | None = None,
    seconds: float = 1800,
) -> str:
    """A command's output.

    Args:
        command: Program and arguments.
        input: What it reads; nothing if left out.
        check: Whether a failure is an error; if not, what it complained of comes back as well.
        environment: Added to this process's.
        seconds: It may take, which no command needs that works.

    Raises:
        ClusterError: With the end of what it said, if ``check`` and it fails, or if it does not end.
    """
    words = [str(part) for part in command]
    try:
        done = subprocess.run(  # noqa: S603
            words,
            input=input or "",
            capture_output=True,
            text=True,
            check=False,
            env=dict(os.environ, **(environment or {})),
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise ClusterError(f"{' '.join(words)[:300]} has not ended after {seconds:g} s") from None
    if done.returncode and check:
        said = (done.stderr + done.stdout)[-4000:]
        raise ClusterError(f"{' '.join(words)[:300]} ended with {done.returncode}:\n{said}")
    return done.stdout + done.stderr if done.returncode else done.stdout
