"""Searches that must not meet: in other namespaces, of other installations, beside objects of somebody else."""

from __future__ import annotations

import json
import uuid

import pytest
from e2e.cluster.simulated_node.trainer import score
from tests.integration.cluster.installation import Search, apply, assert_sound, wait_for
from tests.integration.cluster.stage import a_stage, events, progressing, quick

from graphsearch.api import API_VERSION, Outcome
from graphsearch.api.wire import search_from_object, trial_from_object
from graphsearch.search.settled import settle
from graphsearch.search.stages import search_trial
from graphtrial.contract import Purpose, graph_digest

NAMESPACES = 50
FOREIGN = "app.example/owner"


@pytest.fixture(scope="module")
def stage(kinds, tmp_path_factory):
    """A quick node with room for all."""
    with a_stage(kinds, tmp_path_factory.mktemp("isolation"), gpus=64, pace=0.3) as stage:
        yield stage


@pytest.fixture
def fifty_namespaces(kinds):
    """Fresh ones, with their service accounts."""
    run = uuid.uuid4().hex[:6]
    names = [f"many-{run}-{number}" for number in range(NAMESPACES)]
    create_all(kinds, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names])
    wait_for(lambda: {obj["metadata"]["namespace"] for obj in everywhere(kinds, "serviceaccounts")} >= set(names))
    yield names
    kinds.kubectl("delete", "namespace", *names, "--wait=false")


def create_all(kinds, objects):
    """Create many objects at once."""
    kinds.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def everywhere(kinds, kind):
    """The objects of a kind in all namespaces."""
    return json.loads(kinds.kubectl("get", kind, "-A", "-o", "json"))["items"]


def has_succeeded(obj):
    """Whether the condition is true."""
    conditions = obj.get("status", {}).get("conditions", ())
    return any(each["type"] == "Succeeded" and each["status"] == "True" for each in conditions)


def test_fifty_searches_of_one_name_do_not_meet(kinds, stage, fifty_namespaces, operator):
    """Each has its own trials, owners and scores, though one operator runs them all."""
    # The last of two equal flags counts: this operator looks at all namespaces.
    operator("--namespaces", "", "--controller-name", "fifty", name="everywhere")
    trainer = {"trainer": {"resources": {"limits": {"nvidia.com/gpu": 1}}}, "checkpoint": {"uri": "s3://searches"}}
    manifest = quick().trials(1).having(controllerName="fifty", **trainer)
    head = {"apiVersion": API_VERSION, "kind": "GraphSearch"}
    searches = [
        head | {"metadata": {"name": "s", "namespace": name}, "spec": manifest.seeded(number).spec}
        for number, name in enumerate(fifty_namespaces)
    ]
    create_all(kinds, searches)

    def ended():
        return [obj for obj in everywhere(kinds, "graphsearches") if obj["metadata"]["namespace"] in fifty_namespaces]

    wait_for(lambda: all(map(has_succeeded, ended())), lambda: kinds.kubectl("get", "graphsearches,graphtrials", "-A"))
    trials = everywhere(kinds, "graphtrials")
    assert len(ended()) == NAMESPACES
    for search in ended():
        uid, facts = search["metadata"]["uid"], search["status"]["facts"]
        own = [obj for obj in trials if obj["metadata"]["namespace"] == search["metadata"]["namespace"]]
        assert {obj["metadata"]["ownerReferences"][0]["uid"] for obj in own} == {uid} == {facts["uid"]}
        assert sorted(obj["spec"]["purpose"] for obj in own) == ["Report", "Search"]
        [trial] = [trial for trial in map(trial_from_object, own) if trial.spec.purpose is Purpose.SEARCH]
        assert trial.spec == search_trial(settle(search_from_object(search)), 0).spec
        assert trial.status.score == score(trial.spec.seed, graph_digest(trial.spec.graph), 2)
        assert search["status"]["best"]["score"] == trial.status.score


def test_two_installations_run_their_own_searches_only(kinds, stage, operator, namespace):
    """By controllerName, each with its own Lease; a search of a third is nobody's."""
    operator("--trainer-image", "trainer:first", name="first")
    operator("--trainer-image", "trainer:second", "--controller-name", "second", name="second")
    first = apply(kinds, namespace, quick().evaluations(8), "first")
    second = apply(kinds, namespace, quick().evaluations(8).having(controllerName="second"), "second")
    nobody = apply(kinds, namespace, quick().having(controllerName="third"), "third")
    for search in (first, second):
        search.wait()
        assert_sound(search)
    for search, name in ((first, "first"), (second, "second")):
        own = search.get("graphtrials", "", "-l", f"graphsearch.io/search={name}")["items"]
        # A container that was seen only after its end has left no image.
        assert {obj["status"].get("imageId", "") for obj in own} - {""} == {f"simulated://trainer:{name}"}
    assert (nobody.object.get("status"), nobody.trials) == (None, [])


