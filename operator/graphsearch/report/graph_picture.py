"""A knowledge transfer graph as an SVG picture (spec 8): networks, who teaches whom, by which loss and gate.

Cut edges are left out, live ones are coloured by gate. The picture needs nothing from outside and no script; on a
page its classes may be restyled for a dark background.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from html import escape

from graphsearch.report.graph_layout import Box, Curve, arc, loop, on_circle, outside, place_labels, straight
from graphsearch.report.wording import GATES, gate_of, gate_text, graph_text, loss_text
from graphtrial.contract import Edge, GateType, Graph, Node, NodeKind

GATE_COLOURS = {
    GateType.THROUGH: "#1f5fa8",
    GateType.LINEAR: "#b35300",
    GateType.NEGATIVE_LINEAR: "#7d6608",
    GateType.CORRECT: "#1b7a4b",
    GateType.SINE: "#7a3db8",
    GateType.THRESHOLD: "#b0245c",
}
"""Each has a contrast of at least 4.5 to white."""

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

_SMALLEST = 0.62
"""To which a page may shrink the picture before its text is too small to read."""
_CHARACTER = 7.1
"""Mean width of a character of 13 px, a little generous: fonts differ."""


def draw(graph: Graph, scores: Mapping[str, str], *, target: str = "", idle: frozenset[str] = frozenset()) -> str:
    """The picture.

    Args:
        graph: What to draw, of 1 to 16 nodes.
        scores: What stands in brackets, by node name.
        target: The node marked as the one that is scored, if one is.
        idle: Nodes that were not trained, because nothing scored depends on them.
    """
    places = on_circle(len(graph.nodes))
    texts = {node.name: _lines(node, scores, node.name == target, node.name in idle) for node in graph.nodes}
    boxes = {node.name: _box(place, texts[node.name]) for node, (place, _) in zip(graph.nodes, places, strict=True)}
    outwards = {node.name: angle for node, (_, angle) in zip(graph.nodes, places, strict=True)}
    tags = _tags(graph, boxes, outwards)
    quiet = _quiet(graph, boxes)
    edges = [edge for edge in graph.live_edges() if not edge.is_label]
    curves = _curves(edges, boxes, outwards)
    sizes = [(_CHARACTER * 0.93 * len(_edge_text(edge)) + 4, 16.0) for edge in edges]
    labels = place_labels(curves, sizes, [*boxes.values(), *(box for _, _, box in tags)])
    parts = [
        *(_quiet_line(curve) for curve in quiet),
        *(_edge_line(edge, curve) for edge, curve in zip(edges, curves, strict=True)),
        *(_tag(edge, text, box, boxes[edge.destination]) for edge, text, box in tags),
        *(_node(node, boxes[node.name], texts[node.name], node.name == target, idle) for node in graph.nodes),
        *(_edge_label(edge, box) for edge, box in zip(edges, labels, strict=True)),
    ]
    occupied = [
        *boxes.values(),
        *labels,
        *(box for _, _, box in tags),
        *(Box(x, y, 2, 2) for c in curves for x, y in c),
    ]
    return _page(graph, parts, occupied)


def _lines(node: Node, scores: Mapping[str, str], is_target: bool, is_idle: bool) -> list[str]:
    role = {
        NodeKind.TRAINED: "",
        NodeKind.FROZEN: "frozen",
        NodeKind.EMA: f"average of {node.follows}",
        NodeKind.ENSEMBLE: "ensemble",
    }[node.kind]
    roles = [role for role in ("target" if is_target else "", role, "not trained" if is_idle else "") if role]
    what = node.model or (f"mean of {node.average.value.lower()}" if node.members else f"decay {node.decay:g}")
    score = [f"({scores[node.name]})"] if node.name in scores else []
    return [" · ".join([node.name, *roles]), what, *score]


def _box(place: tuple[float, float], lines: list[str]) -> Box:
    return Box(*place, max(92.0, 1.12 * _CHARACTER * max(map(len, lines)) + 26), 18.0 * len(lines) + 16)


def _tags(graph: Graph, boxes: Mapping[str, Box], outwards: Mapping[str, float]) -> list[tuple[Edge, str, Box]]:
    """The ground truth, drawn once beside each network that learns from it: long label edges would cross all others."""
    tags: list[tuple[Edge, str, Box]] = []
    for edge in graph.live_edges():
        if edge.is_label:
            text = _edge_text(edge)
            angle = math.pi / 2 if math.sin(outwards[edge.destination]) > 0.45 else outwards[edge.destination]
            box = outside(boxes[edge.destination], angle, _CHARACTER * len(text) + 16, 38, 34)
            tags.append((edge, text, box))
    return tags


def _quiet(graph: Graph, boxes: Mapping[str, Box]) -> list[Curve]:
    """What carries no loss: who is averaged by whom."""
    pairs = [(node.follows, node.name) for node in graph.nodes if node.follows]
    pairs += [(member, node.name) for node in graph.nodes for member in node.members]
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


def _edge_text(edge: Edge) -> str:
    return f"{loss_text(edge)} · {gate_text(edge)}"


def _edge_line(edge: Edge, curve: Curve) -> str:
    gate = gate_of(edge).type.value
    return f'<path class="kg-edge kg-{gate}" marker-end="url(#kg-tip-{gate})" d="{_path(curve)}"/>'


def _quiet_line(curve: Curve) -> str:
    return f'<path class="kg-quiet" marker-end="url(#kg-tip-quiet)" d="{_path(curve)}"/>'


def _edge_label(edge: Edge, box: Box) -> str:
    text = _text(box.x, box.y + 4, _edge_text(edge), f"kg-on kg-{gate_of(edge).type.value}")
    return _rectangle(box, 4, "kg-paper") + text


def _tag(edge: Edge, text: str, box: Box, node: Box) -> str:
    return "".join(
        (
            _edge_line(edge, straight(box, node)),
            _rectangle(box, 19, f"kg-label kg-{gate_of(edge).type.value}"),
            _text(box.x, box.y - 4, "Label", "kg-small"),
            _text(box.x, box.y + 12, text, f"kg-on kg-{gate_of(edge).type.value}"),
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


def _page(graph: Graph, parts: list[str], occupied: list[Box]) -> str:
    left = min(box.x - box.width / 2 for box in occupied) - 24
    right = max(box.x + box.width / 2 for box in occupied) + 24
    top = min(box.y - box.height / 2 for box in occupied) - 20
    bottom = max(box.y + box.height / 2 for box in occupied) + 24
    gates = [gate for gate in GATES if any(gate_of(edge).type is gate for edge in graph.live_edges())]
    legend, height = _legend(gates, left + 24, bottom + 8, right - left - 48)
    width, height = right - left, bottom - top + height
    tips = [*((f"kg-tip-{gate.value}", gate.value) for gate in gates), ("kg-tip", "quiet")]
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="kg" role="img" aria-labelledby="kg-title kg-what" '
            f'viewBox="{left:.1f} {top:.1f} {width:.1f} {height:.1f}" width="{width:.0f}" height="{height:.0f}" '
            f'style="min-width:{_SMALLEST * width:.0f}px">',
            f'<title id="kg-title">Knowledge transfer graph {escape(graph.name)}</title>',
            f'<desc id="kg-what">{escape(graph_text(graph))}</desc>',
            f"<style>{_STYLE}</style>",
            f"<defs>{''.join(_tip(css, name) for css, name in tips)}</defs>",
            f'<rect class="kg-paper" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"/>',
            *parts,
            *legend,
            "</svg>\n",
        )
    )


def _legend(gates: list[GateType], left: float, top: float, width: float) -> tuple[list[str], float]:
    """The meaning of the colours, in as many rows as it takes; and its height."""
    parts: list[str] = []
    x, y = left, top + 12
    for gate in gates:
        text = f"{gate.value}: {GATES[gate]}"
        needed = 34 + _CHARACTER * len(text) + 18
        if x > left and x + needed > left + width:
            x, y = left, y + 22
        parts.append(f'<path class="kg-edge kg-{gate.value}" d="M{x:.1f} {y - 4:.1f}h26"/>')
        parts.append(f'<text class="kg-small" x="{x + 33:.1f}" y="{y:.1f}">{text}</text>')
        x += needed
    return parts, y - top + 14


def _tip(css: str, name: str) -> str:
    return (
        f'<marker id="kg-tip-{name}" viewBox="0 0 10 10" refX="8.5" refY="5" markerWidth="11" markerHeight="11" '
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
