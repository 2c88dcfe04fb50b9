"""The compression of the winning graph (spec 9): its teachers, every row of table 4.9, its choice and its end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.searches import HandPlayed, a_search, drawn_curve, rebuilt

from graphsearch.api import Compression, Distillation, Lesson, Outcome, Reason
from graphsearch.search.compression import chosen, compression_graph, result_of, tries
from graphsearch.search.simulator import Simulation
from graphsearch.search.specs import Place, trial_spec
from graphsearch.search.status import has_result, summarise
from graphtrial.contract import Aggregation, Graph, LossType, NodeKind, Purpose, ScoreOf, Split

LABEL = {"source": "Label", "destination": "1", "loss": {"type": "CrossEntropy"}}
SMALL = {"student": "resnet14", "lessons": ["EnsembleProbability", "Probability"], "temperatures": [1, 5]}
WAYS = [
    ("EnsembleProbability", "Sum", 1),
    ("Probability", "Sum", 1),
    ("Probability", "Sum", 5),
    ("Probability", "Project", 1),
    ("Probability", "Project", 5),
]


def way_of(trial):
    """(lesson, aggregation, temperature) of a Compress trial; None for one that trains teachers."""
    way = trial.spec.distillation
    return (str(way.lesson), str(way.aggregation), way.temperature) if way else None


def a_world(search, **choice):
    """A hand-played world of a search with a compression."""
    return HandPlayed(search.having(compression=SMALL | choice).never_stopping().parallel(9).settled()).look()


def two_nodes(**fields):
    """Graphs of two networks that learn from labels and from one another."""
    return a_search().with_nodes(2, "resnet8", gates=("Through", "Linear")).having(**fields)


def finish(world, purpose, score=0.5, split=None):
    """Every open trial of a purpose ends with this score."""
    for trial in world.of(purpose):
        if not trial.is_ended and split in (None, trial.spec.split):
            world.finish(trial.index, score)
    return world


def compressing(world):
    """The Compress trials."""
    return world.of(Purpose.COMPRESS)


def test_without_a_comparison_the_winner_is_trained_again_for_its_networks():
    """On the search split, with every network published: the trial that was found keeps its networks to itself."""
    world = finish(a_world(two_nodes().trials(2)), Purpose.SEARCH)
    (teachers,) = compressing(world)
    assert (way_of(teachers), teachers.spec.split) == (None, Split.SEARCH)
    assert teachers.spec.graph == world.ledger.trials[world.ledger.search.winner].spec.graph
    assert set(teachers.spec.publishes) == {"1", "2"}
    assert summarise(world.settled, world.ledger, world.now).reason is Reason.COMPRESSING


def test_every_way_is_tried_once_with_the_same_teachers():
    """Table 4.9 without attention: all start from the run that has just ended, with one seed."""
    world = finish(a_world(two_nodes().trials(1)), Purpose.SEARCH)
    (teachers,) = compressing(world)
    world.finish(teachers.index, 0.5)
    tried = compressing(world)[1:]
    assert [way_of(trial) for trial in tried] == WAYS
    assert {trial.spec.split for trial in tried} == {Split.SEARCH}
    assert {trial.spec.seed for trial in tried} == {tried[0].spec.seed}
    assert all(trial.spec.teachers == teachers.spec.publishes for trial in tried)


def test_the_best_way_is_trained_on_the_full_set_and_scored_once():
    """By the score on the search validation; the student's teachers saw the full set too, and it is exported."""
    world = finish(a_world(two_nodes().trials(1)), Purpose.SEARCH)
    finish(world, Purpose.COMPRESS)
    for trial in compressing(world)[1:]:
        world.finish(trial.index, 0.9 if way_of(trial) == WAYS[3] else 0.6)
    teachers = compressing(world)[-1]
    assert (way_of(teachers), teachers.spec.split) == (None, Split.FULL)
    world.finish(teachers.index, 0.5)
    result = compressing(world)[-1]
    assert (way_of(result), result.spec.split) == (WAYS[3], Split.FULL)
    assert result.spec.teachers == teachers.spec.publishes
    spec = trial_spec(world.settled, world.ledger.search, result, Place(root="file:///r", teachers="file:///w"))
    assert (spec.export, spec.training.aggregation, spec.rungs) == ("student", Aggregation.PROJECT, ())
    assert spec.objective.score_of is ScoreOf.TARGET_NODE
    world.finish(result.index, 0.8)
    assert (world.ledger.search.reason, world.ledger.search.message) == (Reason.COMPLETED, "")
    assert result_of(compressing(world)).index == result.index


