"""Rungs: who goes on, against the decisions that other libraries were seen to take on the same reports."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.searches import HandPlayed, a_search

from graphsearch.api import Decision
from graphsearch.search.rungs import RungTable, rung_numbers
from graphsearch.search.simulator import Simulation

NAN, INF = math.nan, math.inf


def firsts(*scores):
    """One new trial each, all at evaluation 1."""
    return [(index, 1, score) for index, score in enumerate(scores)]


A, B, C = 0, 1, 2
VECTORS = [
    ("V01", 2, firsts(50), "C"),
    ("V02", 2, firsts(50, 60), "CC"),
    ("V03", 2, firsts(50, 40), "CS"),
    ("V04", 2, firsts(50, 60, 55), "CCS"),
    ("V05", 2, firsts(50, 60, 40), "CCS"),
    ("V06", 2, firsts(50, 60, 40, 55), "CCSC"),
    ("V07", 2, firsts(50, 60, 40, 45), "CCSS"),
    ("V08", 2, firsts(10, 20, 40, 50, 30), "CCCCS"),
    ("V09", 2, firsts(10, 20, 30, 50, 60, 40), "CCCCCC"),
    ("V10", 2, firsts(10, 20, 40, 50, 60, 30), "CCCCCS"),
    ("V11", 2, firsts(50, 50, 50, 50), "CCCC"),
    ("V12", 2, firsts(60, 50, 40, 50), "CSSC"),
    ("V13", 2, firsts(10, 20, 30, 40, 50, 60), "CCCCCC"),
    ("V14", 2, firsts(80, 70, 60, 50, 40, 30), "CSSSSS"),
    ("V15", 2, [(A, 1, 10), (A, 2, 20), (A, 4, 30), (A, 8, 40), (A, 16, 50)], "CCCCC"),
    ("V16", 2, [(A, 1, 50), (A, 5, 60), (B, 1, 60), (B, 2, 65), (B, 4, 70), (A, 6, 61)], "CCCCC."),
    ("V17", 2, [(A, 3, 50), (A, 4, 60), (B, 1, 40)], "CCS"),
    ("V18", 2, [(A, 1, 50), (B, 1, 60), (B, 1, 10), (C, 1, 55)], "CC.S"),
    ("V19", 2, firsts(NAN, 10, 20, 5), "SCCS"),
    ("V20", 2, firsts(50, NAN, 40, 60), "CSSC"),
    ("V21", 2, firsts(50, -INF, 40, 60), "CSSC"),
    ("V22", 2, [(A, 16, 50), (B, 16, 90)], "CC"),
    ("V23", 2, [(A, 17, 50)], "C"),
    ("V24", 2, [(A, 1, 50), (B, 1, 60), (B, 2, 60), (B, 3, 10), (B, 4, 70)], "CCC.C"),
    ("V25", 3, firsts(80, 70, 60, 50, 40, 30), "CSSSSS"),
    ("V26", 3, firsts(10, 20, 30, 40, 50, 60), "CCCCCC"),
    ("V27", 3, firsts(50, 30, 40), "CSS"),
    ("V28", 4, firsts(50, 10, 20, 30, 40), "CSSSS"),
    ("V29", 4, firsts(90, 10, 20, 30, 40, 50, 60, 70), "CSSSSSSC"),
    ("V30", 2, [(A, 1, 50), (B, 1, 60), (A, 2, 55), (B, 2, 50), (C, 1, 90), (C, 2, 52)], "CCCSCS"),
    ("V31", 2, [(A, 1, 40), (B, 1, 35), (C, 1, 10), (A, 2, 45), (C, 2, 50)], "CSSC."),
]
"""Name, eta, reports, and the decisions of Optuna 2.10 and 5.0; a dot where we record nothing: a report between rungs,
a repeated one, and V31's last, which comes from a trial that was stopped before."""


@pytest.mark.parametrize(("eta", "reports", "expected"), [v[1:] for v in VECTORS], ids=[v[0] for v in VECTORS])
def test_decides_like_optuna(eta, reports, expected):
    """B15: each report, planned on its own, gives the decision of Optuna's pruner."""
    trials = 1 + max(index for index, _, _ in reports)
    world = HandPlayed(a_search().trials(trials).parallel(trials).evaluations(eta**6).halving(eta).settled()).look()
    shown = ""
    for index, evaluation, score in reports:
        known = len(world.ledger.trials[index].status.rungs)
        new = world.look((index, evaluation, score)).ledger.trials[index].status.rungs[known:]
        shown += "." if not new else "S" if new[-1].decision is Decision.STOP else "C"
    assert shown == expected


def test_nothing_is_decided_on_the_last_evaluation():
    """Where Optuna still compares, the last evaluation is recorded without rank or decision (V15 with R = 16)."""
    world = HandPlayed(a_search().trials(2).parallel(2).evaluations(16).settled()).look()
    world.look(*((A, evaluation, 50.0) for evaluation in (1, 2, 4, 8))).look((A, 16, 50.0))
    world.look(*((B, evaluation, 90.0) for evaluation in (1, 2, 4, 8))).look((B, 16, 10.0))
    last = [world.ledger.trials[index].status.rungs[-1] for index in (A, B)]
    assert [(rung.evaluation, rung.decision, rung.rank) for rung in last] == [(16, Decision.NONE, None)] * 2


