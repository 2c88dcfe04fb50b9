"""Stages of a search: teachers before students, finalists after the search, then the comparison."""

from __future__ import annotations

import math

import pytest
from tests.searches import HandPlayed, a_search, rebuilt

from graphsearch.api import Outcome, Reason
from graphsearch.search.specs import Place, objective_of, trial_spec
from graphtrial.contract import Purpose, ScoreOf, Split

KL = {"type": "KL"}
FED = {"source": "Label", "destination": "1", "loss": {"type": "CrossEntropy"}}
TAUGHT = {"source": "2", "destination": "1", "loss": KL}
TEACHER = {"name": "2", "kind": "Frozen", "model": "resnet14", "weights": {"pretrained": {}}}
STUDENT = {"name": "1", "model": "resnet8"}


def distilled(name, teacher=TEACHER):
    """A graph in which a frozen node teaches the target."""
    return {"name": name, "nodes": [STUDENT, teacher], "edges": [FED, TAUGHT]}


def vanilla(name, model="resnet14"):
    """One node that learns from labels."""
    return {"name": name, "nodes": [{"name": "1", "model": model}], "edges": [FED]}


def a_distilling_search():
    """Every drawn graph has one frozen resnet14 that teaches node 1."""
    rules = [
        {"from": "Label", "to": "1", "gates": ["Through"]},
        {"from": "2", "to": "1", "gates": ["Through", "Linear"]},
    ]
    return a_search().with_nodes(2, "resnet14").with_edges(*rules)


def a_world(search):
    """A hand-played world after its first look."""
    return HandPlayed(search.settled()).look()


def test_students_wait_for_one_shared_teacher():
    """Two slots: the teacher trains, all students wait for it; then the first two of them start."""
    world = a_world(a_distilling_search().trials(4).parallel(2))
    (teacher,) = world.of(Purpose.PRETRAIN)
    assert world.running == [teacher.index]
    assert len(world.of(Purpose.SEARCH)) == 4
    assert {key for trial in world.of(Purpose.SEARCH) for key in trial.spec.teachers.values()} == set(
        teacher.spec.publishes.values()
    )
    world.finish(teacher.index, 0.5)
    assert world.running == [trial.index for trial in world.of(Purpose.SEARCH)][:2]


def test_students_that_wait_leave_no_slot_idle():
    """While the teacher trains, further graphs are drawn until one needs no teacher, and that one starts."""
    rules = [{"from": "Label", "gates": ["Through", "Cutoff"]}, {"from": "2", "to": "1", "gates": ["Through"]}]
    world = a_world(a_search().with_nodes(2, "resnet14").with_edges(*rules).trials(20).parallel(2))
    (teacher,) = world.of(Purpose.PRETRAIN)
    other = next(index for index in world.running if index != teacher.index)
    assert world.ledger.trials[other].spec.teachers == {}


def test_where_every_graph_has_a_teacher_the_goal_still_ends_the_search():
    """Two students wait for each slot and no more, so few are drawn when the first of them reaches the goal."""
    search = a_distilling_search().trials(200).parallel(3).scored_by("TargetNode", goal=0.8)
    world = a_world(search)
    (teacher,) = world.of(Purpose.PRETRAIN)
    assert len(world.of(Purpose.SEARCH)) == 6
    world.finish(teacher.index, 0.5)
    while world.running:
        world.finish(world.running[0], 0.9)
    drawn = world.of(Purpose.SEARCH)
    assert len(drawn) < 12
    assert {trial.status.outcome for trial in drawn} == {Outcome.SUCCEEDED}


def test_a_teacher_sees_what_its_student_may_see():
    """A searching student's teacher is trained on the search split, for its own score, and publishes its weights."""
    world = a_world(a_distilling_search())
    (teacher,) = world.of(Purpose.PRETRAIN)
    spec = trial_spec(world.settled, world.ledger.search, teacher, Place(root="file:///r", teachers="file:///w"))
    assert (spec.split, spec.data.search_validation is not None, spec.rungs) == (Split.SEARCH, True, ())
    assert [node.model for node in spec.graph.nodes] == ["resnet14"]
    assert list(spec.publish.values()) == [f"file:///w/{key}.pt" for key in teacher.spec.publishes.values()]


