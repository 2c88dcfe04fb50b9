"""The recipe: the found graph as a manifest that can be run again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from graphsearch.api import Baseline, read_manifest
from graphsearch.api.manifest import parse_manifest
from graphsearch.report import SearchRecord
from graphsearch.report.recipe import recipe
from graphsearch.search.settled import settle
from graphsearch.search.simulator import Simulation
from graphtrial.contract import NodeKind, Purpose, ScoreOf, graph_digest

BORN_AGAIN = """
apiVersion: graphsearch.io/v1alpha1
kind: GraphSearch
metadata: {name: born-again}
spec:
  data: {dataset: digits}
  graphs:
    - name: unrelated
      nodes: [{name: "1", model: resnet8}]
      edges: [{source: Label, destination: "1", loss: {type: CrossEntropy}}]
    - name: first
      nodes: [{name: "1", model: resnet8}]
      edges: [{source: Label, destination: "1", loss: {type: CrossEntropy}}]
    - name: second
      nodes:
        - {name: "1", model: resnet8}
        - {name: teacher, kind: Frozen, model: resnet8, weights: {node: {graph: first, node: "1"}}}
      edges:
        - {source: Label, destination: "1", loss: {type: CrossEntropy}}
        - {source: teacher, destination: "1", loss: {type: KL, temperature: 2}}
  training: {length: {epochs: 2}}
  comparison: {repeats: 2, baselines: []}
"""


def test_a_recipe_holds_the_winners_graph(whole: SearchRecord, tmp_path: Path) -> None:
    """Graph transfer (spec 8): read by the manifest's reader it is the graph, with data, training, baselines, seed."""
    text = recipe(whole)
    assert text is not None
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    again = read_manifest(path)
    winner = next(trial for trial in whole.trials if trial.index == whole.facts.winner)
    assert [graph_digest(graph) for graph in again.spec.graphs] == [graph_digest(winner.spec.graph)]
    assert again.metadata.name == "three-resnets-recipe"
    assert (again.spec.data, again.spec.training) == (whole.manifest.spec.data, whole.manifest.spec.training)
    assert again.spec.comparison is not None
    assert (again.spec.comparison.baselines, again.spec.comparison.repeats) == (tuple(Baseline), 3)
    assert (again.spec.seed, again.spec.space) == (1, None)


def test_a_recipe_runs(whole: SearchRecord) -> None:
    """The simulated world plays it to its end, comparison included."""
    text = recipe(whole)
    assert text is not None
    ledger = Simulation(settle(parse_manifest(text)), lambda trial, _evaluation: 0.5 + 0.01 * trial.index).run()
    assert ledger.search.reason == "Completed"
    assert ledger.created[Purpose.COMPARE] == 3 * 4


def test_a_search_without_comparison_gets_one_in_its_recipe(played: Callable[..., SearchRecord], manifest: str) -> None:
    """On other data one wants to know how the graph does against the known methods."""
    text = recipe(played(manifest.replace("  comparison: {finalists: 3, repeats: 3}\n", "")))
    assert text is not None
    assert parse_manifest(text).spec.comparison is not None


def test_a_chosen_node_becomes_the_target(played: Callable[..., SearchRecord], manifest: str) -> None:
    """BestNode chose its node on validation images; the recipe keeps to it."""
    record = played(manifest.replace("scoreOf: TargetNode", "scoreOf: BestNode"))
    text = recipe(record)
    assert text is not None
    again = parse_manifest(text).spec
    assert record.facts.winner_node
    assert again.graphs[0].target_name == record.facts.winner_node
    assert again.objective.score_of is ScoreOf.TARGET_NODE


def test_a_recipe_keeps_the_stages_that_its_graph_starts_from(played: Callable[..., SearchRecord]) -> None:
    """Of a fixed list only what leads to the last graph is needed."""
    text = recipe(played(BORN_AGAIN))
    assert text is not None
    graphs = parse_manifest(text).spec.graphs
    assert [graph.name for graph in graphs] == ["first", "second"]
    assert graphs[1].node("teacher").kind is NodeKind.FROZEN


def test_a_long_name_stays_within_its_bound(played: Callable[..., SearchRecord], manifest: str) -> None:
    """Forty characters are the limit of a search's name."""
    text = recipe(played(manifest.replace("three-resnets", "a" * 32 + "-" + "b" * 7)))
    assert text is not None
    assert parse_manifest(text).metadata.name == "a" * 32 + "-recipe"


def test_without_a_graph_there_is_no_recipe(played: Callable[..., SearchRecord]) -> None:
    """A search in which everything diverged leaves nothing to run again."""
    record = played(curve=lambda _trial, _evaluation: float("nan"))
    assert (record.facts.reason, recipe(record)) == ("NoTrialCompleted", None)


@pytest.mark.parametrize("word", ["maxTrials", "goal", "scheduler"])
def test_a_recipe_leaves_out_what_only_a_search_needs(whole: SearchRecord, word: str) -> None:
    """A fixed graph is neither drawn nor stopped."""
    assert word not in (recipe(whole) or "")
