"""GraphSearch (short ``gs``): one search as a user writes it (design 4).

All of it validates, also what this version cannot run yet; ``graphsearch.search.support`` says what that is.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from graphsearch.api.space import Space
from graphsearch.api.training import TrainingChoice, unit_problem
from graphtrial.contract import Data, Graph, Length, Model, NodeKind, Objective, Violation, refuse, score_violations

API_VERSION = "graphsearch.io/v1alpha1"

_NAME = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
_Text = Annotated[str, Field(max_length=1024)]
_Fragment = dict[str, Any]
_Names = Annotated[str, Field(min_length=1, max_length=40, pattern=_NAME)]


class Goal(Objective):
    """What a search maximises, and when it is good enough."""

    goal: Annotated[float | None, Field(allow_inf_nan=False)] = None
    """No new graphs once a trial reaches this score at its last evaluation."""


class AshaMode(StrEnum):
    """How a rung acts (design 5)."""

    STOPPING = "Stopping"
    """Training goes on while the decision is made; a weak trial is stopped."""
    PROMOTION = "Promotion"
    """A trial saves and ends at its rung; a promoted one is resumed."""


class Asha(Model):
    """Asynchronous successive halving (Li et al. 2018)."""

    mode: AshaMode = AshaMode.STOPPING
    first_rung: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """The first evaluation at which a trial may be stopped; then every ``reductionFactor`` times it."""
    reduction_factor: Annotated[int, Field(ge=2, le=16)] = 2


class Scheduler(Model):
    """Who stops weak trials; without ``asha`` none is stopped."""

    asha: Asha | None = None


class SamplerType(StrEnum):
    """How graphs are drawn."""

    RANDOM = "Random"


class Sampler(Model):
    """How graphs are drawn."""

    type: SamplerType = SamplerType.RANDOM


class Budget(Model):
    """What a search may use; may be changed while it runs."""

    max_trials: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Search trials; pretraining and comparison come on top."""
    parallel_trials: Annotated[int, Field(ge=1, le=1000)] = 1
    max_failed_trials: Annotated[int, Field(ge=0, le=100_000)] = 10
    max_gpu_hours: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    """Device hours of all trials together; on a machine without GPU the trials' own time."""
    deadline_seconds: Annotated[int | None, Field(ge=1)] = None


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


_MOST_NETWORKS = {Baseline.MUTUAL_LEARNING: 8, Baseline.DISTILLATION: 14}
"""So that M label edges and M(M-1) others are at most 64, and M students, teacher and ensemble at most 16 nodes."""


class Comparison(Model):
    """What happens after the search: the best graphs again, then against the known methods (design 5)."""

    finalists: Annotated[int, Field(ge=1, le=20)] = 3
    repeats: Annotated[int, Field(ge=1, le=100)] = 5
    baselines: Annotated[tuple[Baseline, ...], Field(max_length=4)] = tuple(Baseline)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.baselines)) < len(self.baselines):
            refuse("Comparison", [Violation(("baselines",), "names a baseline twice")])
        return self


class CacheVolume(Model):
    """Where decoded images are kept on a cluster."""

    claim_name: _Text


class LocalReference(Model):
    """Another object of the same namespace."""

    name: _Text


class Trainer(Model):
    """The pods that train, on a cluster. Locally only ``threads`` matters."""

    image: _Text = ""
    resources: _Fragment = Field(default_factory=dict)
    queue_name: _Text = ""
    cache_volume: CacheVolume | None = None
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: Annotated[tuple[_Fragment, ...], Field(max_length=32)] = ()
    affinity: _Fragment = Field(default_factory=dict)
    priority_class_name: _Text = ""
    runtime_class_name: _Text = ""
    image_pull_secrets: Annotated[tuple[LocalReference, ...], Field(max_length=16)] = ()
    env: Annotated[tuple[_Fragment, ...], Field(max_length=64)] = ()
    volumes: Annotated[tuple[_Fragment, ...], Field(max_length=32)] = ()
    volume_mounts: Annotated[tuple[_Fragment, ...], Field(max_length=32)] = ()
    service_account_name: _Text = ""
    start_deadline_seconds: Annotated[int, Field(ge=1)] = 3600


class CheckpointChoice(Model):
    """Where checkpoints lie; locally the search's folder, whatever stands here."""

    uri: _Text = ""
    endpoint: _Text = ""
    region: _Text = ""
    path_style: bool = False
    credentials_secret_ref: LocalReference | None = None
    every: Length = Length(epochs=1)


class MetricsSource(StrEnum):
    """Where rung scores are read."""

    PROMETHEUS = "Prometheus"
    DIRECT = "Direct"


class Fallback(StrEnum):
    """What is read while Prometheus does not answer."""

    DIRECT = "Direct"
    NONE = "None"


class Metrics(Model):
    """Where rung scores are read on a cluster; locally always from the trial itself."""

    source: MetricsSource = MetricsSource.PROMETHEUS
    fallback: Fallback = Fallback.DIRECT


class Compression(Model):
    """Distil the winning ensemble into one model (spec 9)."""

    student: _Text
    temperatures: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1, max_length=8)] = (
        1,
        2,
        5,
        10,
    )


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
    graphs: Annotated[tuple[Graph, ...], Field(max_length=16)] = ()
    """A fixed list instead of ``space``: a recipe, or found graphs on new data."""
    training: TrainingChoice = TrainingChoice()
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
    controller_name: _Text = ""
    ttl_seconds_after_finished: Annotated[int | None, Field(ge=0)] = None
    desired_state: DesiredState = DesiredState.RUNNING

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse("GraphSearchSpec", self._violations())
        return self

    def _violations(self) -> list[Violation]:
        if problem := unit_problem(self.training):
            return [Violation(("training", "evaluateEvery"), problem)]
        if (self.space is None) == (not self.graphs):
            return [Violation((), "give either space (graphs are drawn) or graphs (a fixed list)")]
        return [*self._graph_names(), *self._graph_scores(), *self._stages(), *self._baselines()]

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
            earlier[graph.name] = graph
        return found

    def _baselines(self) -> list[Violation]:
        """Baselines are built from the models of the last graph; a drawn one is small enough for all of them."""
        if self.comparison is None or not self.graphs:
            return []
        networks = sum(node.kind is not NodeKind.ENSEMBLE for node in self.graphs[-1].nodes)
        found: list[Violation] = []
        for position, baseline in enumerate(self.comparison.baselines):
            most = _MOST_NETWORKS.get(baseline, networks)
            if networks > most:
                message = f"{baseline} has at most {most} networks, and the last graph has {networks}; leave it out"
                found.append(Violation(("comparison", "baselines", position), message))
        return found


class Metadata(Model):
    """What the API server keeps of an object beside its spec; what else it holds is ignored."""

    model_config = Model.model_config | {"extra": "ignore"}

    name: _Names
    namespace: _Text = "default"


class GraphSearch(Model):
    """The manifest.

    Raises:
        ValidationError: With one problem per wrong field, each at its own location.
    """

    api_version: Literal["graphsearch.io/v1alpha1"]
    kind: Literal["GraphSearch"]
    metadata: Metadata
    spec: GraphSearchSpec