@pytest.fixture
def somebody(kinds, stage):
    """The ownerReference of an object that is not ours."""
    name = f"somebody-{uuid.uuid4().hex[:6]}"
    kinds.kubectl("create", "configmap", "-n", stage.namespace, name)
    made = json.loads(kinds.kubectl("get", "configmap", "-n", stage.namespace, name, "-o", "json"))
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": made["metadata"]["uid"], "controller": True}


def test_a_trial_of_somebody_else_is_never_adopted(kinds, stage, somebody):
    """What is there goes on, an Event says what is in the way, and the search goes on once it is gone."""
    search = Search(kinds, stage.namespace, "taken")
    theirs = search_trial(quick().settled(), 1)
    metadata = {"name": "taken-t1", "ownerReferences": [somebody], "annotations": {FOREIGN: "us"}}
    spec = {"index": 1, "purpose": "Search", "searchRef": "elsewhere", "graph": theirs.spec.graph.to_json()}
    manifest = {"apiVersion": API_VERSION, "kind": "GraphTrial", "metadata": metadata, "spec": spec}
    search.kubectl("create", "-f", "-", input=json.dumps(manifest))
    before = search.get("graphtrial", "taken-t1")
    apply(kinds, stage.namespace, quick(), "taken")
    wait_for(lambda: search.trials and search.trials[0].status.outcome is Outcome.SUCCEEDED, search.describe)
    message = "GraphTrial taken-t1 belongs to somebody else; delete it, and the search goes on"
    wait_for(lambda: ("Warning", "NameTaken", message) in events(search), search.describe)
    assert search.get("graphtrial", "taken-t1") == before
    search.kubectl("delete", "graphtrial", "taken-t1")
    search.wait()
    assert_sound(search)
    assert [trial.status.outcome for trial in search.trials] == [Outcome.SUCCEEDED] * 3


def test_a_job_of_somebody_else_is_never_adopted(kinds, stage, somebody):
    """The attempt waits and others run; the Job is left as it is, and the attempt starts once it is gone."""
    search = Search(kinds, stage.namespace, "job-taken")
    container = {"name": "theirs", "image": "theirs:1"}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "job-taken-t0-a1", "ownerReferences": [somebody]},
        "spec": {"suspend": True, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }
    search.kubectl("create", "-f", "-", input=json.dumps(job))
    uid = search.get("job", "job-taken-t0-a1")["metadata"]["uid"]
    apply(kinds, stage.namespace, quick().trials(3), "job-taken")
    wait_for(lambda: [t.index for t in search.trials if t.is_ended] == [1, 2], search.describe)
    message = "Job job-taken-t0-a1 belongs to somebody else; delete it, and the trial starts"
    wait_for(lambda: ("Warning", "NameTaken", message) in events(search), search.describe)
    there = search.get("job", "job-taken-t0-a1")
    assert (there["metadata"]["uid"], there["spec"]["template"]["spec"]["containers"][0]["image"]) == (uid, "theirs:1")
    assert progressing(search, 0)[0] == "Starting"
    search.kubectl("delete", "job", "job-taken-t0-a1")
    search.wait()
    assert_sound(search)
    assert [trial.status.outcome for trial in search.trials] == [Outcome.SUCCEEDED] * 4


def test_a_search_of_an_old_name_begins_anew(kinds, stage):
    """Deleted and applied again at once, it waits for what the old one leaves and takes nothing of it."""
    old = apply(kinds, stage.namespace, quick().seeded(1), "reborn").wait()
    before, scores = old.object["metadata"]["uid"], {trial.status.score for trial in old.trials}
    old.kubectl("delete", "graphsearches", "reborn", "--wait=false")
    new = apply(kinds, stage.namespace, quick().seeded(2), "reborn").wait()
    assert new.object["metadata"]["uid"] != before
    assert_sound(new)
    assert scores.isdisjoint({trial.status.score for trial in new.trials if trial.status.score is not None})
