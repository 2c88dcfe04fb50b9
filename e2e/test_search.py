"""A whole search on a real node with real trainers, from the chart to the report."""

from __future__ import annotations

import json

import safetensors.torch
from tests.integration.cluster.installation import assert_sound, ranking

from e2e.searches import digits, judged, objects, run_here, start
from graphsearch.api import Outcome, read_manifest
from graphtrial.contract import Purpose

_A_THIRD_OF_THE_TIME = {"training": {"length": {"epochs": 4}}, "scheduler": {"asha": {"firstRung": 1}}}


def test_the_example_runs_to_its_report(cluster, namespace, tmp_path):
    """Twelve graphs, two at a time: scores from Prometheus stop some, the best are compared, the report is fetched."""
    search = start(cluster, namespace, digits(cluster, "digits", _A_THIRD_OF_THE_TIME))
    search.wait(seconds=1800)
    assert (search.condition("Succeeded"), search.state) == (("True", "Completed"), "Completed"), search.describe()
    assert_sound(search)
    trials = search.trials
    assert len([trial for trial in trials if trial.spec.purpose is Purpose.SEARCH]) == 12
    stopped = [trial for trial in trials if trial.status.outcome is Outcome.STOPPED]
    assert stopped
    if cluster.prometheus_url:
        sources = {rung.source for trial in stopped for rung in trial.status.rungs}
        assert "Prometheus" in sources
        assert sources <= {"Prometheus", "Termination"}
    _assert_report(cluster, namespace, search, tmp_path)
    _assert_told(cluster, namespace, stopped[0])


def _assert_report(cluster, namespace, search, folder):
    """In the bucket, whole; and fetched by a user."""
    report = search.object["status"]["report"]
    found = objects(cluster, report.removesuffix("/index.html"))
    assert found["index.html"].startswith(b"<!doctype html>")
    (folder / "recipe.yaml").write_bytes(found["recipe.yaml"])
    assert [graph.name for graph in read_manifest(folder / "recipe.yaml").spec.graphs][-1] == "found"
    weights = [safetensors.torch.load(data) for key, data in found.items() if key.endswith(".safetensors")]
    assert len(weights) == 3
    assert all(tensors for tensors in weights)
    cluster.graphsearch("report", "digits", "-n", namespace, "--to", str(folder / "fetched"))
    assert (folder / "fetched/index.html").read_bytes() == found["index.html"]


def _assert_told(cluster, namespace, stopped):
    """By status and by explain, as JSON and as a table."""
    status = json.loads(cluster.graphsearch("status", "digits", "-n", namespace, "-o", "json"))
    assert "Completed" in json.dumps(status)
    assert "Completed" in cluster.graphsearch("status", "digits", "-n", namespace)
    name = f"digits-t{stopped.index}"
    explained = json.loads(cluster.graphsearch("explain", name, "-n", namespace, "-o", "json"))
    assert (explained["trial"], explained["outcome"]) == (name, "Stopped")
    assert explained["rungs"][-1]["rung"]["decision"] == "Stop"


def test_with_one_trial_at_a_time_it_is_the_search_of_one_machine(cluster, namespace, tmp_path):
    """The same seed: the same graphs, scores, decisions, ranking, finalists and comparison, to the last bit."""
    one_at_a_time = {"budget": {"parallelTrials": 1}}
    one_of_each = {"comparison": {"finalists": 1, "repeats": 1, "baselines": ["Independent"]}}
    manifest = digits(cluster, "same", _A_THIRD_OF_THE_TIME, one_at_a_time, one_of_each)
    search = start(cluster, namespace, manifest)
    here = run_here(manifest, tmp_path)
    search.wait(seconds=1800)
    assert_sound(search)
    assert len([trial for trial in search.trials if trial.spec.purpose is Purpose.SEARCH]) == 12
    assert judged(search) == judged(here)
    assert ranking(search) == ranking(here)
