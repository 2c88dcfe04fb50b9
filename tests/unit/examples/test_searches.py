"""The searches of the thesis: each space of spec 5.2 with its size, score and trials, and its table of spec 7."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from graphsearch.api import GraphSearch, Space, possible_edges, read_manifest, resolve
from graphsearch.cli.main import main
from graphsearch.search.settled import settle
from graphsearch.search.space import distinct_size, draw, nominal_size
from graphtrial.contract import LABEL, Length, LossType, Node, NodeKind, ScoreOf

FOLDER = Path(__file__).parents[3] / "examples/searches"
SIX = {"KL", "ProbabilityApart", "AttentionTogether", "AttentionApart", "Together", "Apart"}
"""P+, P-, A+, A-, P+A+, P-A- (spec 2.2)."""
UNLABELLED = {"Consistency", "PseudoLabel", "ThresholdedPseudoLabel"}


class Row(NamedTuple):
    """A row of spec 5.2."""

    nodes: int
    score_of: ScoreOf
    trials: int
    isolated: str
    preset: str
    length: Length
    evaluations: int


ROWS = {
    "chapter-3-four-gates": Row(3, ScoreOf.TARGET_NODE, 1500, "Pretrained", "CIFAR", Length(epochs=200), 200),
    "chapter-3-sine": Row(3, ScoreOf.TARGET_NODE, 1500, "Pretrained", "CIFAR", Length(epochs=200), 200),
    "chapter-4-ensembles": Row(5, ScoreOf.ENSEMBLE, 6000, "Random", "EnsembleLargeImages", Length(epochs=300), 300),
    "chapter-4-cifar": Row(2, ScoreOf.ENSEMBLE, 6000, "Random", "Ensemble", Length(epochs=300), 300),
    "chapter-5-fixmatch": Row(2, ScoreOf.BEST_NODE, 60, "Pretrained", "FixMatch", Length(steps=2**20), 128),
    "chapter-5-diverse-cifar100": Row(
        3, ScoreOf.TARGET_NODE, 1500, "Pretrained", "DiverseCIFAR100", Length(steps=82_400), 200
    ),
    "chapter-5-diverse-cifar10": Row(
        3, ScoreOf.TARGET_NODE, 1500, "Pretrained", "DiverseCIFAR10", Length(steps=160_000), 200
    ),
}


def manifest_of(search: str) -> GraphSearch:
    """As a user would read it."""
    return read_manifest(FOLDER / f"{search}.yaml")


def space_of(search: str, nodes: int | None = None) -> Space:
    """Its space, with as many nodes."""
    space = manifest_of(search).spec.space
    assert space is not None
    return space.model_copy(update={"nodes": nodes}) if nodes else space


def test_every_space_of_the_thesis_is_there():
    """No file beside the rows of spec 5.2, and each says what it is."""
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(ROWS)
    assert all(path.read_text().startswith("# Chapter") for path in FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("search", ROWS)
def test_a_search_is_a_row_of_the_tables(search: str):
    """Nodes, score, trials, isolated nodes (spec 5.2, 10) and the training of spec 7, which stands in the preset."""
    spec, row = manifest_of(search).spec, ROWS[search]
    settled = settle(manifest_of(search))
    assert space_of(search).nodes == row.nodes
    assert (spec.objective.score_of, spec.budget.max_trials) == (row.score_of, row.trials)
    assert (space_of(search).isolated_nodes, spec.training.preset) == (row.isolated, row.preset)
    assert set(spec.training.to_json()) <= {"preset"}
    assert (settled.training.length, settled.evaluations) == (row.length, row.evaluations)
    assert settled.rungs[:4] == (1, 2, 4, 8)


@pytest.mark.parametrize("nodes", range(2, 8))
def test_sizes_of_chapter_3(nodes: int):
    """S^(N-1) G^(N^2) of spec 5.2, 2,359,296 for N = 3, S = 3, G = 4; Correct = Through on the N label edges."""
    space = space_of("chapter-3-four-gates", nodes)
    assert nominal_size(space) == 3 ** (nodes - 1) * 4 ** (nodes**2)
    assert distinct_size(space) == 3 ** (nodes - 1) * 3**nodes * 4 ** (nodes * (nodes - 1))
    assert nominal_size(space_of("chapter-3-four-gates")) == 2_359_296


@pytest.mark.parametrize("nodes", range(2, 6))
@pytest.mark.parametrize("search", ["chapter-4-ensembles", "chapter-4-cifar"])
def test_sizes_of_chapter_4(search: str, nodes: int):
    """24^(M(M-1)) 4^M nominal and 19^(M(M-1)) 3^M distinct (spec 5.2)."""
    space, pairs = space_of(search, nodes), nodes * (nodes - 1)
    assert nominal_size(space) == 24**pairs * 4**nodes
    assert distinct_size(space) == 19**pairs * 3**nodes


def test_sizes_of_chapter_5():
    """Three losses by three live gates or none: 10 ways; where 1 -> 2 is an EMA edge, 2 has no other (spec 5.2)."""
    fixmatch = space_of("chapter-5-fixmatch")
    assert nominal_size(fixmatch) == 4**2 * 12**2 * 12 * 16
    both_learn, second_follows = 4**2 * 10**2 * 10 * 10, 4 * 10 * 10
    assert distinct_size(fixmatch) == both_learn + second_follows
    for name in ("chapter-5-diverse-cifar100", "chapter-5-diverse-cifar10"):
        # Three losses by four live gates or none: 13 ways; every auxiliary node is one of two models.
        into_one = 4 * 13 * 13**2
        all_learn = into_one * (2 * into_one) ** 2
        one_follows = 2 * into_one * 2 * into_one * 2
        assert distinct_size(space_of(name)) == all_learn + one_follows + into_one
    assert nominal_size(space_of("chapter-3-sine")) is None


def test_the_choices_of_every_edge():
    """Losses and gates of each kind of edge are those of spec 5.2, the six designs of chapter 4 among them."""

    def choices(search: str) -> dict[str, tuple[set[str], set[str], bool]]:
        found: dict[str, tuple[set[str], set[str], bool]] = {}
        for source, destination, rule in possible_edges(space_of(search)):
            kind = "label" if source == LABEL else "self" if source == destination else f"{source}->{destination}"
            found[kind] = ({loss.value for loss in rule.losses}, {gate.value for gate in rule.gates}, rule.ema)
        return found

    four = {"Through", "Cutoff", "Linear", "Correct"}
    fading = {"Through", "Cutoff", "Linear", "NegativeLinear"}
    assert choices("chapter-3-four-gates")["1->3"] == ({"KL"}, four, False)
    assert choices("chapter-3-sine")["label"][1] == choices("chapter-3-sine")["2->1"][1] == {"Sine"}
    for search in ("chapter-4-ensembles", "chapter-4-cifar"):
        assert choices(search)["2->1"] == (SIX, four, False)
        assert choices(search)["label"] == (set(), four, False)
    assert choices("chapter-5-fixmatch") == {
        "label": (set(), fading, False),
        "self": (UNLABELLED, fading, False),
        "2->1": (UNLABELLED, fading, False),
        "1->2": (UNLABELLED, fading, True),
    }
    diverse = choices("chapter-5-diverse-cifar100")
    assert diverse == choices("chapter-5-diverse-cifar10")
    assert diverse["self"] == (UNLABELLED, fading | {"Threshold"}, False)
    assert diverse["2->1"] == (UNLABELLED, fading | {"Threshold"}, False)
    assert diverse["3->2"] == (UNLABELLED, fading | {"Threshold"}, True)


def test_parameters_of_drawn_gates_and_losses():
    """Frequency in [0, 1], phase in [0, 3/4 2 pi] (spec 5.1); crops of an ABN's map (spec 2.2); tau = 0.95 (5.5)."""
    sine = space_of("chapter-3-sine").gate_parameters.sine
    assert (sine.frequency.min, sine.frequency.max) == (0, 1)
    assert (sine.phase.min, sine.phase.max) == (0, pytest.approx(4.712389))
    assert space_of("chapter-4-ensembles").attention.crops == space_of("chapter-4-cifar").attention.crops == (3, 7, 11)
    assert space_of("chapter-5-fixmatch").gate_parameters.threshold.above == 0.95


