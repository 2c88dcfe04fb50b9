"""``graphsearch operator``: one process that waits for the Lease, fills the ledgers, watches, and takes turns.

What a turn does is the business of a ``Worlds``. Every part runs for ever; one that ends takes the process with it,
and the kubelet starts another: a process that looks alive and does nothing is the worst there is. On SIGTERM the turns
in hand are finished, the Lease is handed back, and the process ends with 0 within ten seconds.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from typing import Protocol

from graphsearch.api.wire import Object
from graphsearch.cluster.client import ApiError, Client, NotFoundError
from graphsearch.cluster.telemetry import Announcer, Telemetry
from graphsearch.controller.events import Recorder
from graphsearch.controller.lease import Lease, LeaseLostError
from graphsearch.controller.loops import Loops
from graphsearch.controller.metrics import Metrics
from graphsearch.controller.probes import serving
from graphsearch.controller.settings import Settings, own_identity
from graphsearch.controller.watches import watch

_log = logging.getLogger(__name__)

RESYNC_SECONDS = 30 * 60.0
"""Between two full lists, for what the watches may have missed (design 6)."""
_RETRY_SECONDS = 5.0
_FINISH_SECONDS = 6.0
"""For the turns in hand when the process is to end."""
_CANCEL_SECONDS = 1.5
_LEFT_OUT_SECONDS = 30.0
"""Between two looks at namespaces that are left out."""
_STOP = "stop"
_WORKING = "working"


class Worlds(Protocol):
    """All searches, as the process needs them; a key names one."""

    @property
    def keys(self) -> list[str]:
        """Of all that are known; one that is not any more gets no turn."""

    @property
    def left_out(self) -> Mapping[str, str]:
        """Namespaces that the last ``fill`` was not let into, with what was said."""

    async def fill(self) -> None:
        """List everything; raises ApiError."""

    async def let_in(self) -> list[str]:
        """Those of them that could be looked at now; raises ApiError."""

    def seen(self, kind: str, event: str | None, obj: Object) -> str | None:
        """Take what was heard of an object; the key that should have a turn, None if it is nobody's."""

    async def turn(self, key: str) -> float | None:
        """Look and do what is missing; seconds until it wants another turn, None: when it is heard of."""


Build = Callable[[Client, Telemetry, Announcer], AbstractAsyncContextManager[Worlds]]
"""Makes the worlds with what it takes: a client that writes only while the Lease is held, and who is told."""


class DeadPartError(Exception):
    """A part that runs for ever has ended: the process must, too."""


