"""When a running trial's status is worth a write: what is to be said of its attempt has changed, or it got further.

It remembers what was said; it reads nothing and writes nothing. Decided against: a write for each evaluation, which a
search of many short trials would pay for with its decisions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from graphsearch.api import TrialReason
from graphsearch.cluster.pods import Seen
from graphsearch.cluster.showing import said_of

_STARTING_SECONDS = 2.0
"""For which an attempt may be on its way to run before that is worth a write."""
_MOVED_SECONDS = 60.0
"""Between two writes that say no more than how far a trial is."""


class Telling:
    """What the trials of one search show of their open attempts; an attempt is (index, number)."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Nothing was said yet; ``clock`` tells seconds."""
        self._clock = clock
        self._told: dict[tuple[int, int], object] = {}
        self._starting_at: dict[tuple[int, int], float] = {}
        """When an attempt was first seen on its way to run."""
        self._reached: dict[int, int] = {}
        self._moved_at: dict[int, float] = {}
        """When a write last said no more than how far a trial is."""

    def reached(self, index: int) -> int:
        """The last evaluation that a trial is known to have reached; 0: none."""
        return self._reached.get(index, 0)

    def heard(self, evaluations: Mapping[int, int]) -> None:
        """Trials, by index, have done so many evaluations; an attempt that resumes further back takes nothing away."""
        for index, done in evaluations.items():
            self._reached[index] = max(done, self.reached(index))

    def told(self, key: tuple[int, int], seen: Seen | None) -> None:
        """A write said this of an attempt, whatever else it was for."""
        self._told[key] = said_of(seen)

    def has_news(self, key: tuple[int, int], seen: Seen | None) -> bool:
        """Whether something else than before is to be said of an attempt; from now on that is told."""
        if seen is None or self._told.get(key) == said_of(seen):
            return False
        now = self._clock()
        is_starting = seen.waiting is not None and seen.waiting[0] is TrialReason.STARTING
        if is_starting and now - self._starting_at.setdefault(key, now) < _STARTING_SECONDS:
            return False
        self.told(key, seen)
        return True

    def has_moved(self, index: int, shown: int) -> bool:
        """Whether a trial is further than the evaluation it shows, and a write for that is due; it counts as made."""
        now = self._clock()
        if self.reached(index) <= shown or now - self._moved_at.get(index, -math.inf) < _MOVED_SECONDS:
            return False
        self._moved_at[index] = now
        return True

    def close(self, key: tuple[int, int]) -> None:
        """Forget an attempt that has ended."""
        self._told.pop(key, None)
        self._starting_at.pop(key, None)

    def end(self, index: int) -> None:
        """Forget a trial that has ended."""
        self._reached.pop(index, None)
        self._moved_at.pop(index, None)
