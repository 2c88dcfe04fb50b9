"""Rules in CEL for what a user writes of a search or a trial: cross-field rules, and what is fixed from birth.

They are the rules that the models have too, as far as they can be said in CEL at a bounded cost; the operator judges
the rest. Where the two differ, the API server is the milder one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphsearch.api.compression import MOST_TEACHERS, Compression, Lesson
from graphsearch.api.crds_graph_rules import KNOWN_MODELS, exactly_one, is_live, kind_of, listed, named_like
from graphsearch.api.crds_schema import Rule, Rules
from graphsearch.api.graphsearch import MOST_NETWORKS, Comparison, Goal, GraphSearchSpec
from graphsearch.api.graphtrial import GraphTrialSpec
from graphsearch.api.manifest import MUTABLE
from graphsearch.api.space import EdgeRule, Range, SineParameters, Space
from graphsearch.api.trainer import Volume
from graphsearch.api.training import Preset, TrainingChoice, resolve
from graphtrial.contract import (
    DATASET_PATTERN,
    DATASETS,
    LABEL,
    MODEL_PATTERN,
    UNLABELLED,
    Data,
    LossType,
    Metric,
    Model,
    Training,
)

_CE = f"'{LossType.CROSS_ENTROPY}'"
_LABEL_EDGE = f"(self.?kind.orValue('') == 'Label' || self.?from.orValue('') == '{LABEL}')"
_SELF_EDGE = "(self.?kind.orValue('') == 'Self' || (has(self.from) && has(self.to) && self.from == self.to))"


def _losses(edges: str, rule: str, message: str) -> Rule:
    return Rule(f"!{edges} || !has(self.losses) || self.losses.all(loss, {rule})", message, path=".losses")


_EDGE_RULE = (
    Rule(
        "has(self.kind) != (has(self.from) || has(self.to))",
        "give either kind (Label, Transfer, Self) or from and to",
    ),
    _losses(_LABEL_EDGE, f"loss == {_CE}", "a label edge has CrossEntropy; leave losses out"),
    _losses(f"!{_LABEL_EDGE}", f"loss != {_CE}", "CrossEntropy stands on label edges only; use KL between nodes"),
    _losses(_SELF_EDGE, f"loss in {listed(UNLABELLED)}", f"a self edge has one of {', '.join(sorted(UNLABELLED))}"),
    Rule(
        f"!{_SELF_EDGE} || has(self.losses) && self.losses.size() > 0",
        f"a self edge needs one of {', '.join(sorted(UNLABELLED))}",
        path=".losses",
        reason="FieldValueRequired",
    ),
    Rule(
        f"!({_LABEL_EDGE} || {_SELF_EDGE}) || !self.?ema.orValue(false)",
        "an EMA edge leads from a node to another; leave ema out",
        path=".ema",
    ),
)

_RANGE = (Rule("self.min <= self.max", "is below min; give min <= max", path=".max"),)
_SINE = (
    Rule(
        "self.frequency.min >= 0.0 && self.frequency.max <= 1000.0",
        "lies outside 0 .. 1000",
        path=".frequency",
    ),
    Rule("self.phase.min >= 0.0 && self.phase.max <= 6.283185307179586", "lies outside 0 .. 2 pi", path=".phase"),
)

_NUMBERS = "{" + ", ".join(f"'{number}': {number}" for number in range(1, 8)) + "}"


def _numbered(name: str) -> str:
    return f"({name} in {_NUMBERS} && {_NUMBERS}[{name}] <= self.nodes)"


_SPACE = (
    *(
        Rule(
            f"!has(self.{field}) || self.{field}.all(name, {named_like('name', MODEL_PATTERN)})",
            f"names an unknown model; {KNOWN_MODELS}",
            path=f".{field}",
        )
        for field in ("targetModels", "auxiliaryModels")
    ),
    Rule(
        "self.nodes == 1 || has(self.auxiliaryModels) && self.auxiliaryModels.size() > 0",
        "more than one node needs them",
        path=".auxiliaryModels",
        reason="FieldValueRequired",
    ),
    Rule(
        f"self.edges.all(e, !has(e.from) || e.from == '{LABEL}' || {_numbered('e.from')})",
        f"an edge comes from no node of this space; from is {LABEL} or a number, '1' up to nodes",
        path=".edges",
    ),
    Rule(
        f"self.edges.all(e, !has(e.to) || {_numbered('e.to')})",
        "an edge leads to no node of this space; to is a number, '1' up to nodes",
        path=".edges",
    ),
)

_VOLUME = (
    Rule(
        exactly_one("persistentVolumeClaim", "emptyDir", "configMap", "secret", "ephemeral"),
        "give exactly one of persistentVolumeClaim, emptyDir, configMap, secret, ephemeral",
    ),
)

_TRAINING = (
    Rule(
        "has(self.length) && has(self.length.steps) == (has(self.evaluateEvery) && has(self.evaluateEvery.steps))"
        " || !has(self.length) && !(has(self.evaluateEvery) && has(self.evaluateEvery.steps))",
        "give it in the unit of the length: rungs are numbered before the data are read",
        path=".evaluateEvery",
    ),
)

_KNOWN_DATA = f"use one of {', '.join(DATASETS)} or package.module:Name"
_DATA = (
    Rule(
        named_like("self.dataset", DATASET_PATTERN),
        f"is no data set; {_KNOWN_DATA}",
        path=".dataset",
        shown=f'"unknown data set \'" + self.dataset + "\'; {_KNOWN_DATA}"',
    ),
    Rule(
        "!has(self.uri) || !self.uri.contains('://') || self.uri.startsWith('file://') || self.uri.startsWith('s3://')",
        "cannot be read; use a path, file:// or s3://",
        path=".uri",
    ),
)

_GOAL = (
    Rule(
        f"!has(self.goal) || (self.metric == '{Metric.NEGATIVE_LOG_LOSS}' ? self.goal < 0.0 : "
        "self.goal > 0.0 && self.goal <= 1.0)",
        f"no score reaches it, or each does; give a number above 0 and up to 1, below 0 for {Metric.NEGATIVE_LOG_LOSS}",
        path=".goal",
    ),
)

_COMPARISON = (
    Rule(
        "self.baselines.all(name, self.baselines.exists_one(other, other == name))",
        "names a baseline twice",
        path=".baselines",
    ),
)

_COMPRESSION = (
    Rule(
        named_like("self.student", MODEL_PATTERN),
        f"is no model; {KNOWN_MODELS}",
        path=".student",
    ),
    *(
        Rule(
            f"self.{field}.all(one, self.{field}.exists_one(other, other == one))",
            "names one twice",
            path=f".{field}",
        )
        for field in ("lessons", "temperatures", "aggregation")
    ),
    Rule(
        f"self.resize == 'None' || '{Lesson.PROBABILITY_AND_ATTENTION}' in self.lessons",
        f"is for {Lesson.PROBABILITY_AND_ATTENTION}; leave it out",
        path=".resize",
    ),
)


def _unchanged(field: str) -> str:
    return f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"


def _fixed_fields(kind: type[Model]) -> list[str]:
    names = [field.alias or name for name, field in kind.model_fields.items()]
    return [name for name in names if f"spec.{name}" not in MUTABLE]


_FIXED = tuple(
    Rule(
        _unchanged(field),
        f"is fixed from birth; apply a search of another name for another {field}",
        path=f".{field}",
        reason="FieldValueForbidden",
    )
    for field in _fixed_fields(GraphSearchSpec)
)

_DESIRED = Rule(
    "self.desiredState == oldSelf.desiredState || !(oldSelf.desiredState in ['Finishing', 'Cancelled'])"
    " || (oldSelf.desiredState == 'Finishing' && self.desiredState == 'Cancelled')",
    "Finishing and Cancelled are final (Finishing may become Cancelled); apply a new search",
    path=".desiredState",
    reason="FieldValueForbidden",
)


def _of_preset(value: Callable[[Training], int]) -> str:
    """An expression: what the manifest's preset says."""
    values = (f"'{preset}': {value(resolve(TrainingChoice(preset=preset)))}" for preset in Preset)
    return "{" + ", ".join(values) + "}[self.training.preset]"


