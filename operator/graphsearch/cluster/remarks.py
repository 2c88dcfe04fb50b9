"""What is worth an Event of a search's trials, each thing once, until there is time to announce it.

Events are for transitions: what lasts, such as two scores that disagree at every look, is said when it begins. What
was said is forgotten with the process; Events of the same words are one object whose count rises. It must not know
how an Event is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from graphsearch.api import EventReason, MetricsReason, Outcome
from graphsearch.api.wire import Object
from graphsearch.cluster.reading import Conflict


class Remark(NamedTuple):
    """One Event to be."""

    owner: Object
    """What it happened to, with apiVersion, kind and metadata."""
    type: str
    """Normal or Warning."""
    reason: str
    message: str


class Remarks:
    """Those of one search that wait to be announced."""

    def __init__(self, owner_of: Callable[[int], Object]) -> None:
        """None yet.

        Args:
            owner_of: The object of the trial of an index.
        """
        self._owner_of = owner_of
        self._waiting: list[Remark] = []
        self._conflicting: frozenset[tuple[int, int]] = frozenset()
        self._images: dict[int, str] = {}
        """Which other image than its first one each trial was last said to run."""

    def take(self) -> list[Remark]:
        """What is to be announced now; it is not given again."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def ended(self, owner: Object, index: int, outcome: Outcome, message: str) -> None:
        """A trial has its outcome. ``owner`` is its object, which may be forgotten by now."""
        failed = outcome in (Outcome.FAILED, Outcome.DIVERGED)
        self._waiting.append(Remark(owner, "Warning" if failed else "Normal", outcome, message))
        self._images.pop(index, None)

    def conflicts(self, found: Sequence[Conflict]) -> None:
        """Which evaluations have several scores at this look; those that had at the last one are known."""
        for conflict in found:
            if (conflict.index, conflict.evaluation) not in self._conflicting:
                owner = self._owner_of(conflict.index)
                self._waiting.append(Remark(owner, "Warning", MetricsReason.CONFLICTING, conflict.message))
        self._conflicting = frozenset((conflict.index, conflict.evaluation) for conflict in found)

    def image(self, index: int, attempt: int, image_id: str, first: str) -> None:
        """Which image an attempt runs, and which one the trial's first pod ran; empty where that is not known."""
        if not first or image_id in ("", first, self._images.get(index)):
            return
        self._images[index] = image_id
        message = f"attempt {attempt} runs image {image_id}, the trial's first pod ran {first}; name images by digest"
        self._waiting.append(Remark(self._owner_of(index), "Warning", EventReason.IMAGE_CHANGED, message))
