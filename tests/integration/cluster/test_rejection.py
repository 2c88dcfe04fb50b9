"""Manifests that only the operator can judge, and what is left of searches that have ended."""

from __future__ import annotations

import json
import time

import pytest
from e2e.cluster.simulated_node import Fault
from tests.integration.cluster.installation import Operator, Search, apply, assert_sound, wait_for
from tests.integration.cluster.stage import a_stage, events, quick, wait_until_running
from tests.invalid_manifests import INVALID

from graphsearch.api import Reason

GPU = {"nvidia.com/gpu": 1}
ON_THIS_INSTALLATION = {
    "spec.checkpoint.uri": {"checkpoint": {"every": {"epochs": 1}}},
    "spec.trainer.resources.limits.cpu": {"trainer": {"resources": {"limits": {"cpu": "2Gi"}}}},
    "spec.trainer.resources.requests.nvidia.com/gpu": {"trainer": {"resources": {"requests": GPU}}},
    "spec.trainer.env[0].name": {"trainer": {"env": [{"name": "POD_NAME", "value": "x"}]}},
    "spec.trainer.volumes[0].name": {"trainer": {"volumes": [{"name": "tmp", "emptyDir": {}}]}},
    "spec.trainer.volumeMounts[0].name": {"trainer": {"volumeMounts": [{"name": "none", "mountPath": "/none"}]}},
}
"""By the field that the message names: what an installation cannot run of a manifest that is valid as such."""


@pytest.fixture(scope="module")
def stage(kinds, tmp_path_factory):
    """A quick node."""
    with a_stage(kinds, tmp_path_factory.mktemp("rejection"), pace=0.2) as stage:
        yield stage


def accepted(search, kind="graphsearches"):
    """(status, reason, message) of its Accepted condition; empty before it is there."""
    for condition in search.get(kind, search.name).get("status", {}).get("conditions", ()):
        if condition["type"] == "Accepted":
            return condition["status"], condition["reason"], condition.get("message", "")
    return ()


def assert_refused(search, reason, field, kind="graphsearches"):
    """The condition and an Event name the field, and nothing was made."""
    wait_for(lambda: accepted(search, kind), lambda: search.kubectl("get", kind, search.name, "-o", "yaml"))
    status, why, message = accepted(search, kind)
    assert (status, why) == ("False", reason)
    assert field in [part.split(": ")[0] for part in message.split("; ")]
    wait_for(lambda: ("Warning", reason, message) in events(search), search.describe)
    jobs = search.get("jobs", "", "-l", f"graphsearch.io/search={search.name}")["items"]
    assert jobs == []


