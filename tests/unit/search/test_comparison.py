"""The comparison of the found graph with the known methods: pairs, intervals, verdicts, sentences."""

import math

import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from graphsearch.api import GraphTrial, GraphTrialSpec, GraphTrialStatus, Outcome
from graphsearch.search.comparison import (
    Row,
    Verdict,
    compare,
    sentences,
    t_interval,
    t_quantile,
)
from graphtrial.contract import Edge, Graph, Loss, LossType, Metric, Node, Purpose

GRAPH = Graph(
    nodes=(Node(name="1", model="resnet8"),),
    edges=(Edge(source="Label", destination="1", loss=Loss(type=LossType.CROSS_ENTROPY)),),
)


def table(**scores: list[float | None]) -> list[Row]:
    """Contenders (``Found__AllThrough`` has two names) with a score per repeat; None for a run that failed."""
    trials = []
    for contenders, of_one in scores.items():
        for repeat, score in enumerate(of_one):
            outcome = Outcome.FAILED if score is None else Outcome.SUCCEEDED
            spec = GraphTrialSpec(
                index=len(trials),
                purpose=Purpose.COMPARE,
                graph=GRAPH,
                contenders=tuple(contenders.split("__")),
                repeat=repeat,
            )
            status = GraphTrialStatus(outcome=outcome, score=score)
            trials.append(GraphTrial(name=f"s-t{len(trials)}", spec=spec, status=status))
    return compare(trials, "Found")


@pytest.mark.parametrize("freedom", [1, 2, 3, 10, 29, 30, 31, 32, 50, 99, 1000])
def test_quantiles_agree_with_scipy(freedom: int) -> None:
    """Table and expansion give Student's 97.5 % quantile to 1e-6."""
    assert t_quantile(freedom) == pytest.approx(scipy.stats.t.ppf(0.975, freedom), abs=1e-6)


def test_interval_agrees_with_scipy() -> None:
    """The interval is the textbook's."""
    values = [0.012, 0.003, 0.021, 0.008, -0.002]
    mean, error = sum(values) / 5, scipy.stats.sem(values)
    assert t_interval(values) == pytest.approx(scipy.stats.t.interval(0.95, 4, mean, error), abs=1e-8)


def test_an_interval_above_zero_says_better() -> None:
    """The sentence gives the difference in points, its interval and the pairs."""
    rows = table(Found=[0.75, 0.76, 0.77, 0.76, 0.75], MutualLearning=[0.74, 0.745, 0.75, 0.75, 0.742])
    assert rows[1].difference is not None
    assert rows[1].difference.verdict is Verdict.BETTER
    assert sentences(rows, Metric.ACCURACY) == [
        "The found graph is 1.3 points better than mutual learning (95 % interval 0.7 to 1.9, 5 pairs)."
    ]


def test_an_interval_below_zero_says_worse() -> None:
    """How much worse is told without a sign."""
    rows = table(Found=[0.70, 0.71, 0.72], Distillation=[0.75, 0.76, 0.78])
    assert sentences(rows, Metric.ACCURACY) == [
        "The found graph is 5.3 points worse than distillation (95 % interval 3.9 to 6.8, 3 pairs)."
    ]


def test_an_interval_around_zero_shows_no_difference() -> None:
    """A higher mean alone is no evidence."""
    rows = table(Found=[0.70, 0.75, 0.80], Independent=[0.71, 0.70, 0.75])
    assert sentences(rows, Metric.ACCURACY) == [
        "No difference between the found graph and independent training is shown: the mean difference is "
        "3.0 points, and its 95 % interval, −5.6 to 11.6, includes zero (3 pairs)."
    ]


def test_one_pair_gives_no_interval() -> None:
    """With a single pair nothing is claimed, whatever the difference."""
    rows = table(Found=[0.80], Independent=[0.60])
    assert rows[1].difference is not None
    assert (rows[1].difference.low, rows[1].difference.verdict) == (None, Verdict.NOT_SHOWN)
    assert sentences(rows, Metric.ACCURACY) == [
        "The found graph scored 20.0 points above independent training in the only pair of runs; "
        "one pair gives no interval, so no difference is shown."
    ]


def test_equal_differences_give_no_interval() -> None:
    """Scores are multiples of one image, so two pairs differ alike by chance, which is no certainty."""
    rows = table(Found=[0.81, 0.73], Independent=[0.80, 0.72])
    assert rows[1].difference is not None
    assert (rows[1].difference.low, rows[1].difference.verdict) == (None, Verdict.NOT_SHOWN)
    assert sentences(rows, Metric.ACCURACY) == [
        "The found graph scored 1.0 points above independent training in each of the 2 pairs of runs; "
        "equal differences give no interval, so no difference is shown."
    ]