async def run(settings: Settings, build: Build) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        DeadPartError: If a part has ended; the message says which and why.
        LeaseLostError: If another operator may be writing.
        ClusterConfigError: If there is no way to a cluster.
        ApiError: If the Lease cannot be had for lack of rights.
        OSError: If the probes' port is taken.
    """
    metrics = Metrics()
    stop = asyncio.Event()
    _on_signals(stop)
    async with Client.connect(settings.kubeconfig or None, observer=metrics.requested) as client:
        namespace = settings.lease_namespace or client.namespace
        lease = Lease(client, namespace, settings.lease_name, settings.identity or own_identity())
        process = _Process(settings, lease, metrics, stop)
        metrics.stand_by(lambda: lease.is_held, lambda: process.ready == _WORKING)
        probes = serving(
            settings.probe_port,
            stalled=process.stalled_seconds,
            ready=lambda: process.ready,
            metrics=metrics.exposition,
        )
        async with probes:
            if await process.acquire():
                await process.work(client, build)


class _LetInError(Exception):
    """A namespace that was left out can be watched, and Kopf watches those that it was started with."""


class _Process:
    def __init__(self, settings: Settings, lease: Lease, metrics: Metrics, stop: asyncio.Event) -> None:
        self.ready = ""
        """What it is ready for; see probes."""
        self._settings = settings
        self._lease = lease
        self._metrics = metrics
        self._stop = stop
        self._loops: Loops | None = None

    def stalled_seconds(self) -> float:
        return self._loops.stalled_seconds if self._loops is not None else 0.0

    async def acquire(self) -> bool:
        """Wait for the Lease; False if the process is to end before."""

        def stands_by() -> None:
            self.ready = "standing by"

        acquiring = asyncio.create_task(self._lease.acquire(stands_by))
        stopping = asyncio.create_task(self._stop_requested())
        await asyncio.wait([acquiring, stopping], return_when=asyncio.FIRST_COMPLETED)
        self.ready = ""
        await _cancel(stopping)
        if acquiring.done():
            acquiring.result()
            return True
        await _cancel(acquiring)
        await self._lease.release()
        return False

    async def work(self, client: Client, build: Build) -> None:
        """Take turns until the process is to end or a part has ended."""
        writer = client.guarded(self._lease.check)
        keeping = asyncio.create_task(self._lease.keep(), name="renewal of the Lease")
        async with build(writer, self._metrics, Recorder(writer)) as worlds:
            loops = self._loops = self._start_loops(worlds)
            looping = asyncio.create_task(loops.run(), name="loop")
            resyncing = asyncio.create_task(self._resync(worlds, loops), name="resync")
            stopping = asyncio.create_task(self._stop_requested(), name=_STOP)
            looking = asyncio.create_task(_look_for_namespaces(worlds), name="look at namespaces that were left out")
            watching = asyncio.create_task(self._watch(worlds, loops, client), name="watch")
            parts = [keeping, looping, resyncing, looking, watching, stopping]
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            self.ready = ""
            error = _cause_of_death(parts)
            if not isinstance(error, LeaseLostError):
                # Nothing is cut off between a fact and its act, and the successor need not wait.
                loops.stop()
                await asyncio.wait([looping], timeout=_FINISH_SECONDS)
                await _cancel(keeping)
                await self._lease.release()
            # Kopf last: it cancels what was begun after it.
            for part in (stopping, resyncing, looking, looping, keeping, watching):
                await _cancel(part)
        if error is not None:
            raise error

    def _start_loops(self, worlds: Worlds) -> Loops:
        async def turn(key: str) -> float | None:
            again = await worlds.turn(key)
            if key not in worlds.keys:
                loops.forget(key)
            return again

        loops = Loops(turn, random=random.random, ended=self._metrics.turn_ended)
        self._metrics.show_loops(
            waiting=lambda: loops.waiting,
            running=lambda: loops.running,
            longest=lambda: loops.longest_running_seconds,
            stalled=lambda: loops.stalled_seconds,
        )
        self._metrics.show_left_out(lambda: len(worlds.left_out))
        return loops

    async def _watch(self, worlds: Worlds, loops: Loops, client: Client) -> None:
        while not await _filled(worlds):
            await asyncio.sleep(_RETRY_SECONDS)
        for key in worlds.keys:
            loops.mark(key)

        def hear(kind: str, event: str | None, obj: Object) -> None:
            key = worlds.seen(kind, event, obj)
            if key is not None:
                loops.mark(key)

        def watching() -> None:
            self.ready = _WORKING
            _log.info("working on %d searches", len(worlds.keys))

        def started() -> None:
            _on_signals(self._stop)

        namespaces = [name for name in self._settings.namespaces if name not in worlds.left_out]
        await watch(hear, client.connection, namespaces=namespaces, started=started, watching=watching)

    async def _resync(self, worlds: Worlds, loops: Loops) -> None:
        while True:
            await asyncio.sleep(RESYNC_SECONDS)
            while not await _filled(worlds):
                await asyncio.sleep(_RETRY_SECONDS)
            for key in worlds.keys:
                loops.mark(key)

    async def _stop_requested(self) -> None:
        await self._stop.wait()


async def _filled(worlds: Worlds) -> bool:
    """Whether the lists came; if not, the log says why."""
    try:
        await worlds.fill()
    except NotFoundError as error:
        _log.error("GraphSearch and GraphTrial are not installed (kubectl apply -f crds/): %s", error)
    except ApiError as error:
        _log.error("cannot list searches and trials: %s", error)
    else:
        for namespace, why in worlds.left_out.items():
            _log.error("namespace %s is left out until this account is let in: %s", namespace, why)
        return True
    return False


async def _look_for_namespaces(worlds: Worlds) -> None:
    """End once one of those left out lets us in; nobody tells who may not watch it, so it is asked for now and then."""
    while True:
        await asyncio.sleep(_LEFT_OUT_SECONDS)
        with suppress(ApiError):
            if found := await worlds.let_in():
                raise _LetInError(f"namespace {', '.join(found)} is not left out any more")


def _cause_of_death(parts: Iterable[asyncio.Task[None]]) -> Exception | None:
    """Why the process must end; None if it was asked to."""
    for part in parts:
        if not part.done() or part.get_name() == _STOP:
            continue
        error = part.exception()
        if isinstance(error, LeaseLostError):
            return error
        return DeadPartError(f"the {part.get_name()} has ended: {error or 'without a word'}")
    return None


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task], timeout=_CANCEL_SECONDS)
    if task.done() and not task.cancelled():
        task.exception()  # or asyncio reports it as never looked at


def _on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
