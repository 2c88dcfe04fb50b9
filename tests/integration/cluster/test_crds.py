"""The definitions on a real API server: what it takes, what it refuses at which field, what nobody can rewrite."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
from tests.builders import a_graph
from tests.invalid_manifests import DRAWN, FIXED, INVALID, REMOVED, TRIAL, changed
from tests.searches import a_search

from graphsearch.api import (
    Attempt,
    AttemptEnd,
    Decision,
    GraphTrial,
    GraphTrialStatus,
    ManifestError,
    Outcome,
    Preset,
    Reason,
    Rung,
    SearchFacts,
    TrainingChoice,
    read_manifest,
    resolve,
)
from graphsearch.api.search_status import GraphSearchStatus
from graphsearch.api.wire import (
    search_from_object,
    search_status_from_object,
    search_status_to_wire,
    trial_from_object,
    trial_spec_to_wire,
    trial_status_to_wire,
)
from graphsearch.cluster.alone import search_of
from graphsearch.search.stages import search_trial

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").rglob("*.yaml"))


@pytest.fixture
def kubectl(kinds, namespace):
    """Runs kubectl in the test's namespace; ``given`` is the object that it reads."""

    def run(*arguments, given=None, check=True):
        text = None if given is None else json.dumps(given)
        return kinds.kubectl("-n", namespace, *arguments, input=text, check=check)

    return run


@pytest.fixture
def apply(kubectl):
    """Applies an object as a user does; what kubectl says."""
    return lambda obj, check=True: kubectl("apply", "--server-side", "-f", "-", given=obj, check=check)


@pytest.fixture
def stored(kubectl):
    """The object as the API server has it."""
    return lambda kind, name: json.loads(kubectl("get", kind, name, "-o", "json"))


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


def a_trial(name="t", **status):
    """A trial of two nodes, with facts."""
    graph = a_graph().trained("a").frozen("b").label("a").transfer("b", "a", "Linear").obj()
    spec = {"index": 3, "purpose": "Search", "graph": graph.to_json(), "searchRef": "s", "seed": 2**53 - 1}
    return GraphTrial.model_validate({"name": name, "spec": spec, "status": GraphTrialStatus(**status)})


def as_object(trial):
    """Without its status, which the API server takes only by its own door."""
    metadata = {"name": trial.name}
    return {
        "apiVersion": "graphsearch.io/v1alpha1",
        "kind": "GraphTrial",
        "metadata": metadata,
        "spec": trial_spec_to_wire(trial),
    }


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


FACTS = {
    "attempts": (
        Attempt(
            number=1, identity="j-1", started_at=1.5, ended_at=2.5, end=AttemptEnd.LOST, seconds=1.0, message="node"
        ),
        Attempt(number=2, identity="j-2", started_at=3.25),
    ),
    "rungs": (
        Rung(evaluation=1, score=0.5, rank=1, of=1, decision=Decision.CONTINUE, time=2.0, source="Prometheus"),
        Rung(evaluation=2, score=0.625, rank=2, of=2, decision=Decision.CONTINUE, time=4.0, attempt=2),
    ),
    "score": 0.625,
}
ENDED = {
    "outcome": Outcome.STOPPED,
    "message": "rank 2 of 2 at evaluation 2",
    "ended_at": 5.0,
    "nodes": {"a": 0.625, "b": 0.5},
    "checkpoint": "s3://searches/t",
}


@pytest.fixture
def write_status(kubectl):
    """Writes a status as the operator does: a merge patch of the subresource."""

    def write(kind, name, status, check=True):
        patch = json.dumps({"status": status})
        return kubectl("patch", kind, name, "--subresource=status", "--type=merge", "-p", patch, check=check)

    return write


@pytest.fixture
def force_status(kubectl):
    """Writes a status as a clumsy tool does: a forced server-side apply under another name."""

    def write(kind, name, status):
        given = {"apiVersion": "graphsearch.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "status": status}
        options = ("--server-side", "--force-conflicts", "--field-manager=clumsy", "--subresource=status")
        return kubectl("apply", *options, "-f", "-", given=given, check=False)

    return write


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf], ids=["NaN", "Infinity", "-Infinity"])
def test_facts_come_back_as_they_were_recorded(apply, write_status, stored, score):
    """Also a score that JSON cannot hold."""
    odd = Rung(evaluation=4, score=score, decision=Decision.STOP, time=5.0)
    trial = a_trial(**FACTS | ENDED | {"rungs": (*FACTS["rungs"], odd)})
    apply(as_object(trial))
    write_status("gt", "t", trial_status_to_wire(trial.status))
    # Not a number equals nothing, not even itself.
    assert repr(trial_from_object(stored("gt", "t"))) == repr(trial)


