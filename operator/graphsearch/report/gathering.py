"""From recorded facts and a search's objects to what a report draws from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from pydantic import ValidationError

from graphsearch.api import GraphSearch, GraphTrial, SearchFacts
from graphsearch.report.record import SearchRecord
from graphtrial.contract import ANALYSIS, Analysis, Model, Purpose, TrialResult
from graphtrial.storage import Corrupt, Missing, Store

_Read = TypeVar("_Read", bound=Model)
_READERS = 16
"""Reads at a time: each waits for a bucket, which may be far away."""


def gather(manifest: GraphSearch, facts: SearchFacts, trials: Iterable[GraphTrial], store: Store) -> SearchRecord:
    """The record of a search: facts as they are given, what its trials have left from the store.

    Results that cannot be read are left out; their trials are shown by their recorded rungs. So are analyses.

    Args:
        manifest: Of the search.
        facts: Of the search itself.
        trials: With their facts.
        store: Of the search's folder, with ``trials/<index>/reports/<attempt>-<id>.json`` and
            ``trials/<index>/analysis.json``.

    Raises:
        StorageError: If the store cannot be listed or does not answer.
    """
    everything = store.list("trials/")
    keys = [key for key in everything if _is_result(key)]
    with ThreadPoolExecutor(_READERS) as readers:
        read = list(readers.map(lambda key: _read(store, key, TrialResult), keys))
    results: defaultdict[int, list[TrialResult]] = defaultdict(list)
    for key, result in zip(keys, read, strict=True):
        if result is not None:
            results[int(key.split("/")[1])].append(result)
    by_index = {
        index: tuple(sorted(found, key=lambda result: result.attempt)) for index, found in sorted(results.items())
    }
    record = SearchRecord(manifest=manifest, facts=facts, trials=tuple(trials), results=by_index)
    return replace(record, analyses=_analyses(record, store, set(everything)))


def _analyses(record: SearchRecord, store: Store, keys: set[str]) -> dict[int, Analysis]:
    """Of the trials that a report shows the networks of: there may be thousands, and one takes 50 KiB."""
    shown = {trial.index for trial in record.of(Purpose.COMPARE)}
    shown |= {record.found.trial.index} if record.found else set()
    there = [index for index in sorted(shown) if f"trials/{index}/{ANALYSIS}" in keys]
    with ThreadPoolExecutor(_READERS) as readers:
        read = list(readers.map(lambda index: _read(store, f"trials/{index}/{ANALYSIS}", Analysis), there))
    return {index: analysis for index, analysis in zip(there, read, strict=True) if analysis is not None}


def _is_result(key: str) -> bool:
    match key.split("/"):
        case ["trials", index, "reports", name]:
            return index.isdecimal() and name.endswith(".json")
    return False


def _read(store: Store, key: str, kind: type[_Read]) -> _Read | None:
    try:
        return kind.model_validate_json(store.read(key))
    except (Missing, Corrupt, ValidationError):
        return None
