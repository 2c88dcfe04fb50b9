"""A small search of each chapter on 1,000 real images, from its manifest to its report (spec 5.2)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.local_runs import run
from tests.shared_data import some_images

from graphsearch.api import GraphTrial, Outcome, Reason
from graphsearch.local import Folder
from graphsearch.search.replay import contradictions
from graphsearch.search.settled import settle
from graphtrial.contract import Evaluation, LossType, Node, NodeKind, Purpose

EXAMPLES = Path(__file__).parents[2] / "examples/small"
TRAIN, TEST = 80, 20
"""Images of each of the ten classes."""


@dataclass(frozen=True)
class Run:
    """A search that has ended, with what it left."""

    folder: Folder
    page: str

    def trials(self, purpose: Purpose = Purpose.SEARCH) -> list[GraphTrial]:
        """By their index."""
        return [trial for _, trial in sorted(self.folder.ledger().trials.items()) if trial.spec.purpose is purpose]

    def evaluations(self, trial: GraphTrial) -> tuple[Evaluation, ...]:
        """Of its last attempt."""
        return self.folder.results(trial.index)[-1].evaluations

    def analysis(self, trial: GraphTrial) -> dict[str, Any]:
        """What it left of its networks."""
        text = (self.folder.path / f"trials/{trial.index}/analysis.json").read_text()
        found: dict[str, Any] = json.loads(text)
        return found

    def weights(self, trial: GraphTrial) -> list[dict[str, dict[str, torch.Tensor]]]:
        """Of every network at each checkpoint that is left, the oldest first."""
        files = sorted(
            (self.folder.path / f"trials/{trial.index}").glob("*.pt"),
            key=lambda path: int(path.stem.rpartition("-")[2]),
        )
        return [torch.load(path, weights_only=True)["networks"] for path in files]


class Text(HTMLParser):
    """What a reader sees of a page, and the identities of its parts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids |= {value for name, value in attrs if name == "id" and value}

    def handle_data(self, data: str) -> None:
        self.words += f" {data}"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Run]:
    """Runs the small search of a chapter, once."""
    root = tmp_path_factory.mktemp("small")
    images = some_images(root, train=TRAIN, test=TEST)

    @cache
    def searched(chapter: int) -> Run:
        text = (EXAMPLES / f"chapter-{chapter}.yaml").read_text()
        assert text.count("../data/thousand-images") == 1
        manifest = root / f"chapter-{chapter}.yaml"
        manifest.write_text(text.replace("../data/thousand-images", str(images)))
        folder = root / f"run-{chapter}"
        code, said = run(manifest, folder, with_umap=chapter == 4)
        assert code == 0, said
        return Run(Folder(folder), (folder / "report/index.html").read_text())

    return searched


@pytest.mark.parametrize("chapter", [3, 4, 5])
def test_a_small_search_ends_with_every_score_recorded(small: Callable[[int], Run], chapter: int):
    """Every trial ends as it should, decisions follow from scores, and the winner is compared on the test images.

    Which ones are stopped depends on the order of two trials' reports, and so on what else the machine does.
    """
    done = small(chapter)
    assert done.folder.facts().reason is Reason.COMPLETED
    searched = done.trials()
    assert len(searched) == done.folder.manifest().spec.budget.max_trials
    outcomes = [trial.status.outcome for trial in searched]
    assert Outcome.SUCCEEDED in outcomes
    assert set(outcomes) <= {Outcome.SUCCEEDED, Outcome.STOPPED}
    assert contradictions(settle(done.folder.manifest()), searched) == []
    for trial in searched:
        assert trial.status.rungs
        assert all(rung.score is not None and 0 <= rung.score <= 1 for rung in trial.status.rungs)
        learning = {edge.destination for edge in trial.spec.graph.live_edges()}
        for evaluation in done.evaluations(trial):
            assert set(evaluation.losses) == learning
            assert all(math.isfinite(loss) for loss in evaluation.losses.values())
    others = done.trials(Purpose.COMPARE) + done.trials(Purpose.PRETRAIN)
    assert others
    assert {trial.status.outcome for trial in others} == {Outcome.SUCCEEDED}


