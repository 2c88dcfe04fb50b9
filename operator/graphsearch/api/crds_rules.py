"""Rules in CEL for what a user writes of a search or a trial: cross-field rules, and what is fixed from birth.

They are the rules that the models have too, as far as they can be said in CEL at a bounded cost; the operator judges
the rest. Where the two differ, the API server is the milder one.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphsearch.api.crds_graph_rules import exactly_one, is_live, kind_of, listed
from graphsearch.api.crds_schema import Rule, Rules
from graphsearch.api.graphsearch import MOST_NETWORKS, Comparison, GraphSearchSpec
from graphsearch.api.graphtrial import GraphTrialSpec
from graphsearch.api.manifest import MUTABLE
from graphsearch.api.space import EdgeRule, Range, SineParameters, Space
from graphsearch.api.trainer import Volume
from graphsearch.api.training import TrainingChoice
from graphtrial.contract import DATASETS, LABEL, UNLABELLED, LossType, Model

_CE = f"'{LossType.CROSS_ENTROPY}'"
_LOSSES = "self.?losses.orValue([])"
_LABEL_EDGE = f"(self.?kind.orValue('') == 'Label' || self.?from.orValue('') == '{LABEL}')"
_SELF_EDGE = "(self.?kind.orValue('') == 'Self' || (has(self.from) && has(self.to) && self.from == self.to))"
_EDGE_RULE = (
    Rule(
        "has(self.kind) != (has(self.from) || has(self.to))",
        "give either kind (Label, Transfer, Self) or from and to",
    ),
    Rule(
        f"!{_LABEL_EDGE} || {_LOSSES}.all(loss, loss == {_CE})",
        "a label edge has CrossEntropy; leave losses out",
        path=".losses",
    ),
    Rule(
        f"{_LABEL_EDGE} || {_LOSSES}.all(loss, loss != {_CE})",
        "CrossEntropy stands on label edges only; use KL between nodes",
        path=".losses",
    ),
    Rule(
        f"!{_SELF_EDGE} || {_LOSSES}.all(loss, loss in {listed(UNLABELLED)})",
        f"a self edge has one of {', '.join(sorted(UNLABELLED))}",
        path=".losses",
    ),
    Rule(
        f"!{_SELF_EDGE} || {_LOSSES}.size() > 0",
        "a self edge needs its losses named",
        path=".losses",
        reason="FieldValueRequired",
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

_NUMBERED = "self.nodes >= (name.matches('^[1-7]$') ? int(name) : 8)"
_UNKNOWN_END = (
    "self.edges.all(e, [e.?from.orValue('Label'), e.?to.orValue('1')].all(name, name == 'Label' || {numbered}))"
)
_SPACE = (
    Rule(
        "self.nodes == 1 || self.?auxiliaryModels.orValue([]).size() > 0",
        "is required where there is more than one node",
        path=".auxiliaryModels",
        reason="FieldValueRequired",
    ),
    Rule(
        _UNKNOWN_END.format(numbered=_NUMBERED),
        "from and to are nodes",
        path=".edges",
        shown='"from and to are among Label, 1 .. " + string(self.nodes)',
    ),
    Rule(f"self.edges.all(e, e.?to.orValue('') != '{LABEL}')", f"{LABEL} is a source only", path=".edges"),
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

_COMPARISON = (
    Rule(
        "self.baselines.all(name, self.baselines.exists_one(other, other == name))",
        "names a baseline twice",
        path=".baselines",
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

_SIZES = "{" + ", ".join(f"'{name}': {size.train_images}" for name, size in DATASETS.items() if size.train_images) + "}"
_COUNTED = f"!(self.data.dataset in {_SIZES})"
_HELD_OUT = (
    "(has(self.data.searchValidation.count) ? self.data.searchValidation.count : "
    f"int(self.data.searchValidation.?fraction.orValue(0.0) * double({_SIZES}[self.data.dataset])))"
)
_REST = f"({_SIZES}[self.data.dataset] - {_HELD_OUT})"
_BATCH = "self.training.?batchSize.orValue(self.training.preset == 'Ensemble' ? 128 : 64)"


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
    )


_GRAPHS = "self.?graphs.orValue([])"
_SCORED = "(g.?target.orValue('') == '' ? g.nodes[0].name : g.target)"
_STARTS = "n.?weights.node.hasValue()"
_EARLIER = "self.graphs.exists(j, h, j < i && h.?name.orValue('') == n.weights.node.graph && {network})"
_SAME_NETWORK = "h.nodes.exists(m, m.name == n.weights.node.node && m.?model.orValue('') == n.?model.orValue(''))"


def _most(baseline: str, networks: int) -> Rule:
    return Rule(
        f"!has(self.comparison) || {_GRAPHS}.size() == 0 || !('{baseline}' in self.comparison.baselines) || "
        f"self.graphs[self.graphs.size() - 1].nodes.filter(n, {kind_of('n')} != 'Ensemble').size() <= {networks}",
        f"{baseline} has at most {networks} networks, and the last graph has more; leave it out",
        path=".comparison.baselines",
    )


_LIST_OF_GRAPHS = (
    Rule(
        f"has(self.space) != ({_GRAPHS}.size() > 0)",
        "give either space (graphs are drawn) or graphs (a fixed list)",
    ),
    Rule(
        f"{_GRAPHS}.size() < 2 || self.graphs.all(g, g.?name.orValue('') != '')",
        "each needs a name where there are several",
        path=".graphs",
    ),
    Rule(
        f"{_GRAPHS}.all(g, self.graphs.exists_one(h, h.?name.orValue('') == g.?name.orValue('')))",
        "a name is used twice",
        path=".graphs",
    ),
    Rule(
        f"{_GRAPHS}.all(i, g, g.nodes.all(n, !{_STARTS} || {_EARLIER.format(network=_SAME_NETWORK)}))",
        "weights of another graph: name a network of the same model in a graph that stands earlier in the list",
        path=".graphs",
    ),
    Rule(
        f"self.objective.scoreOf != 'TargetNode' || {_GRAPHS}.all(g, "
        f"!g.nodes.exists(n, n.name == {_SCORED} && {kind_of('n')} == 'Frozen'))",
        "the scored node is frozen; score a node that learns",
        path=".graphs",
    ),
    Rule(
        f"self.objective.scoreOf != 'TargetNode' || {_GRAPHS}.all(g, "
        f"!g.nodes.exists(n, n.name == {_SCORED} && {kind_of('n')} == 'Trained') || "
        f"g.?edges.orValue([]).exists(e, e.destination == {_SCORED} && {is_live('e')}))",
        "the scored node learns nothing: give it an incoming edge that is not Cutoff",
        path=".graphs",
    ),
    *(_most(baseline, networks) for baseline, networks in MOST_NETWORKS.items()),
)

_TRIAL = (
    Rule(
        "self == oldSelf",
        "a trial's spec is fixed from birth; apply a trial of another name",
        reason="FieldValueForbidden",
    ),
    Rule(
        "self.?searchRef.orValue('') != '' || has(self.data)",
        "is required in a GraphTrial without searchRef",
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
    TrainingChoice: _TRAINING,
    Comparison: _COMPARISON,
    GraphSearchSpec: (*_LIST_OF_GRAPHS, *_images(), _DESIRED, *_FIXED),
    GraphTrialSpec: _TRIAL,
}
"""For every model that stands in a manifest, beside those of the trainer's contract."""
