"""Which scores count: those that the live pod of a trial shows, and nobody else's."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphsearch.cluster.direct import parse
from graphsearch.cluster.pods import LivePod
from graphsearch.cluster.prometheus import PrometheusReader, Series, question
from graphsearch.cluster.reading import Found, reports
from graphsearch.search.actions import Report

NAMESPACE = "team"
SEARCH = "search-uid"
LIVE = {
    (3, 1): LivePod("s-t3-a1-x", "uid-3", "10.0.0.3:8000", "node-1", "image", 0.0),
    (4, 2): LivePod("s-t4-a2-x", "uid-4", "10.0.0.4:8000", "node-1", "image", 0.0),
}


def score(*values, of=(3, 1), rung="1", **labels):
    """A series of rung scores, as Prometheus labels what the live pod of a trial shows."""
    pod, (index, attempt) = LIVE[of], of
    own = {
        "__name__": "graphtrial_rung_score",
        "search_uid": SEARCH,
        "trial_uid": f"{SEARCH}-t{index}",
        "attempt": str(attempt),
        "rung": rung,
        "namespace": NAMESPACE,
        "pod": pod.name,
        "instance": pod.address,
        "job": "pods",
    }
    return Series(own | labels, values)


def evaluations(*values, **labels):
    """The series of evaluations done."""
    found = score(*values, **labels)
    kept = {name: value for name, value in found.labels.items() if name != "rung"}
    return Series(kept | {"__name__": "graphtrial_evaluations_total"}, values)


def read(*series):
    """What they say of the trials that run."""
    return reports(series, LIVE, namespace=NAMESPACE, search_uid=SEARCH, source="Prometheus")


def test_scores_of_live_pods_become_reports():
    """With evaluation, attempt and source."""
    found = read(score(0.5, 0.5), score(0.25, of=(4, 2), rung="2"))
    assert found.reports == (
        Report(3, 1, 0.5, 1, "Prometheus"),
        Report(4, 2, 0.25, 2, "Prometheus"),
    )


def test_no_series_is_no_report():
    """And no conflict: unknown, never bad."""
    assert read() == Found()


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param({"namespace": "other"}, id="another namespace"),
        pytest.param({"pod": "s-t4-a2-x"}, id="another pod"),
        pytest.param({"instance": "10.0.0.9:8000"}, id="another address"),
        pytest.param({"trial_uid": "search-uid-t4"}, id="in the name of another trial"),
        pytest.param({"trial_uid": "search-uid-t9"}, id="a trial that does not run"),
        pytest.param({"trial_uid": "other-t3"}, id="another search"),
        pytest.param({"attempt": "2"}, id="another attempt"),
        pytest.param({"rung": "best"}, id="no evaluation"),
        pytest.param({"rung": ""}, id="without evaluation"),
        pytest.param({"__name__": "graphtrial_step_seconds"}, id="another metric"),
    ],
)
def test_what_anybody_else_exposes_changes_nothing(labels):
    """Neither a report nor a conflict, even beside the true score."""
    assert read(score(0.9, **labels)) == Found()
    assert read(score(0.5), score(0.9, **labels)) == read(score(0.5))


@pytest.mark.parametrize("missing", ["namespace", "pod", "instance", "trial_uid", "attempt", "rung"])
def test_a_sample_without_a_label_does_not_count(missing):
    """Nobody vouches for it."""
    found = score(0.5)
    assert read(Series({k: v for k, v in found.labels.items() if k != missing}, found.values)) == Found()


def test_two_configurations_that_scrape_one_pod_count_once():
    """Their series differ by job alone."""
    assert read(score(0.5), score(0.5, 0.5, job="annotations")) == read(score(0.5))


@pytest.mark.parametrize(
    "series",
    [
        pytest.param([score(0.5), score(0.6, job="annotations")], id="in two series"),
        pytest.param([score(0.5, 0.6)], id="within one series"),
        pytest.param([score(0.5, math.nan)], id="a number and none"),
    ],
)
def test_unequal_scores_of_one_evaluation_are_unknown(series):
    """B12: a rung's score never changes, so one of them is wrong; other evaluations count as before."""
    found = read(*series, score(0.7, rung="2"))
    assert found.reports == (Report(3, 2, 0.7, 1, "Prometheus"),)
    [conflict] = found.conflicts
    assert (conflict.index, conflict.evaluation) == (3, 1)
    assert conflict.message.startswith("t3, evaluation 1: seen with the scores 0.5, ")


def test_not_a_number_is_a_score_and_agrees_with_itself():
    """It stops its trial, so it has to arrive."""
    [report] = read(score(math.nan, math.nan), score(math.nan, job="annotations")).reports
    assert math.isnan(report.score)


def test_evaluations_done_tell_that_a_pod_is_heard():
    """From its first moment on, before it has any score."""
    found = read(evaluations(0.0), evaluations(6.0, 7.0, of=(4, 2)))
    assert (found.reports, found.evaluations) == ((), {3: 0, 4: 7})
    assert read(evaluations(math.nan)).evaluations == {3: 0}


@settings(max_examples=50, deadline=None)
@given(st.randoms(use_true_random=False), st.lists(st.sampled_from([0.25, 0.5, math.inf]), min_size=1, max_size=8))
def test_the_order_of_series_does_not_matter(order: random.Random, values):
    """B12: Prometheus promises none."""
    series = [score(value, rung=str(1 + number % 3), job=str(number)) for number, value in enumerate(values)]
    mixed = list(series)
    order.shuffle(mixed)
    first, second = read(*series), read(*mixed)
    assert set(first.reports) == set(second.reports)
    assert set(first.conflicts) == set(second.conflicts)


def test_an_exposition_is_labelled_by_who_was_asked():
    """A pod that names another one in its labels is not believed."""
    target = {"namespace": NAMESPACE, "pod": "s-t3-a1-x", "instance": "10.0.0.3:8000"}
    text = (
        "# TYPE graphtrial_rung_score gauge\n"
        'graphtrial_rung_score{search_uid="search-uid",trial_uid="search-uid-t3",attempt="1",rung="1",pod="z"} NaN\n'
        "# TYPE graphtrial_evaluations counter\n"
        'graphtrial_evaluations_total{search_uid="search-uid",trial_uid="search-uid-t3",attempt="1"} 1.0\n'
        "# TYPE graphtrial_step_seconds gauge\n"
        "graphtrial_step_seconds 0.1\n"
    )
    found = read(*parse(text, target))
    assert math.isnan(found.reports[0].score)
    assert found.evaluations == {3: 1}


def test_a_page_that_is_no_exposition_is_refused():
    """Somebody else answers at this address."""
    with pytest.raises(ValueError, match="html"):
        parse("<html>hello</html>", {})


def test_one_question_asks_for_all_trials_of_a_search():
    """Raw samples of the window, by metric, namespace and search; text that is no label ends nothing early."""
    assert question("team", 'a"b\\', 2.5) == (
        '{__name__=~"graphtrial_rung_score|graphtrial_evaluations_total",'
        'namespace="team",search_uid="a\\"b\\\\"}[2500ms]'
    )


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"token_file": "t", "username_file": "u", "password_file": "p"}, id="two kinds"),
        pytest.param({"username_file": "u"}, id="no password"),
        pytest.param({"password_file": "p"}, id="no user"),
    ],
)
def test_credentials_are_whole_and_of_one_kind(files):
    """What a chart's values may get wrong is told at the start."""
    with pytest.raises(ValueError, match="give a token file, or a user name and a password file"):
        PrometheusReader("http://prometheus:9090", **files)
