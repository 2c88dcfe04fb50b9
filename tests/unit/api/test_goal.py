"""What a search may be told to reach."""

from __future__ import annotations

import pytest
from tests.searches import a_search

from graphsearch.api import ManifestError, check_new
from graphtrial.contract import Metric

WRONG = [
    (Metric.ACCURACY, 78, "78 is no Accuracy to reach; give a number above 0 and up to 1"),
    (Metric.ACCURACY, 0, "0 is no Accuracy to reach; give a number above 0 and up to 1"),
    (Metric.NEGATIVE_LOG_LOSS, 1, "1 is no NegativeLogLoss to reach; give a number below 0"),
]


@pytest.mark.parametrize(("metric", "goal", "words"), WRONG)
def test_a_goal_that_is_none_is_refused_of_a_new_search(metric, goal, words):
    """A search that an earlier version has begun with it goes on."""
    manifest = a_search().scored_by("TargetNode", metric=metric, goal=goal).obj()
    with pytest.raises(ManifestError) as refused:
        check_new(manifest, "search.yaml")
    assert refused.value.problems == [f"spec.objective.goal: {words}"]


@pytest.mark.parametrize(
    ("metric", "goal"), [(Metric.ACCURACY, 0.5), (Metric.ACCURACY, 1), (Metric.NEGATIVE_LOG_LOSS, -0.1)]
)
def test_a_goal_that_a_score_may_reach_is_taken(metric, goal):
    """The best score of all is one."""
    check_new(a_search().scored_by("TargetNode", metric=metric, goal=goal).obj(), "search.yaml")