def test_a_late_first_report_is_judged_at_every_rung_that_it_crosses():
    """One report passes the rungs in order with one score, until the first that stops the trial."""
    world = HandPlayed(a_search().trials(2).parallel(2).evaluations(16).settled()).look()
    world.look((A, 1, 10.0), (A, 2, 90.0)).look((B, 8, 50.0))
    assert [(rung.evaluation, rung.rank, rung.of) for rung in world.ledger.trials[B].status.rungs] == [
        (1, 1, 2),
        (2, 2, 2),
    ]
    assert world.ledger.trials[B].status.rungs[-1].decision is Decision.STOP


def test_the_earliest_of_several_new_reports_decides_a_rung():
    """Two reports that come together decide each rung by the first at or beyond it."""
    world = HandPlayed(a_search().trials(1).evaluations(16).settled()).look((A, 5, 60.0), (A, 2, 50.0))
    world.look((A, 5, 60.0), (A, 2, 50.0))
    assert [(rung.evaluation, rung.score) for rung in world.ledger.trials[A].status.rungs] == [
        (1, 50.0),
        (2, 50.0),
        (4, 60.0),
    ]


SCORES = (50, 60, 70, 40, 80, 30, 90, 20, 10, 65, 55, 75)
TRACES = [
    ("P1", 2, 8, 1, SCORES, "0@1 1@1 1@2 2@1 2@2 2@4 3@1 4@1 4@2 4@4 4@8 5@1", "6>1"),
    ("P2", 2, 8, 2, SCORES, "0@1 1@1 2@1 1@2 2@2 3@1 2@4 4@1 5@1 4@2 6@1 4@4", "6>2 4>8"),
    ("P3", 3, 9, 1, SCORES, "0@1 1@1 2@1 2@3 3@1 4@1 4@3 5@1 6@1 6@3 6@9 7@1", "8>1"),
    ("P4", 4, 16, 1, SCORES, "0@1 1@1 2@1 3@1 2@4", "4>1"),
    ("P5", 2, 8, 1, [50] * 12, "0@1 1@1 0@2 2@1 3@1 1@2 0@4 4@1", "5>1"),
    ("P6", 2, 8, 1, [90 - i for i in range(12)], "0@1 1@1 0@2 2@1 3@1 1@2 0@4 4@1 5@1 2@2", "6>1"),
]


@pytest.mark.parametrize(
    ("eta", "last", "workers", "scores", "jobs", "next_jobs"), [t[1:] for t in TRACES], ids=[t[0] for t in TRACES]
)
def test_promotes_like_the_paper(eta, last, workers, scores, jobs, next_jobs):
    """The order of jobs (trial@evaluation) is the paper's; all jobs last equally long, the first begun ends first."""
    search = a_search().trials(12).parallel(workers).evaluations(last).halving(eta, mode="Promotion")

    def until(trial):
        return trial.attempt.until or last

    def duration(trial):
        passed = trial.status.rungs[-1].evaluation if trial.status.rungs else 0
        return 1 / (until(trial) - passed)

    ledger = Simulation(search.settled(), lambda trial, _: scores[trial.index], duration=duration).run()
    attempts = [
        (attempt.ended_at, attempt.started_at, trial.index, attempt.until or last)
        for trial in ledger.trials.values()
        for attempt in trial.status.attempts
    ]
    expected = jobs.split()
    done = [f"{index}@{level}" for _, _, index, level in sorted(attempts)]
    assert done[: len(expected)] == expected
    moment = sorted(attempts)[len(expected) - 1][0] + 1e-3
    running = sorted(
        (started, f"{index}>{level}") for ended, started, index, level in attempts if started < moment < ended
    )
    assert [job for _, job in running] == next_jobs.split()


def test_rungs_stand_below_the_last_evaluation():
    """Powers of eta from the first rung; the last evaluation is never one."""
    assert rung_numbers(1, 2, 200) == (1, 2, 4, 8, 16, 32, 64, 128)
    assert rung_numbers(1, 3, 243) == (1, 3, 9, 27, 81)
    assert rung_numbers(4, 2, 9) == (4, 8)
    assert rung_numbers(5, 2, 5) == ()


finite = st.floats(-100, 100).map(lambda score: round(score, 1))


@settings(deadline=None, max_examples=100)
@given(st.lists(finite | st.sampled_from([NAN, INF, -INF]), max_size=60), st.integers(2, 5))
def test_ranks_are_those_of_a_sorted_list(scores, eta):
    """Rank, population and decision agree with counting over all scores; what is not finite stops and never counts."""
    table = RungTable()
    population: list[float] = []
    for index, score in enumerate(scores):
        verdict = table.judge(score, eta)
        table.add(score, index)
        if not math.isfinite(score):
            assert verdict == (False, None, len(population))
            continue
        population.append(score)
        better = sum(other > score for other in population)
        assert verdict == (better < max(1, len(population) // eta), better + 1, len(population))
    assert len(table) == len(population)


@settings(deadline=None, max_examples=50)
@given(st.lists(finite, min_size=1, max_size=40), st.integers(2, 5))
def test_the_cut_is_the_lowest_score_that_would_go_on(scores, eta):
    """B15: at least max(1, n // eta) recorded scores reach the cut, and fewer lie above it."""
    table = RungTable()
    for index, score in enumerate(scores):
        table.add(score, index)
    kept, cut = max(1, len(scores) // eta), table.cut(eta)
    assert sum(score > cut for score in scores) < kept <= sum(score >= cut for score in scores)


def test_a_removed_score_leaves_no_trace():
    """A trial that failed later is taken out; one that never counted is passed over."""
    table = RungTable()
    table.add(90.0, 0)
    table.remove(90.0, 0)
    table.remove(70.0, 3)
    assert table.judge(50.0, 2) == (True, 1, 1)
    assert table.cut(2) is None
