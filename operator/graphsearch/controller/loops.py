"""One level-triggered loop per key, after controller-runtime: marked, due, taken, taken again.

A mark says only that something has moved; however many come before the next turn, they are one. A turn looks at
everything anew and says when it wants to be called again. A turn that raises is taken again after a growing pause;
nothing ends a loop but a defect in this module, and that ends the process.

It must not know what a key stands for. Decided against: a queue (a flag per key is one that never holds a key
twice), timers of Kopf, and cutting off a turn that takes long, which could fall between a fact and its act.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from graphsearch.cluster.client import ConflictError, UnavailableError

_log = logging.getLogger(__name__)

Turn = Callable[[str], Awaitable[float | None]]
"""Looks at a key and does what is missing; seconds until it wants to be called again, None: when it is marked."""

MIN_INTERVAL_SECONDS = 0.25
"""Between the beginnings of two turns of a key (design 6)."""
AT_A_TIME = 16
"""Turns; the others wait, first come, first served."""
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 60.0
LONGEST_WAIT_FOR_SERVER_SECONDS = 10.0
"""The longest pause where the API server did not answer or somebody else wrote: that passes by itself, and what
runs on the cluster should not wait long after it has."""
MARKED_PAUSE_SECONDS = 2.0
"""The longest pause once the key is marked: somebody may have mended what was wrong."""


class Result(StrEnum):
    """How a turn ended."""

    SUCCESS = "success"
    RETRY = "retry"
    """The API server did not answer, or somebody else has written."""
    ERROR = "error"


@dataclass
class _Slot:
    due: float = math.inf
    """When its next turn is wanted, in the loop's time."""
    not_before: float = -math.inf
    began: float | None = None
    """When the turn that is being taken began."""
    failures: int = 0
    """In a row."""
    is_forgotten: bool = False
    moved: asyncio.Event = field(default_factory=asyncio.Event)


class Loops:
    """All keys' loops. ``run`` returns when ``stop`` was called and the turns in hand are done."""

    def __init__(
        self,
        turn: Turn,
        *,
        random: Callable[[], float],
        ended: Callable[[Result, float], None],
    ) -> None:
        """Begin without keys.

        Args:
            turn: Of a key.
            random: Draws from [0, 1), for the pauses' jitter.
            ended: Told of each turn how it ended and how many seconds it took.
        """
        self._turn = turn
        self._random = random
        self._ended = ended
        self._slots: dict[str, _Slot] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(AT_A_TIME)
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def mark(self, key: str) -> None:
        """Something has moved: the key gets a turn."""
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = _Slot()
            task = asyncio.create_task(self._supervise(key, slot), name=f"loop of {key}")
            self._tasks.add(task)
            task.add_done_callback(self._over)
        slot.is_forgotten = False
        slot.due = min(slot.due, max(_now(), slot.not_before))
        slot.moved.set()

    def forget(self, key: str) -> None:
        """There is nothing behind the key any more; a turn in hand is finished."""
        slot = self._slots.get(key)
        if slot is not None:
            slot.is_forgotten, slot.due = True, math.inf
            slot.moved.set()

    async def run(self) -> None:
        """Take turns until stopped.

        Raises:
            Exception: A defect of this module; the process must end.
        """
        await self._end
        if self._tasks:
            await asyncio.wait(self._tasks)

    def stop(self) -> None:
        """Begin no turn any more."""
        if not self._end.done():
            self._end.set_result(None)
        for slot in self._slots.values():
            slot.moved.set()

    @property
    def waiting(self) -> int:
        """Keys whose turn is due and has not begun."""
        now = _now()
        return sum(slot.began is None and slot.due <= now for slot in self._slots.values())

    @property
    def running(self) -> int:
        """Turns that are being taken."""
        return sum(slot.began is not None for slot in self._slots.values())

    @property
    def stalled_seconds(self) -> float:
        """How long the slowest key has been waiting for, or in, its turn; 0 if nothing is due."""
        now = _now()
        since = (slot.due if slot.began is None else slot.began for slot in self._slots.values())
        return max((now - moment for moment in since if moment <= now), default=0.0)

    @property
    def longest_running_seconds(self) -> float:
        """Of the turns that are being taken; 0 if none is."""
        now = _now()
        return max((now - slot.began for slot in self._slots.values() if slot.began is not None), default=0.0)

    async def _supervise(self, key: str, slot: _Slot) -> None:
        while not self._end.done():
            if slot.is_forgotten:
                del self._slots[key]
                return
            wait = slot.due - _now()
            if wait > 0:
                await _sleep(slot.moved, wait)
                continue
            async with self._places:
                if not (self._end.done() or slot.is_forgotten):
                    await self._take(key, slot)

    async def _take(self, key: str, slot: _Slot) -> None:
        began = slot.began = _now()
        slot.due, slot.not_before = math.inf, began + MIN_INTERVAL_SECONDS
        result = Result.SUCCESS
        try:
            again = await self._turn(key)
        except Exception as error:
            result = Result.RETRY if isinstance(error, UnavailableError | ConflictError) else Result.ERROR
            self._failed(key, slot, error, result)
        else:
            slot.failures = 0
            if again is not None:
                slot.due = min(slot.due, _now() + again)
            slot.due = max(slot.due, slot.not_before)
        finally:
            slot.began = None
        self._ended(result, _now() - began)

    def _failed(self, key: str, slot: _Slot, error: Exception, result: Result) -> None:
        retry = result is Result.RETRY
        longest = LONGEST_WAIT_FOR_SERVER_SECONDS if retry else LONGEST_PAUSE_SECONDS
        pause = min(longest, FIRST_PAUSE_SECONDS * 2.0 ** min(slot.failures, 32)) * (1 + self._random()) / 2
        slot.failures += 1
        slot.not_before = _now() + min(pause, MARKED_PAUSE_SECONDS)
        slot.due = max(min(slot.due, _now() + pause), slot.not_before)
        message = "turn %d of %s in a row failed; the next one in %.1f s: %s"
        _log.log(
            logging.WARNING if retry else logging.ERROR,
            message,
            slot.failures,
            key,
            slot.due - _now(),
            error,
            exc_info=None if retry else error,
        )

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._end.done():
            self._end.set_exception(error)


async def _sleep(moved: asyncio.Event, seconds: float) -> None:
    """Until something has moved, or the time is over."""
    moved.clear()
    try:
        async with asyncio.timeout(None if math.isinf(seconds) else seconds):
            await moved.wait()
    except TimeoutError:
        return


def _now() -> float:
    return asyncio.get_running_loop().time()