def test_a_rung_has_a_score_or_says_why_not(apply, write_status):
    """Neither both nor none."""
    apply(as_object(a_trial()))
    rung = {"evaluation": 1, "decision": "Stop", "time": 1}
    both = {**rung, "score": 0.5, "notFinite": "NaN"}
    for wrong in (rung, both):
        assert "give exactly one of score and notFinite" in write_status("gt", "t", {"rungs": [wrong]}, check=False)


REWRITES = {
    "another score": (lambda s: s["rungs"][0].update(score=0.9), "status.rungs[0]"),
    "another decision": (lambda s: s["rungs"][1].update(decision="Stop"), "status.rungs[1]"),
    "a rank that nobody had": (lambda s: s["rungs"][1].update(rank=1), "status.rungs[1]"),
    "a score that was never a number": (
        lambda s: (s["rungs"][0].pop("score"), s["rungs"][0].update(notFinite="NaN")),
        "status.rungs[0]",
    ),
    "an attempt that ended otherwise": (lambda s: s["attempts"][0].update(end="Crashed"), "status.attempts[0]"),
    "an attempt that cost nothing": (lambda s: s["attempts"][0].update(seconds=0), "status.attempts[0]"),
    "another outcome": (lambda s: s.update(outcome="Succeeded"), "status.outcome"),
    "a later end": (lambda s: s.update(endedAt=9), "status.endedAt"),
    "another final score": (lambda s: s.update(score=0.9), "status.score"),
    "other scores of its nodes": (lambda s: s["nodes"].update(a=0.9), "status.nodes"),
    "another reason": (lambda s: s.update(message="because"), "status.message"),
    "another checkpoint": (lambda s: s.update(checkpoint="s3://elsewhere"), "status.checkpoint"),
}
REMOVALS = {
    "a rung less": (lambda s: s["rungs"].pop(0), "status.rungs"),
    "no rungs": (lambda s: s.pop("rungs"), "status.rungs"),
    "a rung without its rank": (lambda s: s["rungs"][1].pop("rank"), "status.rungs[1]"),
    "an attempt less": (lambda s: s["attempts"].pop(0), "status.attempts"),
    "no attempts": (lambda s: s.pop("attempts"), "status.attempts"),
    "an attempt that goes on": (lambda s: s["attempts"][0].pop("end"), "status.attempts[0]"),
    "no outcome": (lambda s: s.pop("outcome"), "status.outcome"),
    "no final score": (lambda s: s.pop("score"), "status.score"),
}


@pytest.fixture
def ended_trial(apply, write_status, stored):
    """A trial whose outcome is recorded: how it stands now."""
    trial = a_trial(**FACTS | ENDED)
    apply(as_object(trial))
    write_status("gt", "t", trial_status_to_wire(trial.status))
    return lambda: trial_from_object(stored("gt", "t"))


@pytest.mark.parametrize("rewrite", REWRITES)
def test_recorded_facts_of_a_trial_cannot_be_rewritten(ended_trial, write_status, force_status, rewrite):
    """Neither by a merge patch nor by a forced apply; the trial stands as before."""
    before = ended_trial()
    change, field = REWRITES[rewrite]
    status = trial_status_to_wire(before.status)
    change(status)
    for said in (write_status("gt", "t", status, check=False), force_status("GraphTrial", "t", status)):
        assert f"{field}: Forbidden" in said
    assert ended_trial() == before


@pytest.mark.parametrize("removal", REMOVALS)
def test_recorded_facts_of_a_trial_cannot_be_left_out(apply, force_status, stored, removal):
    """Whoever owns all fields of a status and applies fewer would take the others away."""
    trial = a_trial(**FACTS | ENDED)
    apply(as_object(trial))
    status = trial_status_to_wire(trial.status)
    force_status("GraphTrial", "t", status)
    change, field = REMOVALS[removal]
    change(status)
    assert f"{field}: Forbidden" in force_status("GraphTrial", "t", status)
    assert trial_from_object(stored("gt", "t")) == trial


