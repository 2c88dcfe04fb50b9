"""Records of searches that never ran: played by the simulated world, with made-up learning curves."""

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from graphsearch.api import GraphTrial, Outcome
from graphsearch.api.manifest import parse_manifest
from graphsearch.report import SearchRecord
from graphsearch.search.settled import settle
from graphsearch.search.simulator import Simulation
from graphtrial.contract import Evaluation, NodeKind, Purpose, TrialResult

MANIFEST = """
apiVersion: graphsearch.io/v1alpha1
kind: GraphSearch
metadata: {name: three-resnets}
spec:
  objective: {scoreOf: TargetNode, metric: Accuracy}
  data: {dataset: CIFAR100, uri: data/cifar100}
  space:
    nodes: 3
    targetModels: [resnet32]
    auxiliaryModels: [resnet32, resnet110, wrn-28-2]
  training: {length: {epochs: 16}}
  budget: {maxTrials: 24, parallelTrials: 4}
  comparison: {finalists: 3, repeats: 3}
  seed: 1
"""


def score(trial: GraphTrial, evaluation: int) -> float:
    """A rising curve whose height and speed belong to the trial."""
    seed = trial.spec.index if trial.spec.purpose is Purpose.SEARCH else 1000 + trial.spec.index
    draw = random.Random(seed)
    top, speed = draw.uniform(0.6, 0.75), draw.uniform(2, 6)
    return top * (1 - math.exp(-(evaluation + 1) / speed)) + random.Random(seed * 97 + evaluation).uniform(-0.01, 0.01)


Curve = Callable[[GraphTrial, int], float]


def play(text: str = MANIFEST, curve: Curve = score, **faults: Any) -> SearchRecord:
    """The record of the simulated search of a manifest."""
    manifest = parse_manifest(text)
    settled = settle(manifest)
    ledger = Simulation(settled, curve, **faults).run()
    trials = tuple(_with_nodes(trial) for trial in ledger.trials.values())
    results = {trial.index: (_result(trial, curve),) for trial in trials if trial.status.rungs}
    return SearchRecord(manifest, ledger.search, trials, results)


def _with_nodes(trial: GraphTrial) -> GraphTrial:
    """What a trainer reports at the end of a trial that succeeded: every node's own score."""
    last = trial.status.score
    if trial.status.outcome is not Outcome.SUCCEEDED or last is None:
        return trial
    nodes = [node.name for node in trial.spec.graph.nodes if node.kind is not NodeKind.ENSEMBLE]
    scores = {name: last - 0.01 * place for place, name in enumerate(nodes)} | {"ensemble": last + 0.01}
    return trial.model_copy(update={"status": trial.status.model_copy(update={"nodes": scores})})


def _result(trial: GraphTrial, curve: Curve) -> TrialResult:
    reached = trial.status.rungs[-1].evaluation
    evaluations = tuple(
        Evaluation(number=number, step=number * 100, score=curve(trial, number), nodes={}, losses={}, seconds=number)
        for number in range(1, reached + 1)
    )
    return TrialResult(attempt=1, evaluations=evaluations)


@pytest.fixture
def manifest() -> str:
    """A search of 24 trials, as a user writes it."""
    return MANIFEST


@pytest.fixture
def played() -> Callable[..., SearchRecord]:
    """Plays a manifest: ``played(text, curve=..., fault=...)``."""
    return play


@pytest.fixture(scope="session")
def whole() -> SearchRecord:
    """A search that ended well, with its comparison."""
    return play()
