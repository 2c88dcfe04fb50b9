"""What a graph may not be, in CEL: ``graphtrial.contract.graph_rules`` for the API server.

Nothing is filled in within a graph, so each expression says what a field left out means. What needs the paths of a
graph (whether the scored node learns through an ensemble) stays with the operator, and so do names of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graphsearch.api.crds_schema import Rule, Rules
from graphtrial.contract import (
    ATTENTION,
    ENSEMBLE,
    LABEL,
    MODEL_PATTERN,
    MODELS,
    TEMPERED,
    TORCHVISION_PATTERN,
    UNLABELLED,
    Edge,
    Gate,
    Graph,
    Length,
    Loss,
    LossType,
    Node,
    Part,
    Weights,
)

KNOWN_MODELS = f"use one of {', '.join(MODELS)}, torchvision:NAME, timm:NAME or package.module:Name"

_WORD = r"[\pL\pN_]"
"""Python's word characters, for RE2: there ``\\w`` is ASCII."""


def listed(names: Sequence[str] | frozenset[str]) -> str:
    """Names as a CEL list, in an order that does not change."""
    return "[" + ", ".join(f"'{name}'" for name in sorted(names)) + "]"


def exactly_one(*names: str) -> str:
    """An expression: one of these fields is given, and only one."""
    return f"[{', '.join(f'has(self.{name})' for name in names)}].filter(given, given).size() == 1"


def kind_of(node: str) -> str:
    """An expression: a node's kind."""
    return f"{node}.?kind.orValue('Trained')"


def gate_of(edge: str) -> str:
    """An expression: the type of an edge's gate."""
    return f"{edge}.?gate.type.orValue('Through')"


def is_live(edge: str) -> str:
    """An expression: whether an edge exists at all."""
    return f"{gate_of(edge)} != 'Cutoff'"


def named_like(name: str, pattern: str) -> str:
    """An expression: the whole name matches a pattern of the catalogue."""
    return f"{name}.matches(r'^({pattern.replace(chr(92) + 'w', _WORD)})$')"


def _only_for(field: str, default: str, allowed: str) -> str:
    return f"self.?{field}.orValue({default}) == {default} || {allowed}"


def _loss_rule(field: str, default: str, types: Sequence[LossType] | frozenset[LossType]) -> Rule:
    return Rule(
        _only_for(field, default, f"self.type in {listed(types)}"),
        f"only {', '.join(sorted(types))} have {field}; leave it out",
        path=f".{field}",
        shown=f'self.type + " has no {field}; leave it out"',
    )


def _gate_rule(field: str, default: str, gate: str) -> Rule:
    return Rule(
        _only_for(field, default, f"self.type == '{gate}'"),
        f"only {gate} has {field}; leave it out",
        path=f".{field}",
        shown=f'self.type + " has no {field}; leave it out"',
    )


_LOSS = (
    _loss_rule("temperature", "1.0", TEMPERED),
    _loss_rule("threshold", "0.95", [LossType.THRESHOLDED_PSEUDO_LABEL]),
    Rule(
        f"!has(self.crops) || self.crops.size() == 0 || self.type in {listed(ATTENTION)}",
        "only attention losses have crops; leave it out",
        path=".crops",
        shown='self.type + " has no crops; leave it out"',
    ),
    _loss_rule("resize", "'None'", ATTENTION),
)

_GATE = (
    _gate_rule("frequency", "0.0", "Sine"),
    _gate_rule("phase", "0.0", "Sine"),
    _gate_rule("threshold", "0.95", "Threshold"),
)

_EDGE = (
    Rule(
        f"(self.source == '{LABEL}') == (self.loss.type == '{LossType.CROSS_ENTROPY}')",
        "CrossEntropy stands on label edges, and nothing else does; other losses need a node",
        path=".loss",
    ),
    Rule(
        f"self.source != self.destination || self.loss.type in {listed(UNLABELLED)}",
        f"a self edge compares two views of unlabelled images: use {', '.join(sorted(UNLABELLED))}",
        path=".loss",
    ),
)

_WEIGHTS = (
    Rule(
        exactly_one("pretrained", "uri", "torchvision", "node"),
        "give exactly one of pretrained, uri, torchvision, node",
    ),
    Rule(
        "!has(self.uri) || self.uri.startsWith('/') || self.uri.startsWith('file:///') || self.uri.startsWith('s3://')",
        "names no object; use file:///folder/name.pt, an absolute path or s3://bucket/name.pt",
        path=".uri",
    ),
)