_SIZES = "{" + ", ".join(f"'{name}': {size.train_images}" for name, size in DATASETS.items() if size.train_images) + "}"
_COUNTED = f"!(self.data.dataset in {_SIZES})"
_HELD_OUT = (
    "(has(self.data.searchValidation.count) ? self.data.searchValidation.count : "
    f"int(self.data.searchValidation.?fraction.orValue(0.0) * double({_SIZES}[self.data.dataset])))"
)
_REST = f"({_SIZES}[self.data.dataset] - {_HELD_OUT})"
_BATCH = f"self.training.?batchSize.orValue({_of_preset(lambda training: training.batch_size)})"
_UNLABELLED_BATCH = (
    f"self.training.?unlabelled.?batchSize.orValue({_of_preset(lambda training: training.unlabelled.batch_size)})"
)
_WITHOUT_LABELS = (
    f"(has(self.data.labelled) && !self.data.?unlabelledIncludesLabelled.orValue(false) ? "
    f"{_REST} - self.data.labelled.count : {_REST})"
)
_SEMI_SUPERVISED = (
    f"(has(self.space) && self.space.edges.exists(e, has(e.losses) && e.losses.exists(l, l in {listed(UNLABELLED)}) && "
    f"e.gates.exists(g, g != 'Cutoff')) || has(self.graphs) && self.graphs.exists(g, has(g.edges) && "
    f"g.edges.exists(e, {is_live('e')} && e.loss.type in {listed(UNLABELLED)})))"
)