def test_drawn_graphs_of_chapter_5_have_averages_teachers_and_self_edges():
    """Of the first 120 of each space; node 1 is never an average, and its model never another one (spec 1.1, 1.2)."""
    for search in ("chapter-5-fixmatch", "chapter-5-diverse-cifar100"):
        graphs = [draw(space_of(search), ROWS[search].score_of, 0, index) for index in range(120)]
        kinds = {node.kind for graph in graphs for node in graph.nodes}
        assert kinds == {NodeKind.TRAINED, NodeKind.EMA, NodeKind.FROZEN}
        assert any(edge.source == edge.destination for graph in graphs for edge in graph.live_edges())
        first = {graph.node("1").model for graph in graphs}
        assert first == set(space_of(search).target_models)


def test_chapter_4_keeps_what_nobody_teaches():
    """No node is pretrained: one with every gate cut stays random and trained by nothing (spec 1.1)."""
    graphs = [draw(space_of("chapter-4-cifar"), ScoreOf.ENSEMBLE, 0, index) for index in range(120)]

    def untaught(node: Node, index: int) -> bool:
        return all(edge.destination != node.name for edge in graphs[index].live_edges())

    isolated = [node for index, graph in enumerate(graphs) for node in graph.nodes if untaught(node, index)]
    assert isolated
    assert {node.kind for node in isolated} == {NodeKind.TRAINED}
    assert {edge.loss.type for graph in graphs for edge in graph.edges} == set(map(LossType, [*SIX, "CrossEntropy"]))


