"""Derived seeds are the same everywhere and for ever, and differ between streams."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphtrial.contract import derive

parts = st.one_of(st.integers(0, 2**53), st.text(st.characters(codec="utf-8", exclude_characters="/"), max_size=10))
streams = st.lists(parts, max_size=4).map(tuple)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ((0,), 3456079177858693020),
        ((0, "order", 1), 4489457307835839548),
        ((2**53 - 1, "graph", 1499, 0), 6527250319125336844),
    ],
)
def test_seeds_are_what_they_were(stream: tuple[int | str, ...], expected: int):
    """A run that resumes after an upgrade draws what it would have drawn."""
    seed, *names = stream
    assert derive(int(seed), *names) == expected


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**53), streams)
def test_seeds_fit_every_generator(seed: int, stream: tuple[int | str, ...]):
    """63 bits, never negative."""
    assert 0 <= derive(seed, *stream) < 2**63


@settings(max_examples=200, deadline=None)
@given(st.tuples(st.integers(0, 9), streams), st.tuples(st.integers(0, 9), streams))
def test_streams_with_different_names_differ(
    one: tuple[int, tuple[int | str, ...]], other: tuple[int, tuple[int | str, ...]]
):
    """In seed, in name, or in how the name is parted."""
    same = (one[0], *map(str, one[1])) == (other[0], *map(str, other[1]))
    assert (derive(one[0], *one[1]) == derive(other[0], *other[1])) == same
