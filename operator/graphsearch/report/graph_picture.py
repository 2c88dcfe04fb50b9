"""A knowledge transfer graph as an SVG picture (spec 8): networks, who teaches whom, by which loss and gate.

Cut edges are left out, live ones are coloured by gate. The picture needs nothing from outside and no script; on a
page its classes may be restyled for a dark background.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from html import escape

from graphsearch.report.graph_layout import Box, Curve, arc, loop, on_circle, outside, place_labels, straight
from graphsearch.report.wording import GATES, gate_text, graph_text, loss_text
from graphtrial.contract import Edge, GateType, Graph, LossType, Node, NodeKind

GATE_COLOURS = {
    GateType.THROUGH: "#1f5fa8",
    GateType.LINEAR: "#b35300",
    GateType.NEGATIVE_LINEAR: "#7d6608",
    GateType.CORRECT: "#1b7a4b",
    GateType.SINE: "#7a3db8",
    GateType.THRESHOLD: "#b0245c",
}
"""Each has a contrast of at least 4.5 to white."""


class View(StrEnum):
    """What labels and colours of edges tell: a semi-supervised graph has one picture for each (fig 5.6)."""

    BOTH = ""
    """Loss and gate, coloured by gate."""
    GATES = "gates"
    """How much an edge weighs over training."""
    METHODS = "methods"
    """What is learnt along it."""


_METHODS = {
    LossType.CROSS_ENTROPY: "Labels",
    LossType.CONSISTENCY: "Consistency",
    LossType.PSEUDO_LABEL: "PseudoLabel",
    LossType.THRESHOLDED_PSEUDO_LABEL: "SurePseudoLabel",
}
"""By loss, how it is coloured; all others are transfer."""
METHODS = {
    "Labels": ("Labels: the ground truth", "#465263"),
    "Consistency": ("Consistency: the same answer for two views", "#1f5fa8"),
    "PseudoLabel": ("Pseudo-label: what the source takes it for", "#b35300"),
    "SurePseudoLabel": ("Sure pseudo-label: the same where the source is sure", "#b0245c"),
    "Transfer": ("Transfer: what the source says", "#1b7a4b"),
}
"""What a colour of the methods' picture means; each has a contrast of at least 4.5 to white."""

_STYLE = (
    """
.kg text{font-family:system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-size:13px;fill:#1d2530}
.kg-paper{fill:#fff}.kg-node{fill:#f4f6f9;stroke:#5b6675;stroke-width:1.5}
.kg-frozen{fill:#e3e8ef;stroke-dasharray:5 4}.kg-target{stroke:#111820;stroke-width:3}
.kg-idle{opacity:.45}.kg text.kg-name{font-weight:650;font-size:14px}.kg text.kg-small{font-size:12px;fill:#465263}
.kg-edge{fill:none;stroke-width:2}.kg-quiet{fill:none;stroke:#7b8794;stroke-width:1.5;stroke-dasharray:3 4}
.kg-label{fill:#fff;stroke-width:1.5}.kg text.kg-on{font-size:12px;stroke:none}.kg-tip{fill:#7b8794}
""".strip()
    + "".join(
        f"\n.kg-{gate.value}{{stroke:{colour}}}.kg text.kg-{gate.value},.kg-tip-{gate.value}{{fill:{colour}}}"
        for gate, colour in GATE_COLOURS.items()
    )
)
_METHOD_STYLE = "".join(
    f"\n.kg-{method}{{stroke:{colour}}}.kg text.kg-{method},.kg-tip-{method}{{fill:{colour}}}"
    for method, (_, colour) in METHODS.items()
)
_TRUNK_STYLE = "\n.kg-trunk{fill:none;stroke:#7b8794;stroke-width:5;opacity:.45}"

_SMALLEST = 0.62
"""To which a page may shrink the picture before its text is too small to read."""
_CHARACTER = 7.1
"""Mean width of a character of 13 px, a little generous: fonts differ."""


