"""Charts of what networks do beyond their scores (spec 8): how they differ, what they cost, which classes they know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import altair as alt

from graphsearch.report.charts import Spec, layered
from graphsearch.report.record import SearchRecord, contender_analyses
from graphtrial.contract import ENSEMBLE, Analysis

_COLOURS = ["#2b7bd0", "#c9772b", "#2a9d6f", "#cf4f43", "#7a3db8", "#7d6608", "#b0245c", "#8d97a5"]
_KINDS = ["one node", "ensemble of nodes"]
_MOST_PLACES = 6_000
"""Of a map in two dimensions."""


def diversity(record: SearchRecord) -> Spec | None:
    """MutualKL (4.2) against delta accuracy (4.4) of every pair of nodes, by contender; None without a pair."""
    points = [
        {
            "contender": name,
            "pair": f"{pair.first} and {pair.second}",
            "mutual": round(pair.mutual_kl, 4),
            "gain": round(100 * pair.delta_accuracy, 3),
        }
        for name, analyses in contender_analyses(record).items()
        for analysis in analyses
        for pair in analysis.pairs
    ]
    if not points:
        return None
    tooltip = ["contender:N", "pair:N", alt.Tooltip("mutual:Q", title="MutualKL"), alt.Tooltip("gain:Q", title="gain")]
    dots = (
        alt.Chart(alt.NamedData("points"))
        .mark_circle(size=80, opacity=0.75)
        .encode(
            x=alt.X("mutual:Q", title="MutualKL (nats)", scale=alt.Scale(zero=False)),
            y=alt.Y("gain:Q", title="gain of the pair's ensemble (points)", scale=alt.Scale(zero=False)),
            color=_colour("contender", contender_analyses(record)),
            tooltip=tooltip,
        )
    )
    return layered(320, {"points": points}, dots)


def efficiency(record: SearchRecord) -> Spec | None:
    """Accuracy against parameters: every node and every ensemble of nodes, by contender."""
    points: list[dict[str, Any]] = []
    for name, analyses in contender_analyses(record).items():
        points += _sizes(name, analyses[0])
    if len({(point["parameters"], point["accuracy"]) for point in points}) < 2:
        return None
    si = alt.Axis(format="~s", labelOverlap=True, tickCount=6)
    dots = (
        alt.Chart(alt.NamedData("points"))
        .mark_point(size=70, filled=True, opacity=0.8)
        .encode(
            x=alt.X("parameters:Q", title="parameters", scale=alt.Scale(type="log", nice=False, padding=20), axis=si),
            y=alt.Y("accuracy:Q", title="accuracy (%)", scale=alt.Scale(zero=False)),
            color=_colour("contender", contender_analyses(record)),
            shape=alt.Shape("kind:N", legend=None, scale=alt.Scale(domain=_KINDS, range=["square", "circle"])),
            tooltip=["contender:N", "nodes:N", alt.Tooltip("parameters:Q", format=",d"), "accuracy:Q"],
        )
    )
    return layered(320, {"points": points}, dots)


def _sizes(name: str, analysis: Analysis) -> list[dict[str, Any]]:
    found = [
        (node, output.parameters, output.accuracy, _KINDS[0])
        for node, output in analysis.outputs.items()
        if node != ENSEMBLE
    ]
    found += [
        (" + ".join(subset.members), subset.parameters, subset.accuracy, _KINDS[1]) for subset in analysis.subsets
    ]
    return [
        {"contender": name, "nodes": nodes, "parameters": parameters, "accuracy": round(100 * share, 2), "kind": kind}
        for nodes, parameters, share, kind in found
    ]


def recall(analysis: Analysis) -> Spec | None:
    """Recall of every class by every node, dark where it is good; None where nothing is known."""
    points = [
        {"node": node, "class": number, "recall": round(100 * share, 1)}
        for node, output in analysis.outputs.items()
        for number, share in enumerate(output.recall)
        if share is not None
    ]
    if not points:
        return None
    classes = max(len(output.recall) for output in analysis.outputs.values())
    axis = alt.Axis(labelAngle=0, labelOverlap=True, ticks=False)
    cells = (
        alt.Chart(alt.NamedData("points"))
        .mark_rect()
        .encode(
            x=alt.X("class:O", title=f"class (0 to {classes - 1})", axis=axis),
            y=alt.Y("node:N", title=None, sort=list(analysis.outputs)),
            color=alt.Color(
                "recall:Q",
                title="recall (%)",
                scale=alt.Scale(scheme="blues", domain=[0, 100]),
                legend=alt.Legend(orient="top", gradientLength=160),
            ),
            tooltip=["node:N", "class:O", "recall:Q"],
        )
    )
    return layered(34 * len(analysis.outputs) + 10, {"points": points}, cells)


def umap(places: list[dict[str, Any]]) -> Spec | None:
    """Where UMAP puts the attention maps, coloured by node."""
    if not places:
        return None
    step = -(-len(places) // _MOST_PLACES)
    axis = alt.Axis(labels=False, ticks=False, grid=False)
    dots = (
        alt.Chart(alt.NamedData("points"))
        .mark_circle(size=16, opacity=0.6)
        .encode(
            x=alt.X("x:Q", title="UMAP 1", scale=alt.Scale(zero=False), axis=axis),
            y=alt.Y("y:Q", title="UMAP 2", scale=alt.Scale(zero=False), axis=axis),
            color=_colour("node", list(dict.fromkeys(place["node"] for place in places))),
        )
    )
    return layered(380, {"points": places[::step]}, dots)


def _colour(field: str, names: Iterable[str]) -> alt.Color:
    """In the order of the names, the first as the found graph is coloured elsewhere; two columns fit a phone."""
    legend = alt.Legend(orient="top", columns=2, labelLimit=130)
    return alt.Color(f"{field}:N", title=None, scale=alt.Scale(domain=list(names), range=_COLOURS), legend=legend)
