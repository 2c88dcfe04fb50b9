"""Where the parts of a graph's picture lie: boxes on a circle, cubic curves between them, labels that keep apart.

Pure geometry in pixels, y downwards. It must not know what an edge means or how it is painted.

Decided against: Graphviz (a binary that must be installed, and its edge labels push nodes of dense graphs far
apart) and force layouts (a picture should be the same each time, and seven nodes fit a circle).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Point = tuple[float, float]
Curve = tuple[Point, Point, Point, Point]
"""A cubic Bézier curve."""


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle around its centre."""

    x: float
    y: float
    width: float
    height: float

    def holds(self, point: Point, margin: float = 0.0) -> bool:
        """Whether a point lies within, or closer than ``margin``."""
        return abs(point[0] - self.x) < self.width / 2 + margin and abs(point[1] - self.y) < self.height / 2 + margin

    def overlap(self, other: Box) -> float:
        """The common area."""
        across = (self.width + other.width) / 2 - abs(self.x - other.x)
        down = (self.height + other.height) / 2 - abs(self.y - other.y)
        return max(0.0, min(across, self.width, other.width)) * max(0.0, min(down, self.height, other.height))


def on_circle(count: int) -> list[tuple[Point, float]]:
    """Centres of ``count`` boxes with the angle that points outwards: clockwise from the top, two side by side."""
    if count == 1:
        return [((0.0, 0.0), -math.pi / 2)]
    radius = 150.0 if count == 2 else 165.0 + 46.0 * (count - 3)
    start = math.pi if count == 2 else -math.pi / 2
    angles = [start + 2 * math.pi * number / count for number in range(count)]
    return [((1.2 * radius * math.cos(angle), radius * math.sin(angle)), angle) for angle in angles]


def outside(box: Box, angle: float, width: float, height: float, gap: float) -> Box:
    """A box of the given size beyond ``box`` in a direction, ``gap`` away from its edge."""
    across, down = math.cos(angle), math.sin(angle)
    reach = min(
        (box.width + width) / 2 / abs(across) if abs(across) > 1e-9 else math.inf,
        (box.height + height) / 2 / abs(down) if abs(down) > 1e-9 else math.inf,
    )
    return Box(box.x + across * (reach + gap), box.y + down * (reach + gap), width, height)


def arc(start: Box, end: Box, lane: int = 0) -> Curve:
    """From box to box, bent to its right, so that the way back lies beside it; further lanes bend more."""
    x, y = end.x - start.x, end.y - start.y
    bend = (0.2 + 0.22 * lane) * 2 / 3
    near = (start.x + x / 3 - y * bend, start.y + y / 3 + x * bend)
    far = (start.x + 2 * x / 3 - y * bend, start.y + 2 * y / 3 + x * bend)
    return clipped(((start.x, start.y), near, far, (end.x, end.y)), start, end)


def loop(box: Box, outwards: float, lane: int = 0) -> Curve:
    """From a box back to itself, beside its outward direction, on alternate sides."""
    side = 1 if lane % 2 == 0 else -1
    length = 240.0 + 50.0 * (lane // 2)
    near, far = (
        (box.x + length * math.cos(outwards + side * turn), box.y + length * math.sin(outwards + side * turn))
        for turn in (0.9, 1.6)
    )
    return clipped(((box.x, box.y), near, far, (box.x, box.y)), box, box)


def straight(start: Box, end: Box) -> Curve:
    """From box to box without a bend."""
    x, y = end.x - start.x, end.y - start.y
    near, far = (start.x + x / 3, start.y + y / 3), (start.x + 2 * x / 3, start.y + 2 * y / 3)
    return clipped(((start.x, start.y), near, far, (end.x, end.y)), start, end)


_STEPS = 100


def clipped(curve: Curve, start: Box, end: Box) -> Curve:
    """The part of a curve outside both boxes, with a little air before the end for an arrowhead."""
    times = [step / _STEPS for step in range(_STEPS + 1)]
    middle = max(times, key=lambda time: min(_away(point(curve, time), start), _away(point(curve, time), end)))
    inside = (time for time in times if time < middle and start.holds(point(curve, time), 2))
    first = max(inside, default=-1 / _STEPS) + 1 / _STEPS
    last = min((time for time in times if time > middle and end.holds(point(curve, time), 4)), default=1.0)
    return _part(curve, first, last)


def _away(place: Point, box: Box) -> float:
    return max(abs(place[0] - box.x) - box.width / 2, abs(place[1] - box.y) - box.height / 2)


def point(curve: Curve, time: float) -> Point:
    """Where a curve is at ``time``, 0 to 1."""
    a, b, c, d = ((1 - time) ** 3, 3 * time * (1 - time) ** 2, 3 * time**2 * (1 - time), time**3)
    p, q, r, s = curve
    return (a * p[0] + b * q[0] + c * r[0] + d * s[0], a * p[1] + b * q[1] + c * r[1] + d * s[1])


def _part(curve: Curve, first: float, last: float) -> Curve:
    """The curve between two times, by its blossom (de Casteljau)."""
    a, b, c, d = (
        _blossom(curve, *times)
        for times in ((first, first, first), (first, first, last), (first, last, last), (last, last, last))
    )
    return (a, b, c, d)


def _blossom(curve: Curve, *times: float) -> Point:
    points: list[Point] = list(curve)
    for time in times:
        points = [(p[0] + (q[0] - p[0]) * time, p[1] + (q[1] - p[1]) * time) for p, q in itertools.pairwise(points)]
    return points[0]


_PLACES = (0.5, 0.42, 0.58, 0.34, 0.66, 0.27, 0.73, 0.2, 0.8)


def place_labels(curves: Sequence[Curve], sizes: Sequence[tuple[float, float]], taken: Iterable[Box]) -> list[Box]:
    """A box on each curve for its label, where it covers least of other boxes, labels and curves.

    Args:
        curves: In the order in which labels choose.
        sizes: Width and height of each label.
        taken: Boxes that are there already.
    """
    boxes = list(taken)
    traces = [[point(curve, step / 24) for step in range(25)] for curve in curves]
    placed: list[Box] = []
    for number, (curve, size) in enumerate(zip(curves, sizes, strict=True)):
        candidates = [Box(*point(curve, time), *size) for time in _PLACES]
        others = [place for other, trace in enumerate(traces) if other != number for place in trace]
        best = min(candidates, key=lambda box: _covered(box, boxes, others) + 0.01 * candidates.index(box))
        placed.append(best)
        boxes.append(best)
    return placed


def _covered(box: Box, boxes: Sequence[Box], points: Sequence[Point]) -> float:
    return sum(box.overlap(other) for other in boxes) + 12.0 * sum(box.holds(place) for place in points)
