"""The fork server of a local runner: imports torch once, and each trial is a fork that starts in a moment.

What only the end of a trial needs (torchmetrics: three seconds) it imports while the first trials run.

It speaks JSON lines. Requests on standard input::

    {"start": id, "spec": {TrialSpec}, "cpus": [0, 1] | null, "gpu": "0" | null, "log": path}
    {"stop": id}                    SIGTERM: the trial saves and ends with 143
    {"kill": id}                    SIGKILL

Events on standard output::

    {"ready": true}
    {"started": id, "pid": n}
    {"ended": id, "code": exit code or -signal, "seconds": s, "maxRssBytes": n}
    {"error": what is wrong with a request and what would be right, "id": its id or null}

Only a process with one thread, in which torch has not computed yet, can be forked safely: so it never runs an
operation and starts no thread. A trial is in a process group of its own (a terminal's Ctrl-C reaches the runner alone).
When the runner is gone, standard input ends: the server stops its trials, waits and ends. When the server itself is
gone, each trial sees the end of its lifeline, a pipe that only the server holds open, and stops by itself.

Decided against: multiprocessing's forkserver, which imports no torch before it forks, hides pids and cannot be
told by another program what to run.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import selectors
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

from pydantic import Field, ValidationError

from graphtrial.contract import ExitCode, Model, problems
from graphtrial.evaluation import load_libraries
from graphtrial.training.trial import run

GRACE_SECONDS = 30.0
"""From SIGTERM to SIGKILL when the runner is gone."""

_STDIN, _STDOUT, _STDERR = 0, 1, 2


class Start(Model):
    """A request to start a trial."""

    id: str = Field(alias="start")
    spec: dict[str, Any]
    log: str
    """File to which the trial's output is appended; its folder exists."""
    cpus: tuple[int, ...] | None = None
    """Cores to run on; None: any."""
    gpu: str | None = None
    """What ``CUDA_VISIBLE_DEVICES`` shall be; None: as it is."""


class _Child(NamedTuple):
    id: str
    started: float


def serve() -> int:
    """Serve until standard input ends or SIGTERM comes, and all trials have ended; returns 0."""
    _freeze()
    return _Server().serve()


def _freeze() -> None:
    gc.collect()
    gc.freeze()  # a collection in a fork would write to, and so copy, what it shares with the server