@pytest.mark.parametrize("field", ["rungs", "attempts", "outcome", "endedAt", "score", "nodes", "message"])
def test_recorded_facts_of_a_trial_cannot_be_removed(ended_trial, write_status, field):
    """A merge patch with null is refused."""
    before = ended_trial()
    assert f"status.{field}: Forbidden" in write_status("gt", "t", {field: None}, check=False)
    assert ended_trial() == before


def test_a_status_cannot_be_removed_as_a_whole(ended_trial, kubectl, stored):
    """Replacing an object by one without status is refused at the status' own door and ignored at the other."""
    before = ended_trial()
    obj = stored("gt", "t")
    del obj["status"]
    said = kubectl("replace", "--subresource=status", "-f", "-", given=obj, check=False)
    assert "recorded facts never disappear" in said
    kubectl("replace", "-f", "-", given=obj)
    assert ended_trial() == before


def test_a_trial_goes_on_after_every_fact(apply, write_status, stored):
    """An open attempt starts and ends, rungs and attempts come to those that are there."""
    apply(as_object(a_trial()))
    attempt, rungs = Attempt(number=1), FACTS["rungs"]
    running = attempt.model_copy(update={"identity": "j-1", "started_at": 1.0})
    lost = running.model_copy(update={"end": AttemptEnd.LOST, "ended_at": 2.0, "seconds": 1.0})
    history = [
        {"attempts": (attempt,)},
        {"attempts": (running,)},
        {"attempts": (running,), "rungs": rungs[:1], "score": 0.5},
        {"attempts": (lost,), "rungs": rungs[:1], "score": 0.5},
        {"attempts": (lost, Attempt(number=2)), "rungs": rungs, "score": 0.625},
    ]
    for facts in history:
        write_status("gt", "t", trial_status_to_wire(GraphTrialStatus(**facts)))
    assert trial_from_object(stored("gt", "t")).status == GraphTrialStatus(**history[-1])


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


BORN = SearchFacts(uid="u", started_at=1.0, next_index=7, winner=3, winner_node="a")
OVER = BORN.model_copy(update={"ended_at": 9.0, "reason": Reason.COMPLETED, "message": "done"})


@pytest.fixture
def ended_search(apply, write_status, stored):
    """A search with a winner that has ended: its facts as they stand now."""
    apply(DRAWN)
    for facts in (BORN, OVER):
        write_status("gs", "drawn", search_status_to_wire(GraphSearchStatus(facts=facts, state="Completed")))
    return lambda: search_status_from_object(stored("gs", "drawn")).facts


@pytest.mark.parametrize(
    "rewrite",
    [
        {"winner": 4},
        {"winner": None},
        {"winnerNode": "b"},
        {"nextIndex": 6},
        {"uid": "v"},
        {"startedAt": 2},
        {"endedAt": 10},
        {"endedAt": None},
        {"reason": "Cancelled"},
        {"message": "or not"},
    ],
    ids=str,
)
def test_recorded_facts_of_a_search_cannot_be_rewritten(ended_search, write_status, force_status, rewrite):
    """Neither by a merge patch nor by a forced apply; indexes only rise."""
    (field,) = rewrite
    before = ended_search()
    assert f"status.facts.{field}" in write_status("gs", "drawn", {"facts": rewrite}, check=False)
    if rewrite[field] is not None:
        facts = {**search_status_to_wire(GraphSearchStatus(facts=before))["facts"], **rewrite}
        assert f"status.facts.{field}" in force_status("GraphSearch", "drawn", {"facts": facts})
    assert ended_search() == before


def test_facts_of_a_search_cannot_be_removed(ended_search, write_status):
    """As a whole, that is."""
    before = ended_search()
    assert "status.facts: Forbidden" in write_status("gs", "drawn", {"facts": None}, check=False)
    assert ended_search() == before


def test_the_budget_of_a_search_that_has_ended_is_refused_with_a_message(ended_search, apply):
    """B1, B3: more trials would not come: a new search is what is wanted."""
    assert ended_search().ended_at == OVER.ended_at
    said = apply(changed(DRAWN, {"budget.maxTrials": 2000}), check=False)
    assert "spec.budget: Forbidden: the search has ended" in said
    assert "serverside-applied" in apply(changed(DRAWN, {"ttlSecondsAfterFinished": 60}))


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