def test_finalists_and_comparison_leave_the_teachers():
    """First repeats that ended well: the validation scores and test scores of repeats choose none of them."""
    search = two_nodes().trials(3).compared(2, 2, ["Independent"])
    world = finish(a_world(search), Purpose.SEARCH)
    for trial in world.of(Purpose.FINALIST):
        world.finish(trial.index, 0.5 + 0.1 * trial.spec.repeat)
    for trial in world.of(Purpose.COMPARE):
        if "Found" in trial.spec.contenders and trial.spec.repeat == 0:
            world.end(trial.index, 12)
        else:
            world.finish(trial.index, 0.5)
    winner = world.ledger.search.winner
    (first, _) = [trial for trial in world.of(Purpose.FINALIST) if trial.spec.origin == winner]
    tried = compressing(world)
    assert [way_of(trial) for trial in tried] == WAYS
    assert all(trial.spec.teachers == first.spec.publishes for trial in tried)
    finish(world, Purpose.COMPRESS, 0.7)
    (_, second) = [trial for trial in world.of(Purpose.COMPARE) if "Found" in trial.spec.contenders]
    assert compressing(world)[-1].spec.teachers == second.spec.publishes


def test_nothing_is_published_without_compression():
    """Weights of networks are only stored twice where somebody starts from them."""
    search = two_nodes().trials(3).compared(2, 1).never_stopping().parallel(9)
    world = finish(finish(HandPlayed(search.settled()).look(), Purpose.SEARCH), Purpose.FINALIST)
    trials = [*world.of(Purpose.FINALIST), *world.of(Purpose.COMPARE)]
    assert trials
    assert [trial.spec.publishes for trial in trials] == [{}] * len(trials)


def test_a_fixed_list_compresses_its_last_graph():
    """Its stages are trained on the search split first: the list itself runs on the full set only."""
    stages = [
        {"name": "first", "nodes": [{"name": "1", "model": "resnet8"}], "edges": [LABEL]},
        {
            "name": "second",
            "nodes": [
                {"name": "1", "model": "resnet8"},
                {
                    "name": "2",
                    "model": "resnet8",
                    "kind": "Frozen",
                    "weights": {"node": {"graph": "first", "node": "1"}},
                },
            ],
            "edges": [LABEL, {"source": "2", "destination": "1", "loss": {"type": "KL"}}],
        },
    ]
    world = a_world(a_search().graphs(*stages))
    finish(finish(world, Purpose.COMPARE), Purpose.COMPARE)
    first, second = compressing(world)
    assert [trial.spec.graph.name for trial in (first, second)] == ["first", "second"]
    assert second.spec.teachers == {"2": first.spec.publishes["1"]}
    assert world.running == [first.index]
    world.finish(first.index, 0.5).finish(second.index, 0.5)
    tried = compressing(world)[2:]
    assert [way_of(trial) for trial in tried] == WAYS
    assert tried[0].spec.teachers == {"1": second.spec.publishes["1"], "2": first.spec.publishes["1"]}
    finish(finish(world, Purpose.COMPRESS, 0.7), Purpose.COMPRESS)
    assert compressing(world)[-1].spec.split is Split.FULL
    assert world.ledger.search.reason is Reason.COMPLETED


def test_the_node_of_best_node_decides_which_networks_teach():
    """As in the comparison: those on a path to the chosen node."""
    rules = [{"kind": "Label", "gates": ["Through"]}]
    search = a_search().with_nodes(2, "resnet8").with_edges(*rules).scored_by("BestNode").trials(1)
    world = a_world(search)
    world.finish(0, 0.5, nodes={"1": 0.4, "2": 0.5})
    (teachers,) = compressing(world)
    spec = trial_spec(world.settled, world.ledger.search, teachers, Place(root="r", teachers="w"))
    assert (spec.objective.score_of, spec.graph.target_name) == (ScoreOf.TARGET_NODE, "2")
    assert set(spec.publish) == {"2"}
    world.finish(teachers.index, 0.5)
    assert {node.name for node in compressing(world)[1].spec.graph.nodes} == {"student", "2", "ensemble"}