def draw(
    graph: Graph,
    scores: Mapping[str, str],
    *,
    target: str = "",
    idle: frozenset[str] = frozenset(),
    view: View = View.BOTH,
) -> str:
    """The picture.

    Args:
        graph: What to draw, of 1 to 16 nodes.
        scores: What stands in brackets, by node name.
        target: The node marked as the one that is scored, if one is.
        idle: Nodes that were not trained, because nothing scored depends on them.
        view: What edges tell.
    """
    places = on_circle(len(graph.nodes))
    texts = {node.name: _lines(node, scores, node.name == target, node.name in idle) for node in graph.nodes}
    boxes = {node.name: _box(place, texts[node.name]) for node, (place, _) in zip(graph.nodes, places, strict=True)}
    outwards = {node.name: angle for node, (_, angle) in zip(graph.nodes, places, strict=True)}
    tags = _tags(graph, boxes, outwards, view)
    trunks = _trunks(graph, boxes)
    quiet = _quiet(graph, boxes)
    edges = [edge for edge in graph.live_edges() if not edge.is_label]
    curves = _curves(edges, boxes, outwards)
    sizes = [(_CHARACTER * 0.93 * len(_edge_text(edge, view)) + 4, 16.0) for edge in edges]
    labels = place_labels(curves, sizes, [*boxes.values(), *(box for _, _, box in tags)])
    parts = [
        *(f'<path class="kg-trunk" d="{_path(curve)}"/>' for curve in trunks),
        *(_quiet_line(curve, view) for curve in quiet),
        *(_edge_line(edge, curve, view) for edge, curve in zip(edges, curves, strict=True)),
        *(_tag(edge, text, box, boxes[edge.destination], view) for edge, text, box in tags),
        *(_node(node, boxes[node.name], texts[node.name], node.name == target, idle) for node in graph.nodes),
        *(_edge_label(edge, box, view) for edge, box in zip(edges, labels, strict=True)),
    ]
    occupied = [
        *boxes.values(),
        *labels,
        *(box for _, _, box in tags),
        *(Box(x, y, 2, 2) for c in curves for x, y in c),
    ]
    return _page(graph, parts, occupied, view, quiet=bool(quiet), trunks=bool(trunks))


def _lines(node: Node, scores: Mapping[str, str], is_target: bool, is_idle: bool) -> list[str]:
    role = {
        NodeKind.TRAINED: "",
        NodeKind.FROZEN: "frozen",
        NodeKind.EMA: f"average of {node.follows}",
        NodeKind.ENSEMBLE: "ensemble",
    }[node.kind]
    roles = [role for role in ("target" if is_target else "", role, "not trained" if is_idle else "") if role]
    mean = f"mean of {node.average.value.lower()}" if node.members else f"decay {node.decay:g}"
    what = " · trunk ".join(part for part in (node.model, node.trunk) if part) or mean
    score = [f"({scores[node.name]})"] if node.name in scores else []
    return [" · ".join([node.name, *roles]), what, *score]


def _box(place: tuple[float, float], lines: list[str]) -> Box:
    return Box(*place, max(92.0, 1.12 * _CHARACTER * max(map(len, lines)) + 26), 18.0 * len(lines) + 16)


def _tags(
    graph: Graph, boxes: Mapping[str, Box], outwards: Mapping[str, float], view: View
) -> list[tuple[Edge, str, Box]]:
    """The ground truth, drawn once beside each network that learns from it: long label edges would cross all others."""
    tags: list[tuple[Edge, str, Box]] = []
    for edge in graph.live_edges():
        if edge.is_label:
            text = _edge_text(edge, view)
            angle = math.pi / 2 if math.sin(outwards[edge.destination]) > 0.45 else outwards[edge.destination]
            box = outside(boxes[edge.destination], angle, _CHARACTER * max(len(text), len("Label")) + 16, 38, 34)
            tags.append((edge, text, box))
    return tags