class _Server:
    def __init__(self) -> None:
        self._children: dict[int, _Child] = {}
        self._buffer = b""
        self._lifeline, self._lifeline_held = os.pipe()
        self._wakeup, self._wakeup_written = os.pipe()
        for descriptor in (self._wakeup, self._wakeup_written):
            os.set_blocking(descriptor, False)
        self._is_complete = False
        """Whether all libraries are imported that a trial may need."""
        self._stop_by: float | None = None
        """When trials that still run are killed, on the monotonic clock; None: serving."""

    def serve(self) -> int:
        signal.set_wakeup_fd(self._wakeup_written, warn_on_full_buffer=False)
        # Numbers of signals arrive in the loop, which is nowhere interrupted.
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with selectors.DefaultSelector() as selector:
            self._selector = selector
            selector.register(self._wakeup, selectors.EVENT_READ)
            selector.register(_STDIN, selectors.EVENT_READ)
            self._tell(ready=True)
            while self._stop_by is None or self._children:
                timeout = None if self._stop_by is None else max(0.0, self._stop_by - time.monotonic())
                for key, _ in selector.select(timeout):
                    if key.fd == _STDIN:
                        self._read_requests()
                    elif signal.SIGTERM in os.read(self._wakeup, 4096):
                        self._close()
                self._reap()
                self._complete()
                if self._stop_by is not None and time.monotonic() >= self._stop_by:
                    self._signal_all(signal.SIGKILL)
                    self._stop_by += GRACE_SECONDS
        return 0

    def _complete(self) -> None:
        """Once the first trials are under way: import what they will need at their end, for all that come after."""
        if self._is_complete or not self._children or self._stop_by is not None:
            return
        self._is_complete = True
        with suppress(Exception):  # the trial that misses something says so
            load_libraries()
        _freeze()

    def _read_requests(self) -> None:
        data = os.read(_STDIN, 1 << 16)
        if not data:
            self._selector.unregister(_STDIN)
            self._close()
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            if line.strip():
                self._answer(line)

    def _close(self) -> None:
        """Take no more trials and ask those that run to stop."""
        if self._stop_by is None:
            self._stop_by = time.monotonic() + GRACE_SECONDS
            self._signal_all(signal.SIGTERM)

    def _answer(self, line: bytes) -> None:
        try:
            request = json.loads(line)
        except ValueError as error:
            self._tell(error=f"a request is one JSON object per line: {error}", id=None)
            return
        match request:
            case {"start": _}:
                self._start(request)
            case {"stop": str(name)}:
                self._signal(name, signal.SIGTERM)
            case {"kill": str(name)}:
                self._signal(name, signal.SIGKILL)
            case _:
                self._tell(error="unknown request; use start, stop or kill with a trial's id", id=None)

    def _start(self, request: dict[str, Any]) -> None:
        name = request["start"] if isinstance(request["start"], str) else None
        try:
            start = Start.model_validate(request)
            if any(child.id == start.id for child in self._children.values()):
                raise ValueError(f"start: {start.id!r} is running already")
            if self._stop_by is not None:
                raise ValueError("start: the server is closing")
            log = os.open(start.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except ValidationError as error:
            self._tell(error="; ".join(problems(error, "start")), id=name)
        except OSError as error:
            self._tell(error=f"log: {start.log} cannot be opened: {error.strerror}", id=name)
        except ValueError as error:
            self._tell(error=str(error), id=name)
        else:
            self._fork(start, log)

    def _fork(self, start: Start, log: int) -> None:
        started = time.monotonic()
        # A child that still had the server's handlers would take a signal and do nothing.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            pid = os.fork()
            if pid == 0:
                self._be_child(start, log)
        except OSError as error:
            self._tell(error=f"no process can be started: {error.strerror}", id=start.id)
        else:
            self._children[pid] = _Child(start.id, started)
            self._tell(started=start.id, pid=pid)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            os.close(log)

    def _be_child(self, start: Start, log: int) -> NoReturn:
        """Everything a fork does; it never returns into the server's code."""
        code = 1
        try:
            self._leave_server(log)
            if start.cpus is not None and hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, start.cpus)
            if start.gpu is not None:
                os.environ["CUDA_VISIBLE_DEVICES"] = start.gpu
            code = run(json.dumps(start.spec))
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _leave_server(self, log: int) -> None:
        """Give up what is the server's: its signals, its pipes, its process group."""
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        # Until the trial has its own handler there is nothing to save.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(ExitCode.STOPPED))
        self._selector.close()
        for descriptor in (self._wakeup, self._wakeup_written, self._lifeline_held):
            os.close(descriptor)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, _STDIN)
        os.dup2(log, _STDOUT)
        os.dup2(log, _STDERR)
        os.close(nothing)
        os.close(log)
        threading.Thread(target=_stop_with_server, args=(self._lifeline,), daemon=True, name="lifeline").start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def _signal(self, name: str, number: signal.Signals) -> None:
        pids = [pid for pid, child in self._children.items() if child.id == name]
        if not pids:
            self._tell(error=f"no trial {name!r} is running; it may have ended just now", id=name)
        for pid in pids:
            os.kill(pid, number)

    def _signal_all(self, number: signal.Signals) -> None:
        # Not reaped yet, so none of these numbers can belong to another process.
        for pid in self._children:
            os.kill(pid, number)

    def _reap(self) -> None:
        for pid in list(self._children):
            ended, status, usage = os.wait4(pid, os.WNOHANG)
            if ended:
                child = self._children.pop(pid)
                self._tell(
                    ended=child.id,
                    code=os.waitstatus_to_exitcode(status),
                    seconds=time.monotonic() - child.started,
                    maxRssBytes=_bytes(usage),
                )

    def _tell(self, **event: object) -> None:
        # A runner that reads no more is gone, and standard input says so.
        with suppress(BrokenPipeError):
            line = memoryview(json.dumps(event).encode() + b"\n")
            while line:
                line = line[os.write(_STDOUT, line) :]


def _bytes(usage: resource.struct_rusage) -> int:
    # Linux counts KiB, macOS bytes.
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _stop_with_server(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)
