"""GraphSearch (short ``gs``): one search as a user writes it (design 4)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from graphsearch.api.compression import MOST_TEACHERS, Compression, Lesson
from graphsearch.api.maps import maps_of_compression, maps_of_graph, maps_of_space
from graphsearch.api.space import Space
from graphsearch.api.trainer import CheckpointChoice, Metrics, Trainer
from graphsearch.api.training import TrainingChoice, resolve, unit_problem
from graphtrial.contract import (
    DATASETS,
    UNLABELLED,
    Data,
    GateType,
    Graph,
    Metric,
    Model,
    NodeKind,
    Objective,
    Violation,
    gives_logits_only,
    image_side,
    needed_nodes,
    refuse,
    score_violations,
)

API_VERSION = "graphsearch.io/v1alpha1"

_NAME = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
_Text = Annotated[str, Field(max_length=1024)]
_SECONDS = 2**31 - 1
_Names = Annotated[str, Field(min_length=1, max_length=40, pattern=_NAME)]


class Goal(Objective):
    """What a search maximises, and when it is good enough."""

    goal: Annotated[float | None, Field(allow_inf_nan=False)] = None
    """No new graphs once a trial reaches this score at its last evaluation."""

    def problem(self) -> str | None:
        """Why no score reaches the goal, or each does; None where it is one."""
        is_loss = self.metric is Metric.NEGATIVE_LOG_LOSS
        if self.goal is None or (self.goal < 0 if is_loss else 0 < self.goal <= 1):
            return None
        right = "below 0" if is_loss else "above 0 and up to 1"
        return f"{self.goal:g} is no {self.metric} to reach; give a number {right}"


class AshaMode(StrEnum):
    """How a rung acts (design 5)."""

    STOPPING = "Stopping"
    """Training goes on while the decision is made; a weak trial is stopped."""
    PROMOTION = "Promotion"
    """A trial saves and ends at its rung; a promoted one is resumed."""


class Asha(Model):
    """Asynchronous successive halving (Li et al. 2018)."""

    mode: AshaMode = AshaMode.STOPPING
    """Stopping: training goes on while a rung decides. Promotion: a trial ends at its rung and may be resumed."""
    first_rung: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """The first evaluation at which a trial may be stopped; then every ``reductionFactor`` times it."""
    reduction_factor: Annotated[int, Field(ge=2, le=16)] = 2
    """eta: about one in so many goes on at each rung."""


class Scheduler(Model):
    """Who stops weak trials; without ``asha`` none is stopped."""

    asha: Asha | None = None
    """Asynchronous successive halving."""


class SamplerType(StrEnum):
    """How graphs are drawn."""

    RANDOM = "Random"


class Sampler(Model):
    """How graphs are drawn."""

    type: SamplerType = SamplerType.RANDOM
    """The way of drawing."""


class Budget(Model):
    """What a search may use; may be changed while it runs."""

    max_trials: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Search trials; pretraining and comparison come on top."""
    parallel_trials: Annotated[int, Field(ge=1, le=1000)] = 1
    """Trials of any purpose at a time."""
    max_failed_trials: Annotated[int, Field(ge=0, le=100_000)] = 10
    """With one more, the search ends."""
    max_gpu_hours: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    """Device hours of all trials together; on a machine without GPU the trials' own time."""
    deadline_seconds: Annotated[int | None, Field(ge=1, le=_SECONDS)] = None
    """From the start of the search; then it ends."""


class Baseline(StrEnum):
    """Known methods as graphs (spec 6), with the models of the graph that was found."""

    INDEPENDENT = "Independent"
    """Label edges only."""
    MUTUAL_LEARNING = "MutualLearning"
    """DML: all edges KL, Through, between untrained nodes."""
    DISTILLATION = "Distillation"
    """KD: a frozen pretrained teacher, KL at temperature 2."""
    ALL_THROUGH = "AllThrough"
    """The found graph's losses with every gate Through ("Fixed" in figure 3.9)."""


MOST_NETWORKS = {Baseline.MUTUAL_LEARNING: 8, Baseline.DISTILLATION: 14}
"""So that M label edges and M(M-1) others are at most 64, and M students, teacher and ensemble at most 16 nodes."""