@pytest.mark.parametrize(("code", "outcome"), [(10, Outcome.FAILED), (12, Outcome.DIVERGED)])
def test_a_failed_teacher_fails_its_students_by_name(code, outcome):
    """The message names the teacher and what happened to it."""
    world = a_world(a_distilling_search().trials(1))
    (teacher,) = world.of(Purpose.PRETRAIN)
    world.end(teacher.index, code, message="too large")
    assert world.outcome(teacher.index) is outcome
    (student,) = world.of(Purpose.SEARCH)
    assert (student.status.outcome, student.status.message) == (
        Outcome.FAILED,
        f"its teacher {teacher.name} failed: too large",
    )


def test_a_teacher_that_nobody_awaits_is_stopped():
    """Finishing cancels the students, and with them the need for their teacher."""
    search = a_distilling_search().trials(1)
    world = a_world(search)
    (teacher,) = world.of(Purpose.PRETRAIN)
    world.change(search.wanted("Finishing"))
    assert world.stopped == [(teacher.index, "Unwanted")]
    assert world.end(teacher.index, 143).outcome(teacher.index) is Outcome.CANCELLED


def test_a_cancelled_teacher_is_made_anew_for_whoever_needs_it_later():
    """One of two teachers fails, so the other is unwanted; a later student gets a new trial for the same key."""
    rules = [{"from": source, "to": "1", "gates": ["Through", "Linear"]} for source in ("Label", "2", "3")]
    search = a_search().with_nodes(3, "resnet14", "resnet20").with_edges(*rules).trials(1).parallel(2)
    world = a_world(search)
    failed, unwanted = (trial.index for trial in world.of(Purpose.PRETRAIN))
    world.end(failed, 12)
    assert world.stopped == [(unwanted, "Unwanted")]
    (key,) = world.end(unwanted, 143).ledger.trials[unwanted].spec.publishes.values()
    later = HandPlayed(search.trials(9).parallel(9).settled(), rebuilt_as_open(world)).look()
    made = [trial.index for trial in later.of(Purpose.PRETRAIN) if key in trial.spec.publishes.values()]
    assert made[0] == unwanted
    assert len(made) == 2


def rebuilt_as_open(world):
    """The facts of an ended search as if its budget had been raised in time."""
    ledger = rebuilt(world.ledger)
    ledger.search = ledger.search.model_copy(update={"ended_at": None, "reason": None})
    return ledger


def test_each_repeat_of_the_comparison_has_its_own_teachers():
    """Trained on all training images with the repeat's seed; contenders of one repeat share them and the seed."""
    search = a_search().graphs(distilled("kd")).compared(1, 2, ["AllThrough", "Distillation"])
    world = a_world(search.parallel(9))
    compared, teachers = world.of(Purpose.COMPARE), world.of(Purpose.PRETRAIN)
    assert [(t.spec.contenders, t.spec.repeat) for t in compared] == [
        (names, repeat) for repeat in (0, 1) for names in (("kd", "AllThrough"), ("Distillation",))
    ]
    assert len(teachers) == 2
    assert {trial.spec.split for trial in [*compared, *teachers]} == {Split.FULL}
    for repeat in (0, 1):
        of_one = [trial for trial in compared if trial.spec.repeat == repeat]
        assert len({trial.spec.seed for trial in of_one}) == 1
        assert len({key for trial in of_one for key in trial.spec.teachers.values()}) == 1
    assert len({trial.spec.seed for trial in [*compared, *teachers]}) == 4
    world.finish(teachers[0].index, 0.5)
    spec = trial_spec(world.settled, world.ledger.search, world.of(Purpose.COMPARE)[0], Place(root="r", teachers="w"))
    assert (spec.split, spec.seed) == (Split.FULL, compared[0].spec.seed)