def _images() -> Sequence[Rule]:
    """Counts that a data set cannot satisfy, where its size is known."""
    return (
        Rule(
            f"{_COUNTED} || {_REST} >= 1",
            "leaves no training image to train on; ask for fewer",
            path=".data.searchValidation",
        ),
        Rule(
            f"{_COUNTED} || !has(self.data.labelled) || self.data.labelled.count <= {_REST}",
            "is more than is left after the search validation",
            path=".data.labelled.count",
        ),
        Rule(
            f"{_COUNTED} || {_BATCH} <= (has(self.data.labelled) ? self.data.labelled.count : {_REST})",
            "is more than the images to train on",
            path=".training.batchSize",
        ),
        Rule(
            f"{_COUNTED} || !{_SEMI_SUPERVISED} || {_UNLABELLED_BATCH} <= {_WITHOUT_LABELS}",
            "is more than the images that are left without labels",
            path=".training.unlabelled.batchSize",
            at_birth=True,
        ),
    )


_SCORED = "(has(g.target) && g.target != '' ? g.target : g.nodes[0].name)"
_EARLIER = (
    "self.graphs.exists(j, h, j < i && has(h.name) && h.name == n.weights.node.graph && "
    "h.nodes.exists(m, m.name == n.weights.node.node && has(m.model) && has(n.model) && m.model == n.model))"
)


def _of_graphs(rule: str, message: str, path: str = ".graphs") -> Rule:
    return Rule(f"!has(self.graphs) || {rule}", message, path=path, at_birth=True)


def _last_has_at_most(networks: int) -> str:
    networks_of_last = f"self.graphs[self.graphs.size() - 1].nodes.filter(n, {kind_of('n')} != 'Ensemble')"
    return f"self.graphs.size() == 0 || {networks_of_last}.size() <= {networks}"


def _most(baseline: str, networks: int) -> Rule:
    return _of_graphs(
        f"!has(self.comparison) || !('{baseline}' in self.comparison.baselines) || {_last_has_at_most(networks)}",
        f"{baseline} has at most {networks} networks, and the last graph has more; leave it out",
        ".comparison.baselines",
    )


_LIST_OF_GRAPHS = (
    Rule(
        "has(self.space) != (has(self.graphs) && self.graphs.size() > 0)",
        "give either space (graphs are drawn) or graphs (a fixed list)",
    ),
    _of_graphs(
        "self.graphs.size() < 2 || self.graphs.all(g, has(g.name) && g.name != '')",
        "each needs a name where there are several",
    ),
    _of_graphs(
        f"self.graphs.all(i, g, g.nodes.all(n, !has(n.weights) || !has(n.weights.node) || {_EARLIER}))",
        "weights of another graph: name a network of the same model in a graph that stands earlier in the list",
    ),
    _of_graphs(
        "self.objective.scoreOf != 'TargetNode' || self.graphs.all(g, "
        f"!g.nodes.exists(n, n.name == {_SCORED} && {kind_of('n')} == 'Frozen'))",
        "the scored node is frozen; score a node that learns",
    ),
    _of_graphs(
        "self.objective.scoreOf != 'TargetNode' || self.graphs.all(g, "
        f"!g.nodes.exists(n, n.name == {_SCORED} && {kind_of('n')} == 'Trained') || "
        f"has(g.edges) && g.edges.exists(e, e.destination == {_SCORED} && {is_live('e')}))",
        "the scored node learns nothing: give it an incoming edge that is not Cutoff",
    ),
    *(_most(baseline, networks) for baseline, networks in MOST_NETWORKS.items()),
    _of_graphs(
        f"!has(self.compression) || {_last_has_at_most(MOST_TEACHERS)}",
        f"distils at most {MOST_TEACHERS} networks, and the last graph has more; leave it out",
        ".compression",
    ),
)

_TRIAL = (
    Rule(
        "self == oldSelf",
        "a trial's spec is fixed from birth; apply a trial of another name",
        reason="FieldValueForbidden",
    ),
    Rule(
        "has(self.searchRef) && self.searchRef != '' || has(self.data)",
        "a GraphTrial without searchRef needs its data",
        path=".data",
        reason="FieldValueRequired",
    ),
)

SPEC_RULES: Rules = {
    EdgeRule: _EDGE_RULE,
    Range: _RANGE,
    SineParameters: _SINE,
    Space: _SPACE,
    Volume: _VOLUME,
    Data: _DATA,
    Goal: _GOAL,
    TrainingChoice: _TRAINING,
    Comparison: _COMPARISON,
    Compression: _COMPRESSION,
    GraphSearchSpec: (*_LIST_OF_GRAPHS, *_images(), _DESIRED, *_FIXED),
    GraphTrialSpec: _TRIAL,
}
"""For every model that stands in a manifest, beside those of the trainer's contract."""
