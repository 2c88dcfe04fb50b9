"""A GraphTrial that somebody applies without a search: what holds for a search's trial holds for it."""

from __future__ import annotations

import json

import pytest
from e2e.cluster.simulated_node.faults import Fault
from tests.integration.cluster.installation import Search, apply, wait_for
from tests.integration.cluster.stage import a_stage, quick

from graphsearch.api import API_VERSION


@pytest.fixture(scope="module")
def stage(kinds, tmp_path_factory):
    """A quick node."""
    with a_stage(kinds, tmp_path_factory.mktemp("by-hand"), pace=0.2) as stage:
        yield stage


def by_hand(kinds, stage, name, *owners, **trainer):
    """Apply a trial of three evaluations that asks for a GPU, with its owners and further fields of its trainer."""
    spec = {
        "index": 0,
        "purpose": "Search",
        "graph": {
            "nodes": [{"name": "1", "model": "resnet8"}],
            "edges": [{"source": "Label", "destination": "1", "loss": {"type": "CrossEntropy"}}],
            "target": "1",
        },
        "data": {"dataset": "digits"},
        "training": {"length": {"epochs": 3}},
        "trainer": {"resources": {"limits": {"nvidia.com/gpu": 1}}} | trainer,
        "checkpoint": {"uri": "s3://searches"},
    }
    metadata = {"name": name, "namespace": stage.namespace, "ownerReferences": list(owners)}
    manifest = {"apiVersion": API_VERSION, "kind": "GraphTrial", "metadata": metadata, "spec": spec}
    kinds.kubectl("apply", "-f", "-", input=json.dumps(manifest))
    return Search(kinds, stage.namespace, name)


def wait_until(trial, condition):
    """As a user does; it fails after two minutes."""
    trial.kubectl("wait", f"graphtrial/{trial.name}", f"--for={condition}", "--timeout=120s")


def jobs_of(trial):
    """Names of its Jobs that are there and not asked to go."""
    found = trial.get("jobs", "", "-l", f"graphsearch.io/trial={trial.name}")["items"]
    return {job["metadata"]["name"] for job in found if "deletionTimestamp" not in job["metadata"]}


def until_another_search_has_ended(kinds, stage, name):
    """The operator has had time to look at everything again."""
    apply(kinds, stage.namespace, quick().trials(1), name).wait()


def test_it_runs_to_its_end(kinds, stage):
    """It is trained, and kubectl wait sees it."""
    trial = by_hand(kinds, stage, "alone")
    wait_until(trial, "condition=Succeeded")
    status = trial.get("graphtrial", "alone")["status"]
    assert (status["outcome"], [rung["evaluation"] for rung in status["rungs"]]) == ("Succeeded", [3])


def test_whoever_applies_it_may_own_it(kinds, stage):
    """As the engine of a workflow does; it is no search's trial for that."""
    kinds.kubectl("create", "configmap", "-n", stage.namespace, "workflow")
    made = json.loads(kinds.kubectl("get", "configmap", "-n", stage.namespace, "workflow", "-o", "json"))
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "workflow", "uid": made["metadata"]["uid"]}
    wait_until(by_hand(kinds, stage, "owned", owner | {"controller": True}), "condition=Succeeded")


def test_what_is_left_of_a_search_keeps_what_it_says(kinds, stage):
    """Deleted with --cascade=orphan: trials that have ended show what they did, also to a new operator."""
    search = apply(kinds, stage.namespace, quick(), "orphaned").wait()

    def shown():
        found = search.get("graphtrials", "", "-l", "graphsearch.io/search=orphaned")["items"]
        return [obj["status"] for obj in found]

    before = shown()
    search.kubectl("delete", "graphsearches/orphaned", "--cascade=orphan")
    stage.operator.kill()
    stage.operator.start().wait_until_ready()
    until_another_search_has_ended(kinds, stage, "after-orphans")
    assert shown() == before
    assert {status["outcome"] for status in before} == {"Succeeded"}


def test_it_says_why_it_waits(kinds, stage):
    """In its state, as every trial does."""
    trial = by_hand(kinds, stage, "waits", nodeSelector={"disk": "golden"})
    wait_until(trial, "jsonpath={.status.state}=Unschedulable")
    trial.kubectl("delete", "graphtrial", "waits")


def test_its_failed_jobs_are_kept_for_a_look(kinds, stage):
    """The watch asks for unfinished trials: that this one leaves it does not mean that it was deleted."""
    stage.node.fail(Fault(pods="look-*", exit_code=1, times=None))
    trial = by_hand(kinds, stage, "look")
    wait_until(trial, "condition=Succeeded=False")
    until_another_search_has_ended(kinds, stage, "after-look")
    assert jobs_of(trial) == {f"look-a{number}" for number in (1, 2, 3)}


def test_deleted_while_it_runs_it_is_gone(kinds, stage):
    """It is not made again, unlike a search's trial, and its device is free."""
    stage.node.fail(Fault(pods="gone-*", holds_at=2, times=None))
    trial = by_hand(kinds, stage, "gone")
    wait_until(trial, "jsonpath={.status.state}=Running")
    trial.kubectl("delete", "graphtrial", "gone")
    pods = ("pods", "", "-l", "graphsearch.io/trial=gone")
    wait_for(lambda: not trial.get(*pods)["items"] and not jobs_of(trial), lambda: trial.kubectl("get", "jobs,pods"))
    until_another_search_has_ended(kinds, stage, "after-gone")
    assert trial.kubectl("get", "graphtrial", "gone", "--ignore-not-found") == ""