def born_again():
    """Three generations: each student is the next one's frozen teacher."""
    stages = [vanilla("first", "resnet8")]
    for name, before in (("second", "first"), ("third", "second")):
        start = {"node": {"graph": before, "node": "1"}}
        stages.append(distilled(name, {"name": "2", "kind": "Frozen", "model": "resnet8", "weights": start}))
    return stages


def test_stages_run_in_their_order():
    """Each graph waits for the weights of the one before it, repeat by repeat."""
    world = a_world(a_search().graphs(*born_again()).parallel(9).compared(1, 2))
    assert world.running == [0, 3]
    world.finish(0, 0.5)
    assert world.running == [1, 3]
    world.finish(1, 0.5).finish(3, 0.5)
    assert world.running == [2, 4]
    first, second, third = (world.ledger.trials[index] for index in (0, 1, 2))
    assert first.spec.publishes["1"] == second.spec.teachers["2"]
    assert second.spec.publishes["1"] == third.spec.teachers["2"]
    assert third.spec.publishes == {}


def test_a_failed_stage_fails_those_after_it():
    """The comparison ends and says how many did not end well."""
    world = a_world(a_search().graphs(*born_again()).budget(maxFailedTrials=9)).finish(0, 0.5)
    world.end(1, 12, message="loss is nan")
    assert world.ledger.trials[2].status.message == "its teacher s-t1 failed: loss is nan"
    facts = world.ledger.search
    assert facts.reason is Reason.COMPARISON_FAILED
    assert facts.message == "2 of 3 trials did not end well; first s-t1: loss is nan"


def test_weights_of_a_stage_are_named_by_all_that_made_them():
    """Another first generation gives other weights to the third, though the second is written alike."""
    one, other = born_again(), born_again()
    other[0]["edges"] = [{**FED, "gate": {"type": "Linear"}}]
    keys = [
        HandPlayed(a_search().graphs(*graphs).settled()).look().ledger.trials[2].spec.teachers
        for graphs in (one, other)
    ]
    assert keys[0] != keys[1]


def test_a_graph_that_others_start_from_is_never_merged():
    """Two equal graphs run once, unless a third one names a node of theirs."""
    alone = a_world(a_search().graphs(vanilla("a", "resnet8"), vanilla("b", "resnet8")))
    assert [trial.spec.contenders for trial in alone.of(Purpose.COMPARE)] == [("a", "b")]
    start = {"node": {"graph": "b", "node": "1"}}
    staged = distilled("c", {"name": "2", "kind": "Frozen", "model": "resnet8", "weights": start})
    world = a_world(a_search().graphs(vanilla("a", "resnet8"), vanilla("b", "resnet8"), staged).parallel(9))
    assert [trial.spec.contenders for trial in world.of(Purpose.COMPARE)] == [("a",), ("b",), ("c",)]
    world.finish(1, 0.5)
    assert world.running == [0, 2]


def searched(search, *scores):
    """A search whose trials ended with these scores, never stopped on the way."""
    world = a_world(search.never_stopping().trials(len(scores)).parallel(len(scores)))
    for index, score in enumerate(scores):
        world.finish(index, score, nodes={"1": score, "2": score + 0.1})
    return world


def a_varied_search():
    """Two nodes, so that trials differ in their graphs."""
    return a_search().with_nodes(2, "resnet8", "resnet14")


def test_without_comparison_the_best_trial_wins():
    """The older of equals; the search is complete."""
    facts = searched(a_varied_search(), 0.5, 0.7, 0.7, 0.6).ledger.search
    assert (facts.winner, facts.reason) == (1, Reason.COMPLETED)


def test_the_best_distinct_graphs_are_trained_again_and_the_mean_chooses():
    """Finalists in the order of their scores, each with every repeat's seed; a better mean overtakes."""
    world = searched(a_varied_search().compared(2, 2), 0.5, 0.8, 0.7)
    finalists = world.of(Purpose.FINALIST)
    assert [(trial.spec.origin, trial.spec.repeat) for trial in finalists] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert finalists[0].spec.seed == finalists[2].spec.seed != finalists[1].spec.seed
    assert {trial.spec.split for trial in finalists} == {Split.SEARCH}
    for trial, score in zip(finalists, (0.6, 0.6, 0.9, 0.5), strict=True):
        world.finish(trial.index, score)
    assert world.ledger.search.winner == 2
    assert [trial.spec.graph for trial in world.of(Purpose.COMPARE)] == [finalists[2].spec.graph] * 2


