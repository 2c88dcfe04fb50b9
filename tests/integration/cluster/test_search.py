"""Whole searches on a real control plane; pods are played by a simulated node, scores come from a real Prometheus."""

from __future__ import annotations

import json
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from e2e.cluster.simulated_node.faults import Fault, ForeignScore
from tests.integration.cluster.installation import (
    a_namespace,
    apply,
    assert_scores_are_true,
    assert_sound,
    ranking,
    scores,
    undisturbed,
    wait_for,
)
from tests.searches import a_search

from graphsearch.api import Outcome
from graphtrial.contract import Purpose

PROMETHEUS = ("--scrape-annotations", "--scrape-interval", "1", "--prometheus-url")


def small():
    """Nine graphs of two nodes, three at a time, stopped at 1, 2 and 4 of 8 evaluations."""
    return a_search().with_nodes(2, gates=("Through", "Linear", "Cutoff")).trials(9).parallel(3).halving()


def test_a_search_runs_to_its_report(kinds, namespace, operator, simulated_node, prometheus):
    """Trials, finalists, comparison and report; scores come from Prometheus, and nothing is left running."""
    operator(*PROMETHEUS, prometheus.url, "--fallback-after", "60")
    simulated_node(gpus=3, pace=0.7)
    search = apply(kinds, namespace, small().compared(finalists=2, repeats=2, baselines=["Independent"])).wait()
    assert (search.condition("Succeeded"), search.state) == (("True", "Completed"), "Completed")
    assert_sound(search)
    rungs = [rung for trial in search.trials for rung in trial.status.rungs if trial.status.outcome is Outcome.STOPPED]
    assert {rung.source for rung in rungs} <= {"Prometheus", "Termination"}
    assert "Prometheus" in {rung.source for rung in rungs}
    status = search.object["status"]
    assert status["report"].endswith("/report/index.html")
    assert status["comparison"][0]["names"] == ["Found"]
    assert search.get("jobs")["items"] == []


def test_with_one_trial_at_a_time_it_is_the_search_of_the_simulated_world(kinds, namespace, operator, simulated_node):
    """One planner: the same seed gives the same trials, scores, decisions and ranking."""
    operator()
    simulated_node(gpus=2, pace=0.2)
    search = apply(kinds, namespace, small().trials(6).parallel(1)).wait()
    expected = undisturbed(search)
    assert (scores(search), ranking(search)) == (scores(expected), ranking(expected))


def test_without_prometheus_from_first_to_last_weak_trials_are_still_stopped(
    kinds, namespace, operator, simulated_node
):
    """Nobody answers at the address of Prometheus: pods are read themselves, and the condition says so."""
    operator(*PROMETHEUS, "http://127.0.0.1:9")
    simulated_node(gpus=3, pace=1.5)
    search = apply(kinds, namespace, small())
    wait_for(lambda: search.condition("MetricsAvailable") == ("True", "Direct"), search.describe)
    search.wait()
    assert_sound(search)
    stopped = [trial for trial in search.trials if trial.status.outcome is Outcome.STOPPED]
    assert stopped
    assert {rung.source for trial in stopped for rung in trial.status.rungs} <= {"Direct", "Termination"}


@pytest.fixture
def elsewhere(kinds):
    """Another namespace."""
    with a_namespace(kinds, "elsewhere") as name:
        yield name


@pytest.mark.parametrize("name", ["other", "s"])
def test_scores_that_a_foreign_pod_exposes_change_nothing(
    kinds, namespace, elsewhere, operator, simulated_node, prometheus, name
):
    """A pod of another search, in this namespace or in another, that claims bad scores for a trial is not believed."""
    operator(*PROMETHEUS, prometheus.url, "--namespaces", f"{namespace},{elsewhere}")
    node = simulated_node(gpus=4, pace=0.7)
    node.fail(Fault(pods="s-t?-*", holds_at=2, times=3))
    search = apply(kinds, namespace, small().trials(3).never_stopping())
    wait_for(lambda: len(node.pods()) == 3, search.describe)
    uid = search.object["metadata"]["uid"]
    claims = tuple(
        ForeignScore(search_uid=uid, trial_uid=f"{uid}-t2", rung=rung, score=0.001 * rung) for rung in (1, 2, 4, 8)
    )
    # Prometheus may take nine seconds to find a pod, and has to scrape it then: all wait until it has.
    node.fail(Fault(pods=f"{name}-t0-*", exposes=claims, holds_at=2))
    apply(kinds, namespace if name == "other" else elsewhere, small().trials(1).never_stopping(), name)
    wait_for(lambda: exposed(prometheus, uid) >= {0.001, 0.002, 0.004, 0.008}, search.describe)
    node.let_go_on()
    search.wait()
    assert_sound(search)
    assert_scores_are_true(search)


def exposed(prometheus, search_uid):
    """Every score that Prometheus has seen for a search, whoever exposed it."""
    query = urlencode({"query": f'max_over_time(graphtrial_rung_score{{search_uid="{search_uid}"}}[10m])'})
    with urlopen(f"{prometheus.url}/api/v1/query?{query}", timeout=10) as answer:
        return {float(found["value"][1]) for found in json.load(answer)["data"]["result"]}


@pytest.mark.parametrize(("wanted", "ends"), [("Cancelled", "Cancelled"), ("Finishing", "Completed")])
def test_a_search_is_ended_by_its_user(kinds, namespace, operator, simulated_node, wanted, ends):
    """Cancelled: everything stops; Finishing: running trials stop, and what follows the search is done."""
    operator()
    simulated_node(gpus=3, pace=0.5).fail(Fault(pods="s-t?-*", holds_at=2, times=3))
    search = apply(kinds, namespace, small().never_stopping().compared(finalists=1, repeats=1))
    wait_for(lambda: len([t for t in search.trials if t.status.rungs or (t.attempt and t.attempt.started_at)]) >= 3)
    search.patch(desiredState=wanted)
    search.wait()
    assert search.object["status"]["facts"]["reason"] in (ends, "NoTrialCompleted")
    outcomes = {trial.status.outcome for trial in search.trials if trial.spec.purpose is Purpose.SEARCH}
    assert outcomes == {Outcome.CANCELLED}


def test_a_paused_search_resumes_where_it_was(kinds, namespace, operator, simulated_node):
    """B21: paused: no pod runs; resumed: the same trials go on from their checkpoints, and no score is another."""
    operator()
    simulated_node(gpus=3, pace=0.5)
    search = apply(kinds, namespace, small().never_stopping())
    wait_for(lambda: any(trial.status.outcome for trial in search.trials))
    search.patch(desiredState="Paused")
    wait_for(lambda: search.get("pods")["items"] == [] and search.state == "Paused", search.describe)
    search.patch(desiredState="Running")
    search.wait()
    assert_sound(search)
    assert_scores_are_true(search)
    assert any(len(trial.status.attempts) > 1 for trial in search.trials)
