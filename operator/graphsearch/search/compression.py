"""The compression of the winning graph's networks into one: its trials, its choice, its end (spec 9).

    teachers on the search split  ->  every way of distilling, scored on the search validation  ->  the best way
    teachers on the full set      ->  the student, trained on the full set and scored once on the test images

No choice looks at a test image, that of the teachers included: they come from the first repeat of the finalists and
of the comparison that ended well, and only where there is none are they trained for this.

A compression is an ordinary graph of frozen teachers and one student. The losses are those of spec 9 as printed: KL has
T^2 in front, so the edge's weight is 1 / T^2; cross entropy is more by the teacher's entropy, which is a constant.
Where the winning graph learns from unlabelled images, so does the student: Consistency is the same loss on these.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping

from graphsearch.api import Compression, Distillation, GraphTrial, GraphTrialSpec, Lesson, Outcome
from graphsearch.search.contenders import contenders, found_name
from graphsearch.search.ledger import Ledger
from graphsearch.search.settled import Settled, seed_of
from graphsearch.search.teachers import node_key, preceding_graphs, published_keys, teacher_keys
from graphtrial.contract import (
    ENSEMBLE,
    LABEL,
    Average,
    Edge,
    Graph,
    Loss,
    LossType,
    Node,
    NodeKind,
    NodeOfGraph,
    Purpose,
    ScoreOf,
    Split,
    Weights,
    needed_nodes,
)


def taught_keys(
    settled: Settled, graph: Graph, score_of: ScoreOf, teachers: Mapping[str, str], split: Split, seed: int
) -> dict[str, str]:
    """What a run of the graph that may win publishes: a key for each network that learns; nothing without compression.

    Args:
        settled: The search.
        graph: Of the run.
        score_of: By which the run is scored: other networks than those that it needs do not learn.
        teachers: Keys of the weights that the run starts from.
        split: Of the run.
        seed: Of the run.
    """
    if settled.spec.compression is None:
        return {}
    names = [node.name for node in _networks(graph, score_of) if node.kind is not NodeKind.FROZEN]
    return {name: node_key(settled, graph, name, teachers, split, seed) for name in names}


def next_compression(settled: Settled, ledger: Ledger) -> list[GraphTrialSpec]:
    """Trials that are missing, to be numbered; empty where there is nothing to compress or no more to be done."""
    choice = settled.spec.compression
    if choice is None or not _teachers(settled, ledger):
        return []
    if trying := _missing_teachers(settled, ledger, Split.SEARCH) or _missing_tries(settled, ledger, choice):
        return trying
    way = chosen(ledger.of(Purpose.COMPRESS))
    if way is None:
        return []
    return _missing_teachers(settled, ledger, Split.FULL) or _missing_result(settled, ledger, way)


def compression_failure(settled: Settled, ledger: Ledger) -> str:
    """Why no network came out of a compression that is over; empty if one did, or none was asked for."""
    if settled.spec.compression is None or result_of(ledger.of(Purpose.COMPRESS)) is not None:
        return ""
    ended = [trial for trial in ledger.of(Purpose.COMPRESS) if trial.status.outcome is not Outcome.SUCCEEDED]
    if not ended:
        return "there is no network to distil: no run of the winning graph ended well, or none of its networks learns"
    return f"no network was distilled; the last trial, {ended[-1].name}: {ended[-1].status.message}"


def tries(trials: list[GraphTrial]) -> dict[Distillation, list[GraphTrial]]:
    """The runs of each way of distilling on the search split, in their order."""
    found: dict[Distillation, list[GraphTrial]] = {}
    for trial in trials:
        if trial.spec.distillation is not None and trial.spec.split is Split.SEARCH:
            found.setdefault(trial.spec.distillation, []).append(trial)
    return found


def mean_of(runs: list[GraphTrial]) -> float | None:
    """Mean score of the runs that ended well; None without one."""
    scores = [
        run.status.score for run in runs if run.status.outcome is Outcome.SUCCEEDED and run.status.score is not None
    ]
    return statistics.fmean(scores) if scores else None


def chosen(trials: list[GraphTrial]) -> Distillation | None:
    """The way that ranks first, the first among equals; None where none has a run that ended well."""
    ranked = {way: rank_of(runs) for way, runs in tries(trials).items() if mean_of(runs) is not None}
    return min(ranked, key=lambda way: ranked[way], default=None)


def rank_of(runs: list[GraphTrial]) -> tuple[int, float]:
    """Less is better: first how many runs of a way did not end well, then its mean, the sign turned."""
    mean = mean_of(runs)
    failed = sum(run.status.outcome is not Outcome.SUCCEEDED for run in runs)
    return failed, math.inf if mean is None else -mean


def result_of(trials: list[GraphTrial]) -> GraphTrial | None:
    """The trial that trained the student on the full set, if it ended well."""
    made = [trial for trial in trials if trial.spec.distillation is not None and trial.spec.split is Split.FULL]
    return next((trial for trial in made if trial.status.outcome is Outcome.SUCCEEDED), None)


def _missing_teachers(settled: Settled, ledger: Ledger, split: Split) -> list[GraphTrialSpec]:
    """Where no run has trained the winning graph on that split: it again, after the graphs that it starts from."""
    if _runs(settled, ledger, split):
        return []
    _, graph = _winning(settled, ledger)
    trained = [t.spec.graph for t in ledger.of(Purpose.COMPRESS) if t.spec.split is split]
    wanted = [*preceding_graphs(settled, graph), graph]
    return [_teaching(settled, each, split, wins=each is graph) for each in wanted if each not in trained]


def _teaching(settled: Settled, graph: Graph, split: Split, *, wins: bool) -> GraphTrialSpec:
    seed = settled.spec.seed
    teachers = teacher_keys(settled, graph, split, seed)
    publishes = published_keys(settled, graph, split, seed)
    if wins:
        publishes |= taught_keys(settled, graph, settled.final_score_of, teachers, split, seed)
    return GraphTrialSpec(
        search_ref=settled.name,
        index=0,
        purpose=Purpose.COMPRESS,
        graph=graph,
        seed=seed_of(seed, "teachers"),
        split=split,
        teachers=teachers,
        publishes=publishes,
    )


def _missing_tries(settled: Settled, ledger: Ledger, choice: Compression) -> list[GraphTrialSpec]:
    run = _first_that_succeeded(settled, ledger, Split.SEARCH)
    if run is None:
        return []
    known = {(way, run.spec.repeat) for way, runs in tries(ledger.of(Purpose.COMPRESS)).items() for run in runs}
    return [
        _distilling(settled, ledger, run, way, repeat)
        for repeat in range(choice.repeats)
        for way in choice.distillations()
        if (way, repeat) not in known
    ]


def _missing_result(settled: Settled, ledger: Ledger, way: Distillation) -> list[GraphTrialSpec]:
    run, trials = _first_that_succeeded(settled, ledger, Split.FULL), ledger.of(Purpose.COMPRESS)
    if run is None or any(t.spec.distillation and t.spec.split is Split.FULL for t in trials):
        return []
    return [_distilling(settled, ledger, run, way, 0)]


def _runs(settled: Settled, ledger: Ledger, split: Split) -> list[GraphTrial]:
    """Trials that trained the winning graph on a split and published its networks, by index."""
    _, graph = _winning(settled, ledger)
    found = found_name(settled)
    made = [
        *(t for t in ledger.of(Purpose.FINALIST) if t.spec.origin == ledger.search.winner),
        *(t for t in ledger.of(Purpose.COMPARE) if found in t.spec.contenders),
        *(t for t in ledger.of(Purpose.COMPRESS) if t.spec.distillation is None and t.spec.graph == graph),
    ]
    return [trial for trial in made if trial.spec.split is split]


def _first_that_succeeded(settled: Settled, ledger: Ledger, split: Split) -> GraphTrial | None:
    runs = _runs(settled, ledger, split)
    return next((run for run in runs if run.status.outcome is Outcome.SUCCEEDED), None)


def _winning(settled: Settled, ledger: Ledger) -> tuple[tuple[str, ...], Graph]:
    """The contender that the others are compared with, under all its names."""
    name = found_name(settled)
    return next((names, graph) for names, graph in contenders(settled, ledger) if name in names)


def _distilling(settled: Settled, ledger: Ledger, run: GraphTrial, way: Distillation, repeat: int) -> GraphTrialSpec:
    choice = settled.spec.compression
    assert choice is not None
    _, winning = _winning(settled, ledger)
    teachers = _teachers(settled, ledger)
    graph = compression_graph(winning, teachers, choice, way, named=found_name(settled))
    keys = run.spec.teachers | run.spec.publishes
    return GraphTrialSpec(
        search_ref=settled.name,
        index=0,
        purpose=Purpose.COMPRESS,
        graph=graph,
        seed=seed_of(settled.spec.seed, "compression", repeat),
        split=run.spec.split,
        repeat=repeat,
        distillation=way,
        teachers={node.name: keys[node.name] for node in teachers if node.name in keys},
    )


def _teachers(settled: Settled, ledger: Ledger) -> list[Node]:
    """The networks that teach: those that the winning graph needs for its score."""
    _, winning = _winning(settled, ledger)
    return _networks(winning, settled.final_score_of)


def compression_graph(
    winning: Graph, teachers: list[Node], choice: Compression, way: Distillation, named: str
) -> Graph:
    """Frozen teachers, the student, which is the target, and the teachers' ensemble.

    Args:
        winning: Whose nodes the teachers are.
        teachers: Which of them.
        choice: The student and what it learns beside.
        way: What it learns from the teachers.
        named: What the winning graph is called.
    """
    frozen = [_frozen(winning, node, named) for node in teachers]
    names = [node.name for node in frozen]
    student = next(name for name in _names_for_a_student() if name not in names)
    ensemble = Node(name=ENSEMBLE, kind=NodeKind.ENSEMBLE, members=tuple(names), average=Average.PROBABILITIES)
    sources = [ENSEMBLE] if way.lesson is Lesson.ENSEMBLE_PROBABILITY else names
    unlabelled = winning.uses_unlabelled({node.name for node in teachers})
    losses = [_probability(way, unlabelled=unlabelled)]
    if way.lesson is Lesson.PROBABILITY_AND_ATTENTION:
        losses.append(Loss(type=LossType.ATTENTION_TOGETHER, resize=choice.resize))
    edges = [Edge(source=source, destination=student, loss=loss) for loss in losses for source in sources]
    if choice.labels:
        edges.insert(0, Edge(source=LABEL, destination=student, loss=Loss(type=LossType.CROSS_ENTROPY)))
    nodes = (Node(name=student, model=choice.student), *frozen, ensemble)
    return Graph(nodes=nodes, edges=tuple(edges), target=student)


def _names_for_a_student() -> Iterator[str]:
    yield "student"
    yield from (f"student-{number}" for number in range(2, 18))


def _probability(way: Distillation, *, unlabelled: bool) -> Loss:
    kind = LossType.CONSISTENCY if unlabelled else LossType.KL
    return Loss(type=kind, temperature=way.temperature, weight=1 / way.temperature**2)


def _frozen(winning: Graph, node: Node, named: str) -> Node:
    """A network as it was when its training was over."""
    if node.kind is NodeKind.FROZEN:
        return node
    weights = Weights(node=NodeOfGraph(graph=named, node=node.name))
    return Node(name=node.name, kind=NodeKind.FROZEN, model=winning.model_of(node.name), weights=weights)


def _networks(graph: Graph, score_of: ScoreOf) -> list[Node]:
    """All networks that have learned something: those on no path to the score, and random ones, are none."""
    needed, fed = needed_nodes(graph, score_of), {edge.destination for edge in graph.live_edges()}
    return [
        node
        for node in graph.nodes
        if node.name in needed
        and (
            node.kind is NodeKind.FROZEN or (node.kind is not NodeKind.ENSEMBLE and (node.follows or node.name) in fed)
        )
    ]
