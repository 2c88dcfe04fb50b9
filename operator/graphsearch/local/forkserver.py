"""Talks to ``python -m graphtrial serve``, which forks trials from a process that has imported torch once.

JSON lines: requests on its standard input, events on its standard output. When this process dies the server sees
its input end, has its trials save, and ends.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from graphsearch.local.machine import Slot
from graphtrial.contract import TrialSpec, ended_by

_CLOSING_SECONDS = 60.0
"""How long a closing server may let its trials save before it is killed."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class ForkServerError(Exception):
    """The server did not start or died; the message holds the end of its log."""


class ForkServer:
    """A running server; a context manager that ends it and all its trials."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""

    def __enter__(self) -> Self:
        environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, "1")}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "graphtrial", "serve"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        while not any(event.get("ready") for event in self.events(60.0)):
            pass
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._running()
        with suppress(BrokenPipeError):  # what was left to be sent to one that has died
            self._input().close()
        try:
            process.wait(_CLOSING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._selector.close()
        assert process.stdout is not None
        process.stdout.close()

    def start(self, key: str, spec: TrialSpec, slot: Slot, log: Path) -> None:
        """Fork a trial; the event ``started`` or ``error`` answers."""
        self._send({"start": key, "spec": spec.to_json(), "cpus": slot.cpus, "gpu": slot.gpu, "log": str(log)})

    def stop(self, key: str) -> None:
        """Have a trial save and end."""
        self._send({"stop": key})

    def kill(self, key: str) -> None:
        """End a trial at once."""
        self._send({"kill": key})

    def events(self, timeout: float) -> Iterator[dict[str, Any]]:
        """Events that arrive within ``timeout`` seconds; returns once there were some.

        Raises:
            ForkServerError: If the server has died.
        """
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                return
            stdout = self._running().stdout
            assert stdout is not None
            data = stdout.read()
            if data == b"":
                raise ForkServerError(f"the trainer's server ended by {self._last_words()}")
            self._buffer += data or b""
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            yield json.loads(line)

    def _send(self, request: dict[str, Any]) -> None:
        try:
            self._input().write(json.dumps(request).encode() + b"\n")
            self._input().flush()
        except BrokenPipeError:
            raise ForkServerError(f"the trainer's server ended by {self._last_words()}") from None

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "used outside of its context"
        return self._process

    def _input(self) -> IO[bytes]:
        stdin = self._running().stdin
        assert stdin is not None
        return stdin

    def _last_words(self) -> str:
        code = self._running().wait()
        how = ended_by(code)
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return f"{how}: {lines[-1]}" if lines else how