def test_equal_graphs_are_one_finalist():
    """With a single distinct graph there is nothing to choose between."""
    world = searched(a_search().compared(3, 2), 0.5, 0.8)
    assert (world.of(Purpose.FINALIST), world.ledger.search.winner) == ([], 1)


def test_a_finalist_that_diverged_never_beats_one_that_did_not():
    """A mean over fewer seeds is not a better mean."""
    world = searched(a_varied_search().compared(2, 2), 0.5, 0.8, 0.7)
    one, two, three, four = (trial.index for trial in world.of(Purpose.FINALIST))
    world.finish(one, 0.9).end(two, 12).finish(three, 0.4).finish(four, 0.4)
    assert world.ledger.search.winner == 2


def test_best_node_is_chosen_with_its_graph():
    """The node's mean over the finalist's repeats chooses it; it is the target of what is compared."""
    world = searched(a_varied_search().scored_by("BestNode").compared(1, 2, ["Independent"]), 0.5)
    for trial, second in zip(world.of(Purpose.FINALIST), (0.9, 0.1), strict=True):
        world.finish(trial.index, 0.6, nodes={"1": 0.6, "2": second, "ensemble": 1.0})
    assert (world.ledger.search.winner, world.ledger.search.winner_node) == (0, "1")
    assert {trial.spec.graph.target_name for trial in world.of(Purpose.COMPARE)} == {"1"}


def test_a_node_without_a_score_is_not_the_best():
    """A trial may end well for another node's sake while the logits of one are not finite."""
    world = searched(a_varied_search().scored_by("BestNode").compared(1, 1, ["Independent"]), 0.5)
    (finalist,) = world.of(Purpose.FINALIST)
    world.finish(finalist.index, 0.6, nodes={"1": math.nan, "2": 0.6})
    assert world.ledger.search.winner_node == "2"


def test_best_node_of_a_fixed_list_is_the_best_of_each_run():
    """No search has chosen one, and the first node is not it for lack of another."""
    world = a_world(a_search().graphs(distilled("kd")).scored_by("BestNode").compared(1, 1, ["MutualLearning"]))
    compared = world.of(Purpose.COMPARE)
    assert {objective_of(world.settled, trial).score_of for trial in compared} == {ScoreOf.BEST_NODE}


def test_weights_that_the_user_brings_are_no_teachers_of_the_search():
    """They were trained on images that nobody here knows: the trainer reads them where the node says."""
    brought = {"name": "2", "kind": "Frozen", "model": "resnet8", "weights": {"uri": "s3://mine/teacher.pt"}}
    world = a_world(a_search().graphs(distilled("kd", brought)))
    [trial] = world.ledger.trials.values()
    spec = trial_spec(world.settled, world.ledger.search, trial, Place(root="r", teachers="w"))
    assert spec.teachers == {}
    assert spec.graph.node("2").weights.uri == "s3://mine/teacher.pt"


def test_a_frozen_node_never_counts_as_best_node():
    """The teacher may score higher; the student is chosen."""
    search = a_distilling_search().never_stopping().trials(1).scored_by("BestNode")
    world = a_world(search)
    world.finish(world.of(Purpose.PRETRAIN)[0].index, 0.9).finish(0, 0.5, nodes={"1": 0.5, "2": 0.9})
    assert world.ledger.search.winner_node == "1"


def test_a_search_cut_short_still_names_its_best_node():
    """Cancelled after one trial: its graph and node are the winner's."""
    search = a_varied_search().never_stopping().trials(2).scored_by("BestNode")
    world = a_world(search).finish(0, 0.5, nodes={"1": 0.4, "2": 0.5}).change(search.wanted("Cancelled")).end(1, 143)
    assert (world.ledger.search.winner, world.ledger.search.winner_node) == (0, "2")