def _quiet(graph: Graph, boxes: Mapping[str, Box]) -> list[Curve]:
    """What carries no loss: who is averaged by whom."""
    pairs = [(node.follows, node.name) for node in graph.nodes if node.follows]
    pairs += [(member, node.name) for node in graph.nodes for member in node.members]
    return [straight(boxes[start], boxes[end]) for start, end in pairs]


def _trunks(graph: Graph, boxes: Mapping[str, Box]) -> list[Curve]:
    """Which nodes share layers: a line from each to the next of the same trunk."""
    members: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.trunk:
            members.setdefault(node.trunk, []).append(node.name)
    pairs = [pair for names in members.values() for pair in itertools.pairwise(names)]
    return [straight(boxes[start], boxes[end]) for start, end in pairs]


def _curves(edges: list[Edge], boxes: Mapping[str, Box], outwards: Mapping[str, float]) -> list[Curve]:
    lanes: Counter[tuple[str, str]] = Counter()
    curves: list[Curve] = []
    for edge in edges:
        pair = (edge.source, edge.destination)
        start, end = boxes[edge.source], boxes[edge.destination]
        same = edge.source == edge.destination
        curves.append(loop(start, outwards[edge.source], lanes[pair]) if same else arc(start, end, lanes[pair]))
        lanes[pair] += 1
    return curves


def _edge_text(edge: Edge, view: View) -> str:
    match view:
        case View.GATES:
            return gate_text(edge)
        case View.METHODS:
            return loss_text(edge)
        case View.BOTH:
            return f"{loss_text(edge)} · {gate_text(edge)}"


def _colour(edge: Edge, view: View) -> str:
    """The name of an edge's colour."""
    return _METHODS.get(edge.loss.type, "Transfer") if view is View.METHODS else edge.acting_gate.type.value


def _identity(name: str, view: View) -> str:
    """Unique on a page that has a picture of each view."""
    return f"kg-{name}-{view.value}" if view.value else f"kg-{name}"


def _edge_line(edge: Edge, curve: Curve, view: View) -> str:
    colour = _colour(edge, view)
    tip = _identity(f"tip-{colour}", view)
    return f'<path class="kg-edge kg-{colour}" marker-end="url(#{tip})" d="{_path(curve)}"/>'


def _quiet_line(curve: Curve, view: View) -> str:
    return f'<path class="kg-quiet" marker-end="url(#{_identity("tip-quiet", view)})" d="{_path(curve)}"/>'


def _edge_label(edge: Edge, box: Box, view: View) -> str:
    text = _text(box.x, box.y + 4, _edge_text(edge, view), f"kg-on kg-{_colour(edge, view)}")
    return _rectangle(box, 4, "kg-paper") + text


def _tag(edge: Edge, text: str, box: Box, node: Box, view: View) -> str:
    colour = _colour(edge, view)
    return "".join(
        (
            _edge_line(edge, straight(box, node), view),
            _rectangle(box, 19, f"kg-label kg-{colour}"),
            _text(box.x, box.y - 4, "Label", "kg-small"),
            _text(box.x, box.y + 12, text, f"kg-on kg-{colour}"),
        )
    )


def _node(node: Node, box: Box, lines: list[str], is_target: bool, idle: frozenset[str]) -> str:
    classes = ["kg-node"]
    classes += ["kg-frozen"] if node.kind is NodeKind.FROZEN else []
    classes += ["kg-target"] if is_target else []
    top = box.y - 9 * len(lines) + 14
    styles = ["kg-name", *[""] * (len(lines) - 1)]
    texts = [_text(box.x, top + 18 * row, line, styles[row]) for row, line in enumerate(lines)]
    group = ' class="kg-idle"' if node.name in idle else ""
    return f"<g{group}>{_rectangle(box, 10, ' '.join(classes))}{''.join(texts)}</g>"


