"""The definitions on a real API server: what it takes, what it refuses at which field, what it shows."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from tests.integration.cluster.recorded_trials import FACTS, a_trial, as_object
from tests.invalid_manifests import INVALID
from tests.searches import a_search
from tests.whole_manifests import DRAWN, FIXED, REMOVED, TRIAL, changed

from graphsearch.api import ManifestError, Preset, TrainingChoice, read_manifest, resolve
from graphsearch.api.search_status import GraphSearchStatus
from graphsearch.api.wire import (
    search_from_object,
    search_status_to_wire,
    trial_from_object,
    trial_status_to_wire,
)
from graphsearch.cluster.alone import search_of
from graphsearch.search.stages import search_trial

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").rglob("*.yaml"))


def judged_by_the_operator(manifest):
    """What the operator finds wrong with a manifest."""
    try:
        if manifest["kind"] == "GraphTrial":
            search_of(trial_from_object(manifest), manifest)
        else:
            search_from_object(manifest)
    except ManifestError as error:
        return error.problems
    return []


@pytest.fixture(scope="module")
def shop_window(kinds):
    """A namespace for all refused manifests together: nothing is stored there but what the operator must judge."""
    kinds.kubectl("create", "namespace", "invalid-manifests")
    yield "invalid-manifests"
    kinds.kubectl("delete", "namespace", "invalid-manifests", "--wait=false")


@pytest.mark.parametrize("row", INVALID, ids=lambda row: row.name)
def test_an_invalid_manifest_is_refused_where_it_is_wrong(kinds, shop_window, row):
    """By the API server, without an operator, if schema or CEL can judge it; else it is stored for the operator."""
    command = ("-n", shop_window, "apply", "--server-side", "-f", "-")
    said = kinds.kubectl(*command, input=json.dumps(row.manifest), check=False)
    if row.server:
        assert row.server in said
        assert "serverside-applied" not in said
    else:
        assert "serverside-applied" in said
        assert judged_by_the_operator(row.manifest) != []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: "/".join(path.parts[-2:]))
def test_an_example_comes_back_as_it_was_read(kubectl, stored, path):
    """The defaults that the API server fills in are those of the models."""
    kubectl("apply", "--server-side", "-f", str(path))
    manifest = read_manifest(path)
    assert search_from_object(stored("gs", manifest.metadata.name)).spec == manifest.spec


@pytest.mark.parametrize("preset", Preset)
def test_a_batch_that_just_fits_is_taken(kubectl, preset):
    """Labelled and unlabelled, of each preset: the API server knows their sizes."""
    training = resolve(TrainingChoice(preset=preset))
    fields = {
        "metadata.name": str(preset).lower(),
        "training": {"preset": preset},
        "data.searchValidation.count": 50_000 - training.batch_size - training.unlabelled.batch_size,
        "data.labelled.count": training.batch_size,
    }
    fitting, one_less = (
        changed(DRAWN, fields),
        {"data.searchValidation.count": fields["data.searchValidation.count"] + 1},
    )
    one_more = changed(fitting, one_less | {"metadata.name": "one-more"})
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", given=fitting)
    assert "spec.training.unlabelled.batchSize" in kubectl(
        "apply", "--server-side", "-f", "-", given=one_more, check=False
    )
    fewer_labels = changed(fitting, {"metadata.name": "fewer", "data.labelled.count": training.batch_size - 1})
    assert "spec.training.batchSize" in kubectl("apply", "--server-side", "-f", "-", given=fewer_labels, check=False)


LONE = changed(FIXED, {"graphs": [{key: FIXED["spec"]["graphs"][0][key] for key in ("nodes", "edges")}]})
"""A single graph needs no name."""


@pytest.mark.parametrize("manifest", [DRAWN, FIXED, LONE], ids=["drawn", "fixed", "lone"])
def test_a_search_with_everything_comes_back_as_it_was_read(apply, stored, manifest):
    """Every optional part of a manifest survives, pod fragments whole."""
    apply(manifest)
    assert search_from_object(stored("gs", manifest["metadata"]["name"])).spec == search_from_object(manifest).spec


def test_drawn_trials_come_back_as_they_were_drawn(apply, kubectl):
    """Graphs of seven nodes with every loss and gate that a space can draw, teachers included."""
    rules = [
        {"kind": "Label", "gates": ["Through", "Cutoff", "Sine"]},
        {"kind": "Transfer", "gates": ["Through", "Linear", "Sine", "Threshold"], "losses": ["KL", "Together"]},
        {"kind": "Self", "gates": ["Threshold"], "losses": ["ThresholdedPseudoLabel", "Consistency"]},
    ]
    settled = a_search().with_nodes(7).with_edges(*rules).settled()
    drawn = {trial.name: trial for trial in (search_trial(settled, index) for index in range(12))}
    apply({"apiVersion": "v1", "kind": "List", "items": [as_object(trial) for trial in drawn.values()]})
    found = [trial_from_object(obj) for obj in json.loads(kubectl("get", "gt", "-o", "json"))["items"]]
    assert {trial.name: trial for trial in found} == drawn


@pytest.mark.parametrize("change", [{"seed": 1}, {"graph.edges": []}, {"trainer": {"image": "other"}}], ids=str)
def test_a_trial_is_what_it_was_born_as(apply, change):
    """Its whole specification is fixed."""
    apply(TRIAL)
    said = apply(changed(TRIAL, change), check=False)
    assert "spec: Forbidden: a trial's spec is fixed from birth" in said


FIXED_FROM_BIRTH = {
    "objective": {"objective.goal": 0.9},
    "data": {"data.searchValidation.count": 9000},
    "space": {"space.nodes": 2},
    "training": {"training.batchSize": 128},
    "scheduler": {"scheduler.asha.reductionFactor": 3},
    "sampler": {"sampler": REMOVED},
    "comparison": {"comparison": REMOVED},
    "compression": {"compression.student": "resnet8"},
    "trainer": {"trainer.image": "registry.example/trainer:2.0"},
    "checkpoint": {"checkpoint.uri": "s3://elsewhere"},
    "metrics": {"metrics.source": "Direct"},
    "seed": {"seed": 1},
    "controllerName": {"controllerName": "other"},
}
SAME_AS_LEFT_OUT = ("sampler",)
"""What was removed there is what the API server fills in."""


@pytest.mark.parametrize("field", FIXED_FROM_BIRTH)
def test_what_is_searched_is_fixed_from_birth(apply, field):
    """B4: changed, added or removed: refused with the field, unless it says the same."""
    apply(DRAWN)
    said = apply(changed(DRAWN, FIXED_FROM_BIRTH[field]), check=False)
    if field in SAME_AS_LEFT_OUT:
        assert "serverside-applied" in said
    else:
        assert f"spec.{field}: Forbidden: is fixed from birth" in said


def test_graphs_are_fixed_from_birth(apply):
    """Also one edge of one of them."""
    apply(FIXED)
    said = apply(changed(FIXED, {"graphs.1.edges.1.loss.temperature": 3}), check=False)
    assert "spec.graphs: Forbidden: is fixed from birth" in said


def test_budget_state_and_time_to_live_may_change(apply, stored):
    """Up, down and away."""
    apply(DRAWN)
    budget = {"budget": {"maxTrials": 10, "parallelTrials": 60}, "ttlSecondsAfterFinished": REMOVED}
    for state in ("Paused", "Running", "Finishing", "Cancelled"):
        apply(changed(DRAWN, {**budget, "desiredState": state}))
    spec = search_from_object(stored("gs", "drawn")).spec
    assert (spec.budget.parallel_trials, spec.budget.max_gpu_hours, spec.desired_state) == (60, None, "Cancelled")


@pytest.mark.parametrize("end", ["Finishing", "Cancelled"])
@pytest.mark.parametrize("back", ["Running", "Paused", REMOVED], ids=["Running", "Paused", "left out"])
def test_an_end_that_is_wanted_is_final(apply, end, back):
    """Nobody brings a search back that was told to finish."""
    apply(changed(DRAWN, {"desiredState": end}))
    said = apply(changed(DRAWN, {} if back is REMOVED else {"desiredState": back}), check=False)
    assert "spec.desiredState: Forbidden: Finishing and Cancelled are final" in said


def test_a_cancelled_search_does_not_finish(apply):
    """Only the other way round."""
    apply(changed(DRAWN, {"desiredState": "Cancelled"}))
    said = apply(changed(DRAWN, {"desiredState": "Finishing"}), check=False)
    assert "spec.desiredState: Forbidden" in said


def test_lists_show_what_matters_and_can_be_asked(apply, write_status, kubectl):
    """Columns, short names, the category and field selectors."""
    trial = a_trial(**FACTS)
    apply(as_object(trial))
    shown = {"state": "Running", "evaluation": 3, "epoch": 6, "rung": 2, "attempt": 2}
    write_status("gt", "t", trial_status_to_wire(trial.status) | shown)
    apply(DRAWN)
    status = search_status_to_wire(GraphSearchStatus(state="Searching", gpu_hours="1.5"))
    best = {"best": {"trial": "t", "score": 0.75}, "trials": {"running": 2, "done": 5, "stopped": 4}}
    write_status("gs", "drawn", status | best)
    searches, trials = (kubectl("get", kind).splitlines() for kind in ("gs", "gt"))
    assert searches[0].split() == ["NAME", "STATE", "BEST", "RUNNING", "DONE", "STOPPED", "GPU-HOURS", "AGE"]
    assert searches[1].split()[:-1] == ["drawn", "Searching", "0.75", "2", "5", "4", "1.5"]
    assert trials[0].split() == ["NAME", "STATE", "EPOCH", "RUNG", "SCORE", "ATTEMPT", "AGE"]
    assert trials[1].split()[:-1] == ["t", "Running", "6", "2", "0.625", "2"]
    assert kubectl("get", "graphsearch", "-o", "name").split() == [
        "graphsearch.graphsearch.io/drawn",
        "graphtrial.graphsearch.io/t",
    ]
    chosen = ("--field-selector=spec.searchRef=s,spec.purpose=Search,status.state=Running", "-o", "name")
    assert kubectl("get", "gt", *chosen).split() == ["graphtrial.graphsearch.io/t"]
    assert kubectl("get", "gt", "--field-selector=spec.searchRef=other", "-o", "name") == ""
    assert kubectl("get", "gs", "--field-selector=spec.desiredState=Paused", "-o", "name") == ""


def test_kubectl_explains_a_field(kinds):
    """With its type, its choices and what it means."""
    said = kinds.kubectl("explain", "gs.spec.scheduler.asha.mode")
    assert "FIELD: mode <string>" in said
    assert "training goes on while a rung decides" in said


def test_a_large_list_of_graphs_is_judged_within_the_budget_of_rules(apply, stored):
    """Sixteen graphs of sixteen nodes and sixty-four edges, the most there may be."""
    names = [f"node-{number:02}-{'x' * 32}" for number in range(16)]
    drawing = random.Random(0)
    pairs = drawing.sample([(a, b) for a in names for b in names if a != b], 48)
    edges = [{"source": "Label", "destination": name, "loss": {"type": "CrossEntropy"}} for name in names]
    edges += [{"source": a, "destination": b, "loss": {"type": "KL"}, "gate": {"type": "Linear"}} for a, b in pairs]
    nodes = [{"name": name, "model": "wrn-28-10"} for name in names]
    graphs = [{"name": f"graph-{number}", "nodes": nodes, "edges": edges} for number in range(16)]
    apply(changed(FIXED, {"graphs": graphs, "comparison": REMOVED}))
    assert len(search_from_object(stored("gs", "fixed")).spec.graphs) == len(graphs)
