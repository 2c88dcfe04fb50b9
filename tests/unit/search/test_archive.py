"""Facts packed for a process that may not ask the API server, and unpacked there."""

from __future__ import annotations

import gzip
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.searches import a_search

from graphsearch.api import GraphTrial, SearchFacts
from graphsearch.search.archive import ArchiveError, pack, part_name, unpack
from graphsearch.search.settled import settle
from graphsearch.search.simulator import Simulation

_MANIFEST = a_search().trials(6).parallel(2).evaluations(4).obj()


def _facts() -> tuple[SearchFacts, list[GraphTrial]]:
    ledger = Simulation(settle(_MANIFEST), lambda trial, _: math.nan if trial.index == 2 else trial.index / 7).run()
    return ledger.search, list(ledger.trials.values())


_FACTS, _TRIALS = _facts()


@settings(max_examples=30, deadline=None)
@given(limit=st.integers(1, 4096), count=st.integers(0, len(_TRIALS)))
def test_what_is_unpacked_is_what_was_packed(limit: int, count: int):
    """Whatever the size of a part, and also before the first trial; a score that is not finite stays what it was."""
    parts = pack(_MANIFEST, _FACTS, _TRIALS[:count], limit)
    assert max(map(len, parts)) <= limit
    manifest, facts, trials = unpack(parts)
    assert (manifest, facts) == (_MANIFEST, _FACTS)
    assert [trial.model_dump_json() for trial in trials] == [trial.model_dump_json() for trial in _TRIALS[:count]]


def test_packing_twice_gives_the_same_bytes():
    """Objects that are made twice are made once."""
    assert pack(_MANIFEST, _FACTS, _TRIALS, 1000) == pack(_MANIFEST, _FACTS, _TRIALS, 1000)


@pytest.mark.parametrize("lost", ["first", "middle", "last", "all"])
def test_a_missing_part_is_noticed(lost: str):
    """A report of half a search is worse than none."""
    parts = pack(_MANIFEST, _FACTS, _TRIALS, 256)
    kept = {"first": parts[1:], "middle": parts[:1] + parts[2:], "last": parts[:-1], "all": []}[lost]
    with pytest.raises(ArchiveError):
        unpack(kept)


def test_a_field_of_another_version_is_named():
    """Operator and trainer image are two images, and may be of two versions."""
    lines = gzip.decompress(b"".join(pack(_MANIFEST, _FACTS, _TRIALS, 10**6))).replace(b'"uid"', b'"uuid"', 1)
    with pytest.raises(ArchiveError, match=r"SearchFacts\.uuid: unknown field.*must be of one version"):
        unpack([gzip.compress(lines)])


def test_names_of_parts_sort_as_the_parts_follow():
    """Whoever reads a folder reads the parts in order."""
    names = [part_name(number) for number in range(120)]
    assert sorted(names) == names
