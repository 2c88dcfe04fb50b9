"""The two resources as a user writes and reads them: GraphSearch and GraphTrial (design 4).

Types, bounds and defaults, reading a manifest, presets, reasons. It must not know how a search is decided or
where it runs. What is recorded of a trial while it runs is a GraphTrial's status, on a cluster as locally.
"""

from graphsearch.api.compression import Compression, Distillation, Lesson
from graphsearch.api.conditions import Condition, ConditionStatus, ConditionType, observed, timestamp
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
    GraphTrialObjectStatus,
    GraphTrialSpec,
    GraphTrialStatus,
    Outcome,
    Rung,
)
from graphsearch.api.manifest import (
    ManifestError,
    check_new,
    differences,
    parse_manifest,
    read_manifest,
    write_manifest,
)
from graphsearch.api.reasons import EventReason, MetricsReason, Reason, TrialReason
from graphsearch.api.search_status import (
    BestStatus,
    ContenderStatus,
    Cost,
    GraphSearchStatus,
    RungStatus,
    TrialCounts,
)
from graphsearch.api.space import EdgeKind, EdgeRule, PossibleEdge, Space, possible_edges, rule_for
from graphsearch.api.trainer import CheckpointChoice, Metrics, MetricsSource, Trainer
from graphsearch.api.training import Preset, TrainingChoice, evaluations, resolve

__all__ = [
    "API_VERSION",
    "Asha",
    "AshaMode",
    "Attempt",
    "AttemptEnd",
    "Baseline",
    "BestStatus",
    "Budget",
    "CheckpointChoice",
    "Comparison",
    "Compression",
    "Condition",
    "ConditionStatus",
    "ConditionType",
    "ContenderStatus",
    "Cost",
    "Decision",
    "DesiredState",
    "Distillation",
    "EdgeKind",
    "EdgeRule",
    "EventReason",
    "Goal",
    "GraphSearch",
    "GraphSearchSpec",
    "GraphSearchStatus",
    "GraphTrial",
    "GraphTrialObjectStatus",
    "GraphTrialSpec",
    "GraphTrialStatus",
    "Lesson",
    "ManifestError",
    "Metrics",
    "MetricsReason",
    "MetricsSource",
    "Outcome",
    "PossibleEdge",
    "Preset",
    "Reason",
    "Rung",
    "RungStatus",
    "SamplerType",
    "Scheduler",
    "SearchFacts",
    "Space",
    "Trainer",
    "TrainingChoice",
    "TrialCounts",
    "TrialReason",
    "check_new",
    "differences",
    "evaluations",
    "observed",
    "parse_manifest",
    "possible_edges",
    "read_manifest",
    "resolve",
    "rule_for",
    "timestamp",
    "write_manifest",
]
