"""One trial as the trainer gets it, and what it gives back.

The TrialSpec is complete: a trainer reads nothing else but data and checkpoints. Its fields are settled by the
searcher (presets resolved, teachers named), so that two trainers given one spec do the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from graphtrial.contract._base import Model, Violation, refuse
from graphtrial.contract.datasets import dataset_problem, place_problem
from graphtrial.contract.graph import Graph
from graphtrial.contract.graph_rules import ScoreOf, score_violations
from graphtrial.contract.parts import LossType
from graphtrial.contract.training import Aggregation, Count, Length, Training

SPEC_VARIABLE = "GRAPHTRIAL_SPEC"
"""The environment variable that holds the TrialSpec as JSON."""

Seed = Annotated[int, Field(ge=0, lt=2**53)]


class Metric(StrEnum):
    """What a score measures (spec 5.3); higher is better for each."""

    ACCURACY = "Accuracy"
    TOP5_ACCURACY = "Top5Accuracy"
    BALANCED_ACCURACY = "BalancedAccuracy"
    MACRO_F1 = "MacroF1"
    NEGATIVE_LOG_LOSS = "NegativeLogLoss"


class Objective(Model):
    """What a trial is judged by."""

    score_of: ScoreOf = ScoreOf.TARGET_NODE
    """Whose metric counts: that of the target, of the ensemble or of the best node."""
    metric: Metric = Metric.ACCURACY
    """What is measured."""


class Part(Model):
    """A part of the training images, as a count or a fraction; drawn stratified by class."""

    count: Count | None = None
    """That many images."""
    fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    """That part of the images."""
    seed: Seed = 0
    """Of the draw."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.count is None) == (self.fraction is None):
            refuse("Part", [Violation((), "give exactly one of count and fraction")])
        return self


class Labelled(Model):
    """How many of the training images keep their labels; drawn stratified by class, out of the rest."""

    count: Count
    """Images that keep their labels."""
    seed: Seed = 0
    """Of the draw."""


class Data(Model):
    """Which images, and how they are split."""

    dataset: Annotated[str, Field(max_length=200)]
    """A name of the catalogue or ``package.module:Name``."""
    uri: Annotated[str, Field(max_length=1024)] = ""
    """Where the files lie: a path, ``file://`` or ``s3://``; ``digits`` needs none."""
    image_size: Annotated[int, Field(ge=8, le=512)] | None = None
    """Side to which images of a folder are resized, in pixels; the catalogue's where left out."""
    search_validation: Part = Part(fraction=0.2)
    """Split off the training images first; searched on."""
    labelled: Labelled | None = None
    """Supervised graphs use only these images of the rest, the same ones in the search and in the comparison.

    To semi-supervised graphs the rest of the rest is unlabelled.
    """
    unlabelled_includes_labelled: bool = False
    """Whether the labelled images are among the unlabelled ones too, as in FixMatch's code."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        found = {"dataset": dataset_problem(self.dataset), "uri": place_problem(self.uri)}
        refuse("Data", [Violation((field,), problem) for field, problem in found.items() if problem])
        return self


class Split(StrEnum):
    """Which images a trial trains on and is scored on."""

    SEARCH = "Search"
    """Trained on the training images less the search validation, scored on that."""
    FULL = "Full"
    """Trained on all training images, or all labelled ones; the test images are scored once, at the last evaluation."""


class Purpose(StrEnum):
    """Why a trial runs; only Search counts against ``maxTrials``."""

    SEARCH = "Search"
    PRETRAIN = "Pretrain"
    FINALIST = "Finalist"
    COMPARE = "Compare"
    COMPRESS = "Compress"
    REPORT = "Report"


class Checkpoint(Model):
    """Where a trial's objects lie and how often it saves."""

    uri: str
    """Of this trial: ``file://`` or ``s3://``, without a slash at the end."""
    every: Length = Length(epochs=1)
    endpoint: str = ""
    """S3: address of the server; the credentials come from the environment."""
    region: str = ""
    path_style: bool = False


class Device(StrEnum):
    """Where the networks live."""

    CPU = "CPU"
    CUDA = "CUDA"


