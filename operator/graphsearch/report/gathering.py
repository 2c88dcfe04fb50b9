"""From recorded facts and a search's objects to what a report draws from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from pydantic import ValidationError

from graphsearch.api import GraphSearch, GraphTrial, SearchFacts
from graphsearch.report.record import SearchRecord
from graphtrial.contract import TrialResult
from graphtrial.storage import Corrupt, Missing, Store

_READERS = 16
"""Reads at a time: each waits for a bucket, which may be far away."""


def gather(manifest: GraphSearch, facts: SearchFacts, trials: Iterable[GraphTrial], store: Store) -> SearchRecord:
    """The record of a search: facts as they are given, what its trials have left from the store.

    Results that cannot be read are left out; their trials are shown by their recorded rungs.

    Args:
        manifest: Of the search.
        facts: Of the search itself.
        trials: With their facts.
        store: Of the search's folder, with ``trials/<index>/reports/<attempt>-<id>.json``.

    Raises:
        StorageError: If the store cannot be listed or does not answer.
    """
    keys = [key for key in store.list("trials/") if _is_result(key)]
    with ThreadPoolExecutor(_READERS) as readers:
        read = list(readers.map(lambda key: _read(store, key), keys))
    results: defaultdict[int, list[TrialResult]] = defaultdict(list)
    for key, result in zip(keys, read, strict=True):
        if result is not None:
            results[int(key.split("/")[1])].append(result)
    by_index = {
        index: tuple(sorted(found, key=lambda result: result.attempt)) for index, found in sorted(results.items())
    }
    return SearchRecord(manifest=manifest, facts=facts, trials=tuple(trials), results=by_index)


def _is_result(key: str) -> bool:
    match key.split("/"):
        case ["trials", index, "reports", name]:
            return index.isdecimal() and name.endswith(".json")
    return False


def _read(store: Store, key: str) -> TrialResult | None:
    try:
        return TrialResult.model_validate_json(store.read(key))
    except (Missing, Corrupt, ValidationError):
        return None
