"""Rungs of asynchronous successive halving: who goes on, decided by integer ranks (design 5).

Stopping is the rule of Optuna's SuccessiveHalvingPruner (2.10 to 5.0): with n finite scores at a rung, its own
included, a trial goes on iff fewer than max(1, n // eta) of them are strictly better. Promotion is the paper's
(Li et al., arXiv:1810.05934): the best n // eta of a rung, the older first among equals; a trial that waits costs
nothing, so the first of a rung waits for company.

Decided against: interpolated quantiles and logarithms, which floating point makes wrong at some sizes (Syne Tune
0.13 keeps one trial too few at 59 of 198 sizes with eta = 3).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from typing import NamedTuple

_LAST = math.inf


def rung_numbers(first: int, eta: int, evaluations: int) -> tuple[int, ...]:
    """Evaluations at which a decision is made: first, first * eta, ... below the last one."""
    numbers: list[int] = []
    rung = first
    while rung < evaluations:
        numbers.append(rung)
        rung *= eta
    return tuple(numbers)


class Verdict(NamedTuple):
    """What a rung says of a score."""

    goes_on: bool
    rank: int | None
    """One more than the scores strictly better; None for a score that is not finite."""
    of: int
    """Finite scores, its own included."""


class RungTable:
    """The finite scores recorded at one rung, sorted; ties keep the order of trial indexes."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, float]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, score: float, index: int) -> None:
        """Record a score; one that is not finite is left out."""
        if math.isfinite(score):
            insort(self._entries, (score, -index))

    def remove(self, score: float, index: int) -> None:
        """Take back the score of a trial that failed later; nothing if it is not there."""
        position = bisect_left(self._entries, (score, -index))
        if position < len(self._entries) and self._entries[position] == (score, -index):
            del self._entries[position]

    def judge(self, score: float, eta: int, beside: Sequence[float] = ()) -> Verdict:
        """The Stopping rule for a new score; ``beside`` are finite scores decided before but not yet recorded."""
        of = len(self._entries) + len(beside)
        if not math.isfinite(score):
            return Verdict(False, None, of)
        better = len(self._entries) - bisect_right(self._entries, (score, _LAST)) + sum(s > score for s in beside)
        return Verdict(better < max(1, (of + 1) // eta), better + 1, of + 1)

    def is_promotable(self, score: float, index: int, eta: int) -> bool:
        """Whether a recorded score is among the best n // eta, the lower index first among equals."""
        ahead = len(self._entries) - bisect_right(self._entries, (score, -index))
        return ahead < len(self._entries) // eta

    def cut(self, eta: int, *, newcomers: int = 0) -> float | None:
        """The lowest score that would go on now, or with so many scores more; None where any would."""
        kept = max(1, (len(self._entries) + newcomers) // eta)
        return self._entries[-kept][0] if kept <= len(self._entries) else None