_NETWORK = f"{kind_of('self')} in ['Trained', 'Frozen']"
_EMA = f"{kind_of('self')} == 'EMA'"
_AVERAGE = f"{kind_of('self')} == 'Ensemble'"
_NODE = (
    Rule(f"self.name != '{LABEL}'", f"'{LABEL}' is the ground truth; choose another name", path=".name"),
    Rule(
        f"!({_NETWORK}) || self.?model.orValue('') != ''",
        KNOWN_MODELS,
        path=".model",
        reason="FieldValueRequired",
    ),
    Rule(
        f"self.?model.orValue('') == '' || {named_like('self.model', MODEL_PATTERN)}",
        f"is no model; {KNOWN_MODELS}",
        path=".model",
        shown=f'"unknown model \'" + self.model + "\'; {KNOWN_MODELS}"',
    ),
    Rule(
        f"{_NETWORK} || self.?model.orValue('') == ''",
        "only Trained and Frozen nodes have a model of their own; leave it out",
        path=".model",
    ),
    Rule(
        f"({_EMA}) == (self.?follows.orValue('') != '')",
        "is for EMA nodes and required there: the node that it averages",
        path=".follows",
    ),
    Rule(
        f"({_AVERAGE}) == (has(self.members) && self.members.size() > 0)",
        "is for Ensemble nodes and required there: the nodes that it averages",
        path=".members",
    ),
    Rule(_only_for("decay", "0.999", _EMA), "is for EMA nodes; leave it out", path=".decay"),
    Rule(_only_for("average", "'Logits'", _AVERAGE), "is for Ensemble nodes; leave it out", path=".average"),
    Rule(
        f"{kind_of('self')} != 'Frozen' || has(self.weights)",
        "a frozen node needs weights: pretrained, uri, torchvision or node",
        path=".weights",
        reason="FieldValueRequired",
    ),
    Rule(
        f"!has(self.trunk) || self.trunk == '' || ({kind_of('self')} == 'Trained' && !has(self.weights))",
        "is for Trained nodes that start from random weights; leave it out",
        path=".trunk",
    ),
    Rule(
        f"{_NETWORK} || !has(self.weights)",
        "only Trained and Frozen nodes have weights of their own; leave them out",
        path=".weights",
    ),
    Rule(
        f"!({_NETWORK}) || self.?weights.torchvision.orValue('') == '' || "
        f"has(self.model) && {named_like('self.model', TORCHVISION_PATTERN)}",
        "torchvision's weights are for models torchvision:NAME and for resnet18 to resnet152",
        path=".weights",
    ),
    Rule(
        "!has(self.members) || self.members.all(name, self.members.exists_one(other, other == name))",
        "names a node twice",
        path=".members",
    ),
)

_UNKNOWN_SOURCE = f"e.source != '{LABEL}' && !self.nodes.exists(n, n.name == e.source)"
_UNTRAINED = f"{is_live('e')} && self.nodes.exists(n, n.name == e.destination && {kind_of('n')} != 'Trained')"
_TWIN = "f.source == e.source && f.destination == e.destination && f.loss.type == e.loss.type"
_UNSUPERVISED = f"self.edges.exists(e, {is_live('e')} && e.loss.type in {listed(UNLABELLED)})"


def _of_edges(rule: str, message: str) -> Rule:
    return Rule(f"!has(self.edges) || {rule}", message, path=".edges")


_GRAPH = tuple(
    replace(rule, at_birth=True)
    for rule in (
        Rule("self.nodes.all(n, self.nodes.exists_one(m, m.name == n.name))", "a name is used twice", path=".nodes"),
        Rule(
            f"self.nodes.all(n, n.name != '{ENSEMBLE}' || {kind_of('n')} == 'Ensemble')",
            f"'{ENSEMBLE}' is the ensemble's score; choose another name",
            path=".nodes",
        ),
        Rule(
            "!has(self.target) || self.target == '' || self.nodes.exists(n, n.name == self.target)",
            "there is no such node; name one of this graph's",
            path=".target",
            shown='"there is no node \'" + self.target + "\'; name one of this graph\'s"',
        ),
        _of_edges(
            f"self.edges.all(e, !({_UNKNOWN_SOURCE}))",
            f"an edge comes from no node of this graph; sources are {LABEL} and the names of nodes",
        ),
        _of_edges(
            "self.edges.all(e, self.nodes.exists(n, n.name == e.destination))",
            "an edge leads to no node of this graph; destinations are names of nodes",
        ),
        _of_edges(f"self.edges.all(e, !({_UNTRAINED}))", "only a Trained node learns from an edge (or cut it)"),
        _of_edges(
            f"self.edges.all(i, e, !self.edges.exists(j, f, j < i && {_TWIN}))",
            "two edges have the same ends and the same loss",
        ),
        Rule(
            "self.nodes.all(n, !has(n.follows) || n.follows == '' || "
            f"self.nodes.exists(m, m.name == n.follows && {kind_of('m')} == 'Trained'))",
            "an EMA node follows a trained node of this graph",
            path=".nodes",
        ),
        Rule(
            "self.nodes.all(n, !has(n.members) || n.members.all(name, "
            f"self.nodes.exists(m, m.name == name && {kind_of('m')} != 'Ensemble')))",
            "members are trained, frozen or EMA nodes of this graph",
            path=".nodes",
        ),
        _of_edges(
            f"!{_UNSUPERVISED} || self.edges.all(e, e.source == '{LABEL}' || {gate_of('e')} != 'Correct')",
            "Correct needs labels, and this edge acts on unlabelled images; use Through, Linear or Threshold",
        ),
    )
)

_LENGTH = (Rule(exactly_one("epochs", "steps"), "give exactly one of epochs and steps"),)
_PART = (Rule(exactly_one("count", "fraction"), "give exactly one of count and fraction"),)

GRAPH_RULES: Rules = {
    Graph: _GRAPH,
    Node: _NODE,
    Weights: _WEIGHTS,
    Edge: _EDGE,
    Loss: _LOSS,
    Gate: _GATE,
    Length: _LENGTH,
    Part: _PART,
}
"""For every model of the trainer's contract that a manifest holds."""
