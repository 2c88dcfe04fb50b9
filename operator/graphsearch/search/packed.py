"""Trials in memory, those that are over as compressed JSON.

A trial with its graph and rungs takes about 30 KiB as objects and 0.7 KiB packed. Where searches have tens of
thousands of trials (a cluster), only those that still matter are worth the objects; the others are unpacked when a
stage of the search looks at them, which it does a handful of times. Decided against: forgetting them, since finalists
and the comparison are read off them, and asking the API server again, which would make a decision wait.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, MutableMapping

from graphsearch.api import GraphTrial


class PackedTrials(MutableMapping[int, GraphTrial]):
    """Trials by index; one with an outcome is kept packed."""

    def __init__(self) -> None:
        self._open: dict[int, GraphTrial] = {}
        self._over: dict[int, bytes] = {}

    def __getitem__(self, index: int) -> GraphTrial:
        if index in self._open:
            return self._open[index]
        return GraphTrial.model_validate_json(zlib.decompress(self._over[index]))

    def __setitem__(self, index: int, trial: GraphTrial) -> None:
        if trial.is_ended:
            self._open.pop(index, None)
            text = trial.model_dump_json(by_alias=True, exclude_defaults=True)
            self._over[index] = zlib.compress(text.encode())
        else:
            self._open[index] = trial

    def __delitem__(self, index: int) -> None:
        if self._open.pop(index, None) is None:
            del self._over[index]

    def __contains__(self, index: object) -> bool:
        return index in self._open or index in self._over

    def __iter__(self) -> Iterator[int]:
        yield from sorted([*self._open, *self._over])

    def __len__(self) -> int:
        return len(self._open) + len(self._over)