def test_equal_scores_are_said_to_be_equal() -> None:
    """Also where the last digit of a float differs."""
    rows = table(Found=[1.0, 0.3], Independent=[1.0, 0.1 + 0.2])
    assert sentences(rows, Metric.ACCURACY) == [
        "The found graph and independent training scored the same in each of the 2 pairs of runs: "
        "no difference is shown."
    ]


def test_failed_runs_leave_their_pair_out() -> None:
    """Only repeats in which both ended well are paired; the others are counted."""
    rows = table(Found=[0.75, None, 0.76, 0.74], Independent=[0.70, 0.10, None, 0.70])
    difference = rows[1].difference
    assert difference is not None
    assert (difference.pairs, difference.left_out) == (2, 2)
    assert difference.mean == pytest.approx(0.045)
    assert (rows[1].repeats, sorted(rows[1].scores)) == (4, [0, 1, 3])
    assert sentences(rows, Metric.ACCURACY)[0].endswith("2 repeats are left out: one of the two runs did not end well.")


def test_without_any_pair_the_sentence_says_so() -> None:
    """A contender that always failed is neither better nor worse."""
    rows = table(Found=[0.75, 0.76], Independent=[None, None])
    assert (rows[1].mean, rows[1].std) == (None, None)
    assert sentences(rows, Metric.ACCURACY)[0].startswith(
        "The found graph could not be compared with independent training: no repeat ended well for both."
    )


def test_scores_that_are_not_finite_count_as_failed() -> None:
    """A NaN would poison the mean of every other run."""
    rows = table(Found=[0.75, math.nan, 0.76], Independent=[0.70, 0.70, 0.70])
    assert rows[0].mean == pytest.approx(0.755)
    assert rows[1].difference is not None
    assert rows[1].difference.left_out == 1


def test_equal_graphs_are_one_row_with_all_names() -> None:
    """A baseline that is the found graph is said to be; two equal baselines share a sentence."""
    rows = table(Found__AllThrough=[0.7, 0.71], Independent=[0.6, 0.62], MutualLearning__Distillation=[0.5, 0.52])
    assert [row.names for row in rows] == [
        ("Found", "AllThrough"),
        ("Independent",),
        ("MutualLearning", "Distillation"),
    ]
    told = sentences(rows, Metric.ACCURACY)
    assert told[0] == "The same graph with every gate open is the found graph itself: the graphs are equal."
    assert "mutual learning (equal to distillation)" in told[2]


def test_the_found_graph_comes_first_wherever_its_trials_stand() -> None:
    """The table's first row is the one that others are compared with."""
    assert table(Independent=[0.6, 0.6], Found=[0.7, 0.7])[0].names == ("Found",)


def test_small_differences_keep_enough_decimals() -> None:
    """An interval that excludes zero is never printed as reaching it."""
    rows = table(Found=[0.50030, 0.50031], Independent=[0.5, 0.5])
    assert sentences(rows, Metric.ACCURACY) == [
        "The found graph is 0.03 points better than independent training (95 % interval 0.02 to 0.04, 2 pairs)."
    ]


def test_log_loss_has_no_points() -> None:
    """What is no share is given as it is."""
    rows = table(Found=[-0.50, -0.51, -0.50], Independent=[-0.60, -0.61, -0.61])
    assert sentences(rows, Metric.NEGATIVE_LOG_LOSS) == [
        "The found graph is 0.103 better than independent training (95 % interval 0.089 to 0.118, 3 pairs)."
    ]


SCORES = st.lists(st.floats(0, 1), min_size=2, max_size=8)


@settings(max_examples=60, deadline=None)
@given(SCORES, st.data())
def test_swapping_two_contenders_turns_the_verdict_around(found: list[float], data: st.DataObject) -> None:
    """The comparison favours neither side."""
    other = data.draw(st.lists(st.floats(0, 1), min_size=len(found), max_size=len(found)))
    there = table(Found=[*found], Independent=[*other])[1].difference
    back = table(Found=[*other], Independent=[*found])[1].difference
    assert there is not None
    assert back is not None
    turned = {Verdict.BETTER: Verdict.WORSE, Verdict.WORSE: Verdict.BETTER, Verdict.NOT_SHOWN: Verdict.NOT_SHOWN}
    assert back.verdict is turned[there.verdict]