class Comparison(Model):
    """What happens after the search: the best graphs again, then against the known methods (design 5)."""

    finalists: Annotated[int, Field(ge=1, le=20)] = 3
    """Best trials whose graphs are trained again."""
    repeats: Annotated[int, Field(ge=1, le=100)] = 5
    """Seeds for every finalist and for every contender of the comparison."""
    baselines: Annotated[tuple[Baseline, ...], Field(max_length=4)] = tuple(Baseline)
    """Known methods that the found graph is compared with."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.baselines)) < len(self.baselines):
            refuse("Comparison", [Violation(("baselines",), "names a baseline twice")])
        return self


class DesiredState(StrEnum):
    """What a user wants of a running search; Finishing and Cancelled are final."""

    RUNNING = "Running"
    PAUSED = "Paused"
    FINISHING = "Finishing"
    """No new graphs; running ones are saved and stopped; then the comparison."""
    CANCELLED = "Cancelled"


class GraphSearchSpec(Model):
    """What is searched, on which data, how long, and what happens to the best."""

    objective: Goal = Goal()
    data: Data
    space: Space | None = None
    """What graphs are drawn from."""
    graphs: Annotated[tuple[Graph, ...], Field(max_length=16)] = ()
    """A fixed list instead of ``space``: a recipe, or found graphs on new data."""
    training: TrainingChoice = TrainingChoice()
    """How networks are trained."""
    scheduler: Scheduler = Scheduler(asha=Asha())
    sampler: Sampler = Sampler()
    budget: Budget = Budget()
    comparison: Comparison | None = None
    """Left out: the best trial stands as it is."""
    compression: Compression | None = None
    trainer: Trainer = Trainer()
    checkpoint: CheckpointChoice = CheckpointChoice()
    metrics: Metrics = Metrics()
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
    """Every draw follows from it."""
    controller_name: _Text = ""
    """Which installation runs it, where there are several on one cluster."""
    ttl_seconds_after_finished: Annotated[int | None, Field(ge=0, le=_SECONDS)] = None
    """Then the search and its trials are deleted; what lies in storage stays. Left out: never."""
    desired_state: DesiredState = DesiredState.RUNNING
    """Finishing and Cancelled are final; Finishing may still become Cancelled."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse("GraphSearchSpec", self._violations())
        return self

    def _violations(self) -> list[Violation]:
        if problem := unit_problem(self.training):
            return [Violation(("training", "evaluateEvery"), problem)]
        if (self.space is None) == (not self.graphs):
            return [Violation((), "give either space (graphs are drawn) or graphs (a fixed list)")]
        return [
            *self._images(),
            *self._graph_names(),
            *self._graph_scores(),
            *self._stages(),
            *self._baselines(),
            *self._compressed(),
            *self._maps(),
        ]

    def _images(self) -> list[Violation]:
        """Counts that the data set cannot satisfy, where the catalogue knows its size."""
        known = DATASETS.get(self.data.dataset)
        if known is None or known.train_images is None:
            return []
        held_out = self.data.search_validation
        rest = known.train_images - (held_out.count or round((held_out.fraction or 0.0) * known.train_images))
        of = f"of the {known.train_images} training images of {self.data.dataset}"
        if rest < 1:
            return [Violation(("data", "searchValidation"), f"leaves none {of} to train on; ask for fewer")]
        labelled = self.data.labelled.count if self.data.labelled else rest
        if labelled > rest:
            return [Violation(("data", "labelled", "count"), f"{rest} {of} are left after the search validation")]
        training = resolve(self.training)
        found: list[Violation] = []
        if training.batch_size > labelled:
            message = f"{training.batch_size} is more than the {labelled} images to train on"
            found.append(Violation(("training", "batchSize"), message))
        without = rest if self.data.labelled is None or self.data.unlabelled_includes_labelled else rest - labelled
        if self._semi_supervised() and training.unlabelled.batch_size > without:
            message = f"{training.unlabelled.batch_size} is more than the {without} {of} that are left without labels"
            found.append(Violation(("training", "unlabelled", "batchSize"), message))
        return found

    def _semi_supervised(self) -> bool:
        """Whether a graph needs unlabelled images, or one that may be drawn."""
        drawn = self.space.edges if self.space else ()
        return any(graph.semi_supervised for graph in self.graphs) or any(
            UNLABELLED & set(rule.losses) and set(rule.gates) != {GateType.CUTOFF} for rule in drawn
        )

    def _graph_names(self) -> list[Violation]:
        found: list[Violation] = []
        seen: set[str] = set()
        for position, graph in enumerate(self.graphs):
            if not graph.name and len(self.graphs) > 1:
                found.append(Violation(("graphs", position, "name"), "is required where there are several graphs"))
            if graph.name and graph.name in seen:
                found.append(Violation(("graphs", position, "name"), f"{graph.name!r} is used twice"))
            seen.add(graph.name)
        return found

    def _graph_scores(self) -> list[Violation]:
        return [
            Violation(("graphs", position, *violation.location), violation.message)
            for position, graph in enumerate(self.graphs)
            for violation in score_violations(graph, self.objective.score_of)
        ]

    def _stages(self) -> list[Violation]:
        """A stage starts from a graph earlier in the list, so stages cannot form a circle."""
        found: list[Violation] = []
        earlier: dict[str, Graph] = {}
        for position, graph in enumerate(self.graphs):
            for number, node in enumerate(graph.nodes):
                start = node.weights.node if node.weights else None
                if start is None:
                    continue
                where = ("graphs", position, "nodes", number, "weights", "node")
                if start.graph not in earlier:
                    found.append(Violation((*where, "graph"), f"no graph {start.graph!r} stands earlier in the list"))
                elif start.node not in {other.name for other in earlier[start.graph].nodes if other.model}:
                    message = f"graph {start.graph!r} has no network {start.node!r}"
                    found.append(Violation((*where, "node"), message))
                elif earlier[start.graph].node(start.node).model != node.model:
                    found.append(Violation((*where, "node"), f"is not a {node.model}, which this node is"))
                elif start.node not in needed_nodes(earlier[start.graph], self.objective.score_of):
                    message = f"has no path to what graph {start.graph!r} is scored by, and is not trained there"
                    found.append(Violation((*where, "node"), message))
            earlier[graph.name] = graph
        return found

    def _baselines(self) -> list[Violation]:
        """Baselines are built from the models of the last graph; a drawn one is small enough for all of them."""
        if self.comparison is None or not self.graphs:
            return []
        networks = sum(node.kind is not NodeKind.ENSEMBLE for node in self.graphs[-1].nodes)
        found: list[Violation] = []
        for position, baseline in enumerate(self.comparison.baselines):
            most = MOST_NETWORKS.get(baseline, networks)
            if networks > most:
                message = f"{baseline} has at most {most} networks, and the last graph has {networks}; leave it out"
                found.append(Violation(("comparison", "baselines", position), message))
        return found

    def _compressed(self) -> list[Violation]:
        """The teachers are the networks of the last graph, or of a drawn one."""
        if self.compression is None:
            return []
        networks = [node for node in self.graphs[-1].nodes if node.kind is not NodeKind.ENSEMBLE] if self.graphs else []
        if len(networks) > MOST_TEACHERS:
            message = f"distils at most {MOST_TEACHERS} networks, and the last graph has {len(networks)}; leave it out"
            return [Violation(("compression",), message)]
        drawn = (*self.space.target_models, *self.space.auxiliary_models) if self.space else ()
        models = (self.compression.student, *drawn, *(node.model for node in networks))
        blind = next((model for model in models if gives_logits_only(model)), None)
        if blind is None or Lesson.PROBABILITY_AND_ATTENTION not in self.compression.lessons:
            return []
        message = f"{Lesson.PROBABILITY_AND_ATTENTION} needs attention maps, and {blind} has none; leave it out"
        return [Violation(("compression", "lessons"), message)]

    def _maps(self) -> list[Violation]:
        """Attention losses between maps of unequal size."""
        side = image_side(self.data.dataset, self.data.image_size)
        found = [
            Violation(("graphs", position, *violation.location), violation.message)
            for position, graph in enumerate(self.graphs)
            for violation in maps_of_graph(graph, side)
        ]
        drawn: tuple[str, ...] = ()
        if self.space is not None:
            drawn = (*self.space.target_models, *self.space.auxiliary_models)
            found += [Violation(("space", *each.location), each.message) for each in maps_of_space(self.space, side)]
        if self.compression is not None:
            teachers = (*drawn, *(node.model for graph in self.graphs[-1:] for node in graph.nodes))
            unequal = maps_of_compression(self.compression, teachers, side)
            found += [Violation(("compression", *each.location), each.message) for each in unequal]
        return found


class Metadata(Model):
    """What the API server keeps of an object beside its spec; what else it holds is ignored."""

    model_config = Model.model_config | {"extra": "ignore"}

    name: _Names
    """Trials, Jobs and pods are named after it."""
    namespace: _Text = "default"
    """All its objects live there."""


class GraphSearch(Model):
    """The manifest.

    Raises:
        ValidationError: With one problem per wrong field, each at its own location.
    """

    api_version: Literal["graphsearch.io/v1alpha1"]
    kind: Literal["GraphSearch"]
    metadata: Metadata
    spec: GraphSearchSpec
