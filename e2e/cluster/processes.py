"""Servers as processes: started with a log, known by their ports, ended with everything they started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LOOPBACK = "127.0.0.1"
_TAIL_CHARACTERS = 4000
_POLL_SECONDS = 0.05
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_PORTS = range(15000, 32000)
_GIVEN_OUT: set[int] = set()
"""Ports that this process has been given: it may be seconds until somebody listens there."""


class ClusterError(RuntimeError):
    """A part of the cluster is missing, did not start or refused a command; the message ends with its log's tail."""


class Server:
    """One process in a group of its own, so that its helpers end with it.

    Attributes:
        name: For messages; the log is ``<folder>/<name>.log`` and is appended to.
        command: Program and arguments.
    """

    def __init__(
        self, name: str, command: Sequence[str | Path], folder: Path, *, environment: Mapping[str, str] | None = None
    ) -> None:
        """Describe the process; ``environment`` is added to this one's. It runs in ``folder``."""
        self.name = name
        self.command = [str(part) for part in command]
        self._folder = folder
        self._environment = dict(os.environ, **(environment or {}))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What it has printed."""
        return self._folder / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """Of the process, while it runs."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process else None

    def start(self) -> None:
        """Start it; it must not run."""
        assert self.pid is None
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  the harness's own commands
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self._folder,
                env=self._environment,
                preexec_fn=_end_with_parent,  # noqa: PLW1509  it calls one function of libc
            )

    def kill(self) -> None:
        """End it and what it started with SIGKILL; nothing if it does not run."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it and what it started stand still: who connects gets no answer."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def wait_until_ready(self, ready: Callable[[], bool], seconds: float = 120) -> None:
        """Poll until ``ready``, which may raise OSError while nobody answers.

        Raises:
            ClusterError: If it ends or is not ready in time.
        """
        deadline = time.monotonic() + seconds
        while self.pid is not None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if ready():
                    return
            time.sleep(_POLL_SECONDS)
        what = f"is not ready after {seconds:g} s" if self.pid is not None else "has ended"
        raise ClusterError(f"{self.name} {what}; the end of {self.log}:\n{self.tail()}")

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-_TAIL_CHARACTERS:] if self.log.exists() else ""


def _end_with_parent() -> None:
    """Have the kernel kill this process when whoever started it is gone, however that ended."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now.

    They lie below the range from which the system takes the ports of outgoing connections: a server that is stopped
    finds its port still free when it is started again. None is given out twice, and each of two workers has its own
    half.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 2
    ports: list[int] = []
    while len(ports) < count:
        port = random.choice(_PORTS[worker::2])
        with socket.socket() as attempt, contextlib.suppress(OSError):
            attempt.bind((LOOPBACK, port))
            if port not in _GIVEN_OUT:
                _GIVEN_OUT.add(port)
                ports.append(port)
    return ports