def test_the_best_mean_is_chosen_and_a_diverged_run_counts_against_it():
    """Over the repeats; the first among equals."""
    world = finish(a_world(two_nodes().trials(1), repeats=2), Purpose.SEARCH)
    finish(world, Purpose.COMPRESS)
    for trial in compressing(world)[1:]:
        if way_of(trial) == WAYS[1] and trial.spec.repeat == 1:
            world.end(trial.index, 12)
        else:
            scores = {WAYS[1]: [0.99, 0.0], WAYS[2]: [0.5, 0.8], WAYS[4]: [0.7, 0.6]}
            world.finish(trial.index, scores.get(way_of(trial), [0.6, 0.6])[trial.spec.repeat])
    assert [len(runs) for runs in tries(compressing(world)).values()] == [2] * 5
    assert chosen(compressing(world)) == Distillation(lesson=Lesson.PROBABILITY, temperature=5)


def test_a_compression_of_which_nothing_came_says_so_and_what_was_found_stands():
    """Every way diverged: the search has its result all the same."""
    world = finish(a_world(two_nodes().trials(1)), Purpose.SEARCH)
    finish(world, Purpose.COMPRESS)
    for trial in compressing(world)[1:]:
        world.end(trial.index, 12, message="loss is nan")
    facts = world.ledger.search
    assert facts.reason is Reason.COMPRESSION_FAILED
    assert facts.message == "no network was distilled; the last trial, s-t6: loss is nan"
    assert has_result(world.settled, facts)


def test_teachers_that_failed_end_the_compression():
    """Nothing is tried without them."""
    world = finish(a_world(two_nodes().trials(1)), Purpose.SEARCH)
    (teachers,) = compressing(world)
    world.end(teachers.index, 12, message="loss is nan")
    assert world.outcome(teachers.index) is Outcome.DIVERGED
    assert world.ledger.search.message == f"no network was distilled; the last trial, {teachers.name}: loss is nan"


def test_a_budget_that_is_spent_ends_it():
    """Compress trials count against maxGpuHours as all others do."""
    world = finish(a_world(two_nodes().trials(1).budget(maxGpuHours=1)), Purpose.SEARCH)
    (teachers,) = compressing(world)
    world.look((teachers.index, world.settled.evaluations, 0.5)).end(teachers.index, seconds=3600)
    assert world.ledger.search.reason is Reason.BUDGET_SPENT


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.integers(0, 1000), st.booleans(), st.integers(1, 3), st.integers(0, 60))
def test_cut_off_anywhere_it_ends_with_the_same_trials(seed, compares, repeats, steps):
    """A planner that starts anew from the facts makes no trial twice and leaves none out."""
    search = two_nodes().trials(3).parallel(2).having(compression=SMALL | {"repeats": repeats})
    search = (search.compared(2, 1) if compares else search).seeded(seed)

    def made(cut):
        world = Simulation(search.settled(), drawn_curve(seed))
        world.look()
        for step in range(5000):
            if world.ledger.search.ended_at is not None:
                break
            if step == cut:
                world = world.restarted(processes_live=True)
            world.step()
        return [t.spec.model_dump() for t in rebuilt(world.ledger).trials.values()]

    whole = made(-1)
    assert sorted(map(repr, made(steps))) == sorted(map(repr, whole))
    assert sum(spec["purpose"] is Purpose.COMPRESS for spec in whole) >= 5 * repeats + 1


WINNING = Graph.model_validate(
    {
        "nodes": [
            {"name": "1", "model": "resnet8"},
            {"name": "2", "kind": "EMA", "follows": "1"},
            {"name": "3", "kind": "Frozen", "model": "wrn-10-1", "weights": {"pretrained": {"copy": 1}}},
        ],
        "edges": [LABEL, {"source": "3", "destination": "1", "loss": {"type": "KL"}}],
    }
)


def a_compression(lesson, temperature=1.0, winning=WINNING, **choice):
    """The graph of a way of distilling all nodes of a graph."""
    way = Distillation(lesson=Lesson(lesson), temperature=temperature)
    return compression_graph(
        winning, list(winning.nodes), Compression(student="resnet14", **choice), way, named="Found"
    )


def edges_of(graph):
    """(source, loss, temperature, weight) of each edge."""
    return [(e.source, str(e.loss.type), e.loss.temperature, e.loss.weight) for e in graph.edges]


CE = ("Label", "CrossEntropy", 1, 1)