def _page(graph: Graph, parts: list[str], occupied: list[Box], view: View, *, quiet: bool, trunks: bool) -> str:
    left = min(box.x - box.width / 2 for box in occupied) - 24
    right = max(box.x + box.width / 2 for box in occupied) + 24
    top = min(box.y - box.height / 2 for box in occupied) - 20
    bottom = max(box.y + box.height / 2 for box in occupied) + 24
    colours = _meanings(graph, view)
    entries = [(f"kg-edge kg-{name}", text) for name, text in colours.items()]
    entries += [("kg-quiet", "average of weights or of outputs: no loss")] if quiet else []
    entries += [("kg-trunk", "shared layers")] if trunks else []
    legend, height = _legend(entries, left + 24, bottom + 8, right - left - 48)
    width, height = right - left, bottom - top + height
    tips = [*((f"kg-tip-{name}", name) for name in colours), ("kg-tip", "quiet")]
    title, what = _identity("title", view), _identity("what", view)
    style = _STYLE + (_METHOD_STYLE if view is View.METHODS else "") + (_TRUNK_STYLE if trunks else "")
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="kg" role="img" aria-labelledby="{title} {what}" '
            f'viewBox="{left:.1f} {top:.1f} {width:.1f} {height:.1f}" width="{width:.0f}" height="{height:.0f}" '
            f'style="min-width:{_SMALLEST * width:.0f}px">',
            f'<title id="{title}">Knowledge transfer graph {escape(graph.name)}</title>',
            f'<desc id="{what}">{escape(graph_text(graph))}</desc>',
            f"<style>{style}</style>",
            f"<defs>{''.join(_tip(css, name, view) for css, name in tips)}</defs>",
            f'<rect class="kg-paper" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"/>',
            *parts,
            *legend,
            "</svg>\n",
        )
    )


def _meanings(graph: Graph, view: View) -> dict[str, str]:
    """What the colours that are there mean."""
    seen = {_colour(edge, view) for edge in graph.live_edges()}
    if view is View.METHODS:
        return {name: text for name, (text, _) in METHODS.items() if name in seen}
    return {gate.value: f"{gate.value}: {text}" for gate, text in GATES.items() if gate.value in seen}


def _legend(entries: list[tuple[str, str]], left: float, top: float, width: float) -> tuple[list[str], float]:
    """The meaning of the colours, in as many rows as it takes; and its height."""
    parts: list[str] = []
    x, y = left, top + 12
    for css, text in entries:
        needed = 34 + _CHARACTER * len(text) + 18
        if x > left and x + needed > left + width:
            x, y = left, y + 22
        parts.append(f'<path class="{css}" d="M{x:.1f} {y - 4:.1f}h26"/>')
        parts.append(f'<text class="kg-small" x="{x + 33:.1f}" y="{y:.1f}">{text}</text>')
        x += needed
    return parts, y - top + 14


def _tip(css: str, name: str, view: View) -> str:
    identity = _identity(f"tip-{name}", view)
    return (
        f'<marker id="{identity}" viewBox="0 0 10 10" refX="8.5" refY="5" markerWidth="11" markerHeight="11" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path class="{css}" d="M0 0.8L10 5L0 9.2z"/></marker>'
    )


def _rectangle(box: Box, radius: float, css: str) -> str:
    x, y = box.x - box.width / 2, box.y - box.height / 2
    size = f'width="{box.width:.1f}" height="{box.height:.1f}"'
    return f'<rect class="{css}" x="{x:.1f}" y="{y:.1f}" {size} rx="{radius:g}"/>'


def _text(x: float, y: float, text: str, css: str) -> str:
    return f'<text class="{css}" text-anchor="middle" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _path(curve: Curve) -> str:
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = curve
    return f"M{ax:.1f} {ay:.1f}C{bx:.1f} {by:.1f} {cx:.1f} {cy:.1f} {dx:.1f} {dy:.1f}"