class TrialSpec(Model):
    """All that a trainer is told, as one JSON object.

    Raises:
        ValidationError: Also if nothing that the objective scores would learn (``graph.…``).
    """

    version: Literal["v1alpha1"] = "v1alpha1"
    search: str
    search_uid: str
    trial: str
    """The trial's name, ``<search>-t<index>``."""
    trial_uid: str
    attempt: Annotated[int, Field(ge=1)]
    purpose: Purpose = Purpose.SEARCH
    graph: Graph
    objective: Objective = Objective()
    data: Data
    split: Split = Split.SEARCH
    training: Training
    rungs: tuple[Count, ...] = ()
    """Evaluation numbers whose scores are reported at once and saved; the last evaluation always is."""
    stop_after: Count | None = None
    """Promotion: save and end (exit code 0) after this evaluation."""
    seed: Seed = 0
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    device: Device = Device.CPU
    checkpoint: Checkpoint
    teachers: dict[str, str] = Field(default_factory=dict)
    """For each node with weights from a teacher or another graph: the object's URI."""
    publish: dict[str, str] = Field(default_factory=dict)
    """For each node whose final weights other trials start from: the URI under which they are stored."""
    export: Annotated[str, Field(max_length=40)] = ""
    """The node that is stored as a program of its own at the end; empty: none."""
    cache: str = ""
    """A folder for decoded images, shared by all trials of a node; empty: none is kept."""
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """0: any free port, written into the object ``port`` beside the checkpoint."""

    @model_validator(mode="after")
    def _scored(self) -> Self:
        found = score_violations(self.graph, self.objective.score_of)
        refuse("TrialSpec", [Violation(("graph", *location), message) for location, message in found])
        refuse("TrialSpec", list(self._aggregated()))
        return self

    def _aggregated(self) -> Iterator[Violation]:
        learning = {edge.destination for edge in self.graph.live_edges()}
        if self.training.aggregation is not Aggregation.SUM and len(learning) > 1:
            message = f"{self.training.aggregation} is for graphs in which one node learns, and here {len(learning)} do"
            yield Violation(("training", "aggregation"), f"{message}; use {Aggregation.SUM}")
        if self.export and self.export not in learning:
            yield Violation(("export",), f"node {self.export!r} does not learn; name one that does")

    def to_json(self) -> dict[str, object]:
        """As ``Model.to_json``, with the version always there."""
        return super().to_json() | {"version": self.version}


class RungScore(Model):
    """The score of one evaluation, identified by (trial uid, rung)."""

    rung: Count
    """The evaluation's number, from 1."""
    score: float
    """May be NaN or infinite: it is recorded and always stops the trial."""


class Evaluation(Model):
    """One point of a trial's learning curves."""

    number: Count
    step: int
    score: float
    nodes: dict[str, float]
    """The metric of every evaluated node, and ``ensemble``."""
    losses: dict[str, float]
    """Mean training loss of every trained node since the previous evaluation."""
    seconds: float
    """Spent in training and evaluation so far, over all attempts."""
    learning_rate: float | None = None
    """Of the last update before it."""


class Conflict(Model):
    """How often the gradients of two sources' losses pointed against one another (tables 4.10, 4.11)."""

    loss: LossType
    """Of both: conflicts between losses of two kinds are not counted."""
    sources: tuple[str, str]
    """Names of the two nodes, in the order of the graph's edges."""
    count: int
    """Updates with a negative inner product, over the whole network, so far."""


class Exported(Model):
    """A program or weights that a network was stored as."""

    name: str
    """Of the object below ``exports/``, such as ``student.pt2``; empty: it could not be made."""
    kind: str
    """``safetensors``, ``torch.export`` or ``ONNX``."""
    shape: tuple[int, ...] = ()
    """Of one image that it takes: channels, height, width."""
    size: int = 0
    """Bytes."""
    difference: float = 0.0
    """Largest difference between its logits and the network's on sample images."""
    tolerance: float = 0.0
    """The difference that would have been too much."""
    problem: str = ""
    """Why it could not be made."""


class TrialResult(Model):
    """What a trial leaves beside its checkpoint (``reports/``), rewritten whole at each rung and at the end."""

    attempt: Annotated[int, Field(ge=1)]
    rungs: tuple[RungScore, ...] = ()
    """Every rung passed, by this attempt or one that it resumed from."""
    evaluations: tuple[Evaluation, ...] = ()
    steps: int = 0
    images: int = 0
    """Training images fed, each counted once however many nodes saw it."""
    seconds: float = 0.0
    """Spent by this attempt."""
    resumed_at: int = 0
    """The step at which this attempt took over; 0 for a fresh start."""
    saved_at: int = 0
    """The step of the latest checkpoint that was stored when this was said; above ``resumed_at`` if it got further."""
    exit_code: int | None = None
    """None while it runs."""
    message: str = ""
    """Why it ended, where the exit code does not say enough."""
    unused_nodes: tuple[str, ...] = ()
    """Nodes without a path to a scored node: not trained."""
    conflicts: tuple[Conflict, ...] = ()
    """Of each pair of sources with losses of one kind; empty where gradients are summed."""
    exports: tuple[Exported, ...] = ()
    """What the node that was to be exported is stored as."""
    exact: bool = True
    """False where it resumed on another thread count, torch version or kind of CPU: not bit-equal any more."""