@pytest.mark.parametrize(
    ("number", "row"),
    [(number, row) for number, row in enumerate(INVALID) if not row.server],
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_the_api_server_cannot_judge_is_not_accepted(kinds, stage, number, row):
    """B17: Accepted=False with the field's path, for searches and for trials by hand."""
    name = f"row-{number}"
    manifest = row.manifest | {"metadata": {"name": name}}
    kinds.kubectl("-n", stage.namespace, "apply", "-f", "-", input=json.dumps(manifest))
    kind = "graphtrials" if manifest["kind"] == "GraphTrial" else "graphsearches"
    assert_refused(Search(kinds, stage.namespace, name), Reason.INVALID_SPEC, row.field, kind)


def test_a_search_that_has_begun_is_not_judged_as_a_new_one(kinds, stage):
    """A new one of trials with unequal epochs is not accepted; one that an earlier version has begun goes on."""
    rules = [
        {"kind": "Label", "gates": ["Through"]},
        {"kind": "Self", "losses": ["Consistency"], "gates": ["Through", "Cutoff"]},
    ]
    search = apply(kinds, stage.namespace, quick().with_edges(*rules), "unequal")
    assert_refused(search, Reason.INVALID_SPEC, "spec.training.length.epochs")
    begun = {"status": {"facts": {"uid": search.object["metadata"]["uid"], "startedAt": time.time()}}}
    stage.operator.kill()
    where = ("-n", stage.namespace, "graphsearches", search.name)
    kinds.kubectl("patch", *where, "--subresource=status", "--type=merge", "-p", json.dumps(begun))
    stage.operator.start()
    assert search.wait().state == "Completed"


@pytest.mark.parametrize("field", ON_THIS_INSTALLATION)
def test_what_this_installation_cannot_run_is_not_accepted(kinds, stage, field):
    """A valid manifest whose pods could not be made."""
    search = apply(kinds, stage.namespace, quick().having(**ON_THIS_INSTALLATION[field]), a_name("here", field))
    assert_refused(search, Reason.INVALID_SPEC, field)


def a_name(kind, field):
    """Of an object about a field."""
    letters = "".join(letter if letter.isalnum() else "-" for letter in field.lower())
    return f"{kind}-{letters.strip('-')}"[-40:].strip("-")


def test_a_search_of_the_name_of_a_refused_one_is_accepted(kinds, stage):
    """Deleted and applied anew without the fault, it runs."""
    field = "spec.trainer.env[0].name"
    search = apply(kinds, stage.namespace, quick().having(**ON_THIS_INSTALLATION[field]), "mended")
    assert_refused(search, Reason.INVALID_SPEC, field)
    search.kubectl("delete", "graphsearches", "mended")
    assert apply(kinds, stage.namespace, quick(), "mended").wait().state == "Completed"


def versions(search):
    """Resource versions of a search and its trials."""
    trials = search.get("graphtrials", "", "-l", f"graphsearch.io/search={search.name}")["items"]
    return [obj["metadata"]["resourceVersion"] for obj in (search.object, *trials)]


def test_what_has_ended_is_not_written_again(kinds, stage):
    """While another search runs its whole course, no object of the first one changes."""
    search = apply(kinds, stage.namespace, quick(), "idle").wait()
    wait_for(lambda: search.get("jobs", "", "-l", "graphsearch.io/search=idle")["items"] == [], search.describe)
    before = versions(search)
    apply(kinds, stage.namespace, quick(), "busy").wait()
    assert versions(search) == before


def test_the_status_says_of_which_generation_it_is(kinds, stage):
    """ObservedGeneration follows each change of the specification, in every condition."""
    search = apply(kinds, stage.namespace, quick(), "generations").wait()
    search.patch(ttlSecondsAfterFinished=3600)
    wait_for(lambda: search.object["status"]["observedGeneration"] == 2, search.describe)
    assert search.object["metadata"]["generation"] == 2
    assert {condition["observedGeneration"] for condition in search.object["status"]["conditions"]} == {2}


def test_a_search_goes_when_its_time_is_over(kinds, stage):
    """ttlSecondsAfterFinished: the search and its trials are gone, and another one stays."""
    stays = apply(kinds, stage.namespace, quick(), "stays").wait()
    search = apply(kinds, stage.namespace, quick().having(ttlSecondsAfterFinished=1), "goes")

    def left():
        names = ("graphsearches", "graphtrials", "jobs", "pods")
        found = [obj["metadata"]["name"] for name in names for obj in search.get(name)["items"]]
        return [name for name in found if name.startswith("goes")]

    wait_for(lambda: left() == [], lambda: search.kubectl("get", "graphsearches,graphtrials,jobs,pods"))
    assert stays.state == "Completed"


def test_another_installation_cannot_run_what_this_one_began(kinds, stage, tmp_path):
    """Without its image a running search is refused, and keeps what was observed; one that has ended goes in time."""
    ended = apply(kinds, stage.namespace, quick().having(ttlSecondsAfterFinished=3600), "ended").wait()
    stage.node.fail(Fault(pods="runs-t*", holds_at=1, times=None))
    search = apply(kinds, stage.namespace, quick(), "runs")
    wait_until_running(search, 2)
    # What it is written with may be held back for a second.
    wait_for(lambda: search.condition("MetricsAvailable") == ("True", "Direct"), search.describe)
    before = conditions(search)
    stage.operator.kill()
    scope = ("--namespaces", stage.namespace, "--lease-namespace", stage.namespace)
    with Operator(kinds, tmp_path, *scope, "--trainer-image", "", name="without").running():
        wait_for(lambda: accepted(search)[:2] == ("False", Reason.INVALID_SPEC), search.describe)
        assert conditions(search) | {"Accepted": before["Accepted"]} == before
        assert ended.state == "Completed"
        ended.patch(ttlSecondsAfterFinished=0)
        wait_for(lambda: search.kubectl("get", "graphsearches", "ended", "--ignore-not-found") == "")
    stage.operator.start()
    stage.node.heal()
    stage.node.let_go_on()
    assert search.wait().state == "Completed"
    assert accepted(search)[:2] == ("True", "Accepted")


def test_fields_that_only_newer_definitions_know_are_left_out_of_account(kinds, stage):
    """Definitions that were replaced first fill in a default: what runs goes on, and the condition names the field."""
    stage.node.fail(Fault(pods="older-t*", holds_at=1, times=None))
    search = apply(kinds, stage.namespace, quick(), "older")
    wait_until_running(search, 2)
    try:
        change_definition(kinds, "add", {"type": "string", "default": "None"})
        wait_for(lambda: "podLabelsMode" in search.object["spec"]["trainer"])
        search.patch(budget={"maxTrials": 3})
        wait_for(lambda: "spec.trainer.podLabelsMode" in accepted(search)[2], search.describe)
        assert accepted(search)[:2] == ("True", "Accepted")
        stage.node.heal()
        stage.node.let_go_on()
        search.wait()
    finally:
        change_definition(kinds, "remove")
    assert_sound(search)
    assert search.state == "Completed"


def change_definition(kinds, op, value=None):
    """Add a field to those of a trainer that the API server knows, or take it away again."""
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/trainer/properties/podLabelsMode"
    change = [{"op": op, "path": path} | ({"value": value} if value else {})]
    kinds.kubectl("patch", "crd", "graphsearches.graphsearch.io", "--type=json", "-p", json.dumps(change))


def conditions(search):
    """(status, time of the last transition) by type."""
    found = search.object["status"]["conditions"]
    return {condition["type"]: (condition["status"], condition["lastTransitionTime"]) for condition in found}
