"""The two resources as a user writes and reads them: GraphSearch and GraphTrial (design 4).

Types, bounds and defaults, reading a manifest, presets, reasons. It must not know how a search is decided or
where it runs. What is recorded of a trial while it runs is a GraphTrial's status, on a cluster as locally.
"""

from graphsearch.api.facts import SearchFacts
from graphsearch.api.graphsearch import (
    API_VERSION,
    Asha,
    AshaMode,
    Baseline,
    Budget,
    Comparison,
    DesiredState,
    Goal,
    GraphSearch,
    GraphSearchSpec,
    SamplerType,
    Scheduler,
)
from graphsearch.api.graphtrial import (
    Attempt,
    AttemptEnd,
    Decision,
    GraphTrial,
    GraphTrialSpec,
    GraphTrialStatus,
    Outcome,
    Rung,
)
from graphsearch.api.manifest import ManifestError, differences, read_manifest, write_manifest
from graphsearch.api.reasons import Reason
from graphsearch.api.space import AuxiliaryKind, EdgeKind, EdgeRule, Space
from graphsearch.api.trainer import CheckpointChoice, Metrics, MetricsSource, Trainer
from graphsearch.api.training import Preset, TrainingChoice, evaluations, resolve

__all__ = [
    "API_VERSION",
    "Asha",
    "AshaMode",
    "Attempt",
    "AttemptEnd",
    "AuxiliaryKind",
    "Baseline",
    "Budget",
    "CheckpointChoice",
    "Comparison",
    "Decision",
    "DesiredState",
    "EdgeKind",
    "EdgeRule",
    "Goal",
    "GraphSearch",
    "GraphSearchSpec",
    "GraphTrial",
    "GraphTrialSpec",
    "GraphTrialStatus",
    "ManifestError",
    "Metrics",
    "MetricsSource",
    "Outcome",
    "Preset",
    "Reason",
    "Rung",
    "SamplerType",
    "Scheduler",
    "SearchFacts",
    "Space",
    "Trainer",
    "TrainingChoice",
    "differences",
    "evaluations",
    "read_manifest",
    "resolve",
    "write_manifest",
]
