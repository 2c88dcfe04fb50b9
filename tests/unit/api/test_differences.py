"""What may change while a search runs, and how a forbidden change is told."""

from __future__ import annotations

import pytest
from tests.searches import a_search

from graphsearch.api import differences

CHANGES = [
    (a_search().seeded(1), ["spec.seed: (default) -> 1"]),
    (a_search().evaluations(9), ["spec.training.length.epochs: 8 -> 9"]),
    (a_search().in_space(targetModels=["resnet14"]), ["spec.space.targetModels: [resnet8] -> [resnet14]"]),
    (a_search().compared(), ["spec.comparison: (default) -> {baselines: [], finalists: 1, repeats: 1}"]),
    (a_search().parallel(9).wanted("Paused").having(ttlSecondsAfterFinished=5), []),
    (a_search().halving(2, mode="Stopping"), []),
    (
        a_search().seeded(1).scored_by("Ensemble").parallel(3),
        ["spec.seed: (default) -> 1", "spec.objective: (default) -> {scoreOf: Ensemble}"],
    ),
]


@pytest.mark.parametrize(("new", "lines"), CHANGES)
def test_only_fixed_fields_are_told(new, lines):
    """By their path, with the old and the new value; budget, desired state and time to live may change."""
    assert sorted(differences(a_search().obj(), new.obj())) == sorted(lines)


def test_a_long_value_is_shortened():
    """A line stays a line."""
    (line,) = differences(a_search().obj(), a_search().in_space(targetModels=["resnet8"] * 16).obj())
    assert line.endswith("...")
    assert len(line) < 120