def test_batches_of_chapter_5_are_those_of_the_tables():
    """Labelled and unlabelled images of an update, and a strong view in table 5.1 alone (spec 7.3)."""

    def batches(search: str) -> tuple[int, int, str]:
        training = resolve(manifest_of(search).spec.training)
        return training.batch_size, training.unlabelled.batch_size, training.unlabelled.destination.value

    assert batches("chapter-5-fixmatch") == (64, 448, "RandAugment")
    assert batches("chapter-5-diverse-cifar100") == (31, 97, "PadCropFlip")
    assert batches("chapter-5-diverse-cifar10") == (50, 50, "PadCropFlip")


def test_preview_gives_the_size_of_a_space(capsys: pytest.CaptureFixture[str]):
    """As `graphsearch preview` prints it, before anything is spent."""
    assert main(["preview", str(FOLDER / "chapter-5-fixmatch.yaml")]) == 0
    assert "space: 2 nodes, 442,368 ways to draw a graph, 160,400 distinct" in capsys.readouterr().out


def gate_rows() -> dict[int, tuple[list[str], int]]:
    """Of the page of methods: by the number of kinds their list and how many graphs there are."""
    page = (FOLDER.parents[1] / "docs/methods.md").read_text()
    found = re.findall(r"^\| (\d) \| \[(.*)\] \| ([\d,]+) \|$", page, re.MULTILINE)
    return {int(kinds): (gates.split(", "), int(size.replace(",", ""))) for kinds, gates, size in found}


@pytest.mark.parametrize("kinds", range(1, 5))
def test_the_gate_ablation_is_a_search_a_row(kinds: int):
    """Table 3.5: each is chapter 3's with fewer gates, a valid space, of the size that the page of methods says."""
    gates, size = gate_rows()[kinds]
    space = space_of("chapter-3-four-gates")
    rules = [rule.model_dump() | {"gates": gates} for rule in space.edges]
    row = Space.model_validate(space.model_dump() | {"edges": rules})
    assert len(set(gates)) == kinds
    assert distinct_size(row) == size
    everything = [gate.value for gate in space.edges[0].gates]
    assert everything[:kinds] == gates
    graphs = [draw(row, ScoreOf.TARGET_NODE, 0, index) for index in range(40)]
    assert {edge.gate.type.value for graph in graphs for edge in graph.edges} <= set(gates)