@pytest.mark.parametrize("chapter", [3, 4, 5])
def test_the_report_of_a_small_search_has_its_tables(small: Callable[[int], Run], chapter: int):
    """Rungs, comparison, cost and the networks' analysis, with the found graph's own words."""
    done = small(chapter)
    page = Text(done.page)
    assert {"headline", "graph", "comparison", "curves", "rungs", "cost", "outcomes", "networks", "classes"} <= page.ids
    assert "Independent" in page.words
    for trial in done.trials(Purpose.COMPARE):
        said = done.analysis(trial)
        assert said["images"] == 10 * TEST
        assert trial.status.nodes
        assert set(said["outputs"]) == set(trial.status.nodes)


def test_chapter_3_pretrains_its_teachers(small: Callable[[int], Run]):
    """Distillation's teacher is trained on labels before its student, on the same images (spec 1.1, 6)."""
    done = small(3)
    distilled = [trial for trial in done.trials(Purpose.COMPARE) if "Distillation" in trial.spec.contenders]
    keys = {key for trial in distilled for key in trial.spec.teachers.values()}
    assert keys
    assert keys <= {key for trial in done.trials(Purpose.PRETRAIN) for key in trial.spec.publishes.values()}


def test_chapter_4_is_scored_by_its_ensemble(small: Callable[[int], Run]):
    """The score is the ensemble's, maps and probabilities teach, and the analysis says where networks look."""
    done = small(4)
    losses = {edge.loss.type for trial in done.trials() for edge in trial.spec.graph.live_edges()}
    assert losses & {LossType.ATTENTION_TOGETHER, LossType.ATTENTION_APART, LossType.TOGETHER, LossType.APART}
    for trial in done.trials():
        for evaluation in done.evaluations(trial):
            assert evaluation.score == evaluation.nodes["ensemble"]
    assert {"attention", "chart-umap"} <= Text(done.page).ids


def test_chapter_5_trains_averages_and_self_edges(small: Callable[[int], Run]):
    """Averages move after what they follow and copy its buffers (5.2), and who learns from itself moves (5.9)."""
    done = small(5)
    averaged = [trial for trial in done.trials() if average_of(trial)]
    assert averaged
    for trial in averaged:
        (follower,) = average_of(trial)
        kept = done.weights(trial)
        average, followed = kept[-1][follower.name], kept[-1][follower.follows]
        assert moved(followed, average)
        assert all(torch.equal(value, followed[name]) for name, value in average.items() if "running" in name)
        assert all(moved(before[follower.name], average) for before in kept[:-1])
        assert all(follower.name in evaluation.nodes for evaluation in done.evaluations(trial))
    alone = [(trial, name) for trial in done.trials() for name in learning_from_itself_alone(trial)]
    assert alone
    for trial, name in alone:
        kept = done.weights(trial)
        assert all(moved(before[name], kept[-1][name]) for before in kept[:-1])
        assert all(evaluation.losses[name] > 0 for evaluation in done.evaluations(trial))
    for trial in done.trials():
        for evaluation in done.evaluations(trial):
            learners = [node.name for node in trial.spec.graph.nodes if node.kind is not NodeKind.FROZEN]
            assert evaluation.score == max(evaluation.nodes[name] for name in learners if name in evaluation.nodes)


def average_of(trial: GraphTrial) -> list[Node]:
    """The node that follows another, if one does."""
    return [node for node in trial.spec.graph.nodes if node.kind is NodeKind.EMA]


def learning_from_itself_alone(trial: GraphTrial) -> list[str]:
    """Nodes with a self edge and no other edge into them."""
    graph = trial.spec.graph
    sources = {
        node.name: {edge.source for edge in graph.live_edges() if edge.destination == node.name} for node in graph.nodes
    }
    return [name for name, found in sources.items() if found == {name}]


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> bool:
    """Whether any weight differs, buffers of BatchNorm aside."""
    return any(not torch.equal(before[name], after[name]) for name in before if name.endswith("weight"))