@pytest.mark.parametrize(
    ("lesson", "expected"),
    [
        ("EnsembleProbability", [CE, ("ensemble", "KL", 2, 0.25)]),
        ("Probability", [CE, ("1", "KL", 2, 0.25), ("2", "KL", 2, 0.25), ("3", "KL", 2, 0.25)]),
        (
            "ProbabilityAndAttention",
            [CE, *((n, "KL", 2, 0.25) for n in "123"), *((n, "AttentionTogether", 1, 1) for n in "123")],
        ),
    ],
)
def test_rows_of_table_4_9_are_graphs(lesson, expected):
    """Spec 9: the loss as printed, without T^2; whole maps; a loss for each teacher, or for their mean probability."""
    graph = a_compression(lesson, 2.0)
    assert edges_of(graph) == expected
    assert {edge.destination for edge in graph.edges} == {"student"}
    assert all(edge.loss.crops == () for edge in graph.edges)
    assert (graph.node("ensemble").average, graph.node("ensemble").members) == ("Probabilities", ("1", "2", "3"))


def test_teachers_are_frozen_networks_as_they_were_trained():
    """An EMA node has the model that it follows; a teacher that was frozen keeps its weights' origin."""
    nodes = a_compression("Probability").nodes
    assert [(node.name, str(node.kind), node.model) for node in nodes] == [
        ("student", "Trained", "resnet14"),
        ("1", "Frozen", "resnet8"),
        ("2", "Frozen", "resnet8"),
        ("3", "Frozen", "wrn-10-1"),
        ("ensemble", "Ensemble", ""),
    ]
    assert nodes[3].weights == WINNING.nodes[2].weights
    assert nodes[1].weights.node.node == "1"


def test_labels_may_be_left_out():
    """Then the student learns from its teachers alone."""
    assert edges_of(a_compression("Probability", labels=False)) == [(name, "KL", 1, 1) for name in "123"]


def test_a_name_that_is_taken_is_not_the_students():
    """A network of the winning graph may be called student."""
    taken = Graph.model_validate({"nodes": [{"name": "student", "model": "resnet8"}], "edges": []})
    assert [node.name for node in a_compression("Probability", winning=taken).nodes][:2] == ["student-2", "student"]


def test_what_was_learned_without_labels_is_distilled_without_labels():
    """Where the winning graph has unlabelled images, the student's losses act on them."""
    edge = {"source": "1", "destination": "1", "loss": {"type": "Consistency"}}
    winning = Graph.model_validate({"nodes": [{"name": "1", "model": "resnet8"}], "edges": [LABEL, edge]})
    assert edges_of(a_compression("Probability", 5.0, winning)) == [CE, ("1", "Consistency", 5, 0.04)]
    assert a_compression("Probability", 5.0, winning).edges[1].loss.type is LossType.CONSISTENCY


def test_random_networks_teach_nothing():
    """A node that nothing ever taught is no teacher, though others learn from it."""
    rules = [{"from": "Label", "to": "1", "gates": ["Through"]}, {"from": "2", "to": "1", "gates": ["Through"]}]
    search = a_search().with_nodes(2, "resnet8").with_edges(*rules).in_space(isolatedNodes="Random").trials(1)
    world = finish(a_world(search), Purpose.SEARCH)
    (teachers,) = compressing(world)
    assert set(teachers.spec.publishes) == {"1"}
    world.finish(teachers.index, 0.5)
    graph = compressing(world)[1].spec.graph
    assert [node.name for node in graph.nodes if node.kind is NodeKind.FROZEN] == ["1"]


def test_a_pretrained_teacher_of_the_winner_teaches_on():
    """From the weights that it had: its key is that of the run."""
    rules = [{"from": "Label", "to": "1", "gates": ["Through"]}, {"from": "2", "to": "1", "gates": ["Through"]}]
    world = a_world(a_search().with_nodes(2, "resnet8").with_edges(*rules).trials(1))
    finish(finish(world, Purpose.PRETRAIN), Purpose.SEARCH)
    (teachers,) = compressing(world)
    (pretrained,) = world.of(Purpose.PRETRAIN)
    assert list(pretrained.spec.publishes.values()) == [teachers.spec.teachers["2"]]
    world.finish(teachers.index, 0.5)
    assert compressing(world)[1].spec.teachers == teachers.spec.publishes | teachers.spec.teachers
