"""The charts of a report, drawn by Altair: learning curves, rungs, the comparison.

One description serves twice: on the page, where it fills its card and answers the pointer, and as a picture of its
own (``as_svg``). Scores that are not finite have no place on an axis and are left out.
"""

from __future__ import annotations

import functools
import json
import math
import re
from typing import Any

import altair as alt
import vl_convert

from graphsearch.api import Decision, GraphTrial, Outcome
from graphsearch.report.markup import Html
from graphsearch.report.record import SearchRecord, contender_text, curve
from graphsearch.report.wording import METRICS, graph_text
from graphtrial.contract import Metric, Purpose

_FATES = {"reached its end": "#2b7bd0", "stopped early": "#8d97a5", "failed or cancelled": "#cf4f43", "runs": "#2a9d6f"}
_CROSS = "M-.7,-.7L.7,.7M-.7,.7L.7,-.7"
_LONGEST_TEXT = 240
"""Characters of a graph in a tooltip."""
_MOST_POINTS = 12_000
"""Of all curves together; beyond it each is thinned, so that the page opens fast."""

_VERSION = alt.SCHEMA_VERSION.rpartition(".")[0]
"""Of Vega-Lite, as vl_convert names it: the one that Altair writes for."""

Spec = dict[str, Any]
"""A chart as Vega-Lite."""
_Rows = list[dict[str, Any]]


def curves(record: SearchRecord, *, still: bool = False) -> Spec | None:
    """Every trial's learning curve with a cross where it was stopped; None without a single score.

    Args:
        record: The facts.
        still: For a picture: without what answers the pointer.
    """
    shown = [(trial, curve(record, trial)) for trial in record.searched]
    step = max(1, math.ceil(sum(len(points) for _, points in shown) / _MOST_POINTS))
    keep = {*record.settled.rungs, record.settled.evaluations}
    scale = _factor(record)
    points = [
        {"trial": trial.index, "evaluation": number, "score": round(score * scale, 4)}
        for trial, of_one in shown
        for place, (number, score) in enumerate(of_one)
        if number in keep or place % step == 0 or place == len(of_one) - 1
    ]
    if not points:
        return None
    ends = [
        {"trial": trial.index, "evaluation": of_one[-1][0], "score": round(of_one[-1][1] * scale, 4)}
        for trial, of_one in shown
        if of_one and trial.status.outcome is Outcome.STOPPED
    ]
    trials = [_trial(record, trial) for trial, of_one in shown if of_one]
    layers = _curves(record, trials, still)
    return layered(380, {"points": points, "ends": ends, "trials": trials}, *layers)


def _curves(record: SearchRecord, trials: _Rows, still: bool) -> list[alt.Chart]:
    about = alt.LookupData(alt.NamedData("trials"), "trial", ["graph", "fate", "found"])
    # Not nearest=True: there Vega-Lite 6.4 reads a tooltip's text fields from the wrong record ("undefined").
    near = alt.selection_point(on="pointerover", clear="pointerout", fields=["trial"], empty=False)
    x = alt.X("evaluation:Q", title="evaluation", scale=_evaluations(record), axis=_evaluation_axis(record))
    y = alt.Y("score:Q", title=_score_title(record), scale=alt.Scale(zero=False))
    fates = [fate for fate in _FATES if any(trial["fate"] == fate for trial in trials)]
    colour = alt.Color(
        "fate:N",
        title=None,
        scale=alt.Scale(domain=fates, range=[_FATES[fate] for fate in fates]),
        legend=alt.Legend(orient="top"),
    )
    base = alt.Chart(alt.NamedData("points")).transform_lookup("trial", about).encode(x=x, y=y, detail="trial:N")
    marked = "datum.found" if still else near | "datum.found"
    width = alt.when(marked).then(alt.value(3.2)).otherwise(alt.value(1.2))
    opacity = alt.when(marked).then(alt.value(1)).otherwise(alt.value(_faint(trials)))
    lines = base.mark_line().encode(color=colour, strokeWidth=width, opacity=opacity)
    crosses = (
        alt.Chart(alt.NamedData("ends"))
        .mark_point(shape=_CROSS, size=60, filled=False, strokeWidth=1.4, opacity=0.8, color="#c9772b")
        .encode(x=x, y=y)
    )
    tooltip = [
        alt.Tooltip("trial:Q", title="trial"),
        alt.Tooltip("evaluation:Q", title="evaluation"),
        alt.Tooltip("score:Q", title=_score_title(record), format=".4~g"),
        alt.Tooltip("fate:N", title="fate"),
        alt.Tooltip("graph:N", title="graph"),
    ]
    seen = alt.when(near).then(alt.value(0.6)).otherwise(alt.value(0))
    dots = base.mark_circle(size=120).encode(color=colour, opacity=seen, tooltip=tooltip).add_params(near)
    return [lines, crosses] if still else [lines, crosses, dots]


def _trial(record: SearchRecord, trial: GraphTrial) -> dict[str, Any]:
    fate = {
        None: "runs",
        Outcome.SUCCEEDED: "reached its end",
        Outcome.STOPPED: "stopped early",
    }.get(trial.status.outcome, "failed or cancelled")
    text = graph_text(trial.spec.graph)
    found = trial.index == record.facts.winner or (record.found is not None and trial == record.found.trial)
    short = text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
    return {"trial": trial.index, "graph": short, "fate": fate, "found": found}


def _faint(trials: _Rows) -> float:
    return 0.75 if len(trials) <= 30 else 0.45 if len(trials) <= 200 else 0.25


def _evaluations(record: SearchRecord) -> alt.Scale:
    """Rungs are powers: on a logarithmic axis they lie evenly where a training is long."""
    if record.settled.evaluations > 16 and record.settled.rungs:
        return alt.Scale(type="log", base=2, domain=[1, record.settled.evaluations], nice=False)
    return alt.Scale(domain=[1, max(2, record.settled.evaluations)], nice=False)


def _evaluation_axis(record: SearchRecord) -> alt.Axis:
    marks = sorted({*record.settled.rungs, record.settled.evaluations})
    if len(marks) > 1:
        return alt.Axis(values=marks, format="d")
    return alt.Axis(tickMinStep=1, format="d")


def rungs(record: SearchRecord) -> Spec | None:
    """The scores that each rung saw, and which of them went on; None without rungs."""
    scale = _factor(record)
    points = []
    for trial in record.of(Purpose.SEARCH):
        of_trial = trial.status.rungs
        points += [
            {
                "trial": trial.index,
                "rung": rung.evaluation,
                "score": round(rung.score * scale, 4),
                "decision": "went on" if rung.decision is Decision.CONTINUE or rung is not of_trial[-1] else "stopped",
            }
            for rung in of_trial
            if rung.evaluation in record.settled.rungs and math.isfinite(rung.score)
        ]
    if not points:
        return None
    colour = alt.Color(
        "decision:N",
        title=None,
        scale=alt.Scale(domain=["went on", "stopped"], range=["#2b7bd0", "#c9772b"]),
        legend=alt.Legend(orient="top"),
    )
    ticks = (
        alt.Chart(alt.NamedData("points"))
        .mark_tick(thickness=1.5, opacity=0.7)
        .encode(
            x=alt.X("rung:O", title="rung (evaluation)", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("score:Q", title=_score_title(record), scale=alt.Scale(zero=False)),
            color=colour,
            tooltip=[alt.Tooltip("trial:Q"), alt.Tooltip("score:Q", title=_score_title(record)), "decision:N"],
        )
    )
    return layered(280, {"points": points}, ticks)


def comparison(record: SearchRecord) -> Spec | None:
    """Each repeat's test score of every contender, with the mean; None without a comparison."""
    scale = _factor(record)
    order = [contender_text(row) for row in record.comparison]
    points = [
        {"contender": name, "repeat": repeat + 1, "score": round(score * scale, 4)}
        for name, row in zip(order, record.comparison, strict=True)
        for repeat, score in row.scores.items()
    ]
    if not points:
        return None
    base = alt.Chart(alt.NamedData("points")).encode(
        x=alt.X("score:Q", title=_score_title(record, "test"), scale=alt.Scale(zero=False)),
        y=alt.Y("contender:N", title=None, sort=order, axis=alt.Axis(labelLimit=150)),
    )
    tooltip = [alt.Tooltip("contender:N"), alt.Tooltip("repeat:Q"), alt.Tooltip("score:Q")]
    dots = base.mark_circle(size=70, opacity=0.65, color="#2b7bd0").encode(tooltip=tooltip)
    means = base.mark_tick(thickness=3, size=26, color="#c9772b").encode(x="mean(score):Q")
    return layered(44 * len(order) + 10, {"points": points}, dots, means)


def layered(height: int, datasets: dict[str, _Rows], *layers: alt.Chart) -> Spec:
    """Layers at the width of the card that holds them. Data are put in last: Altair would check every row."""
    view = alt.Config(view=alt.ViewConfig(strokeOpacity=0))
    chart = alt.LayerChart(layer=list(layers), width="container", height=height, config=view)
    return chart.to_dict() | {"datasets": datasets}


def _factor(record: SearchRecord) -> float:
    return 1.0 if record.manifest.spec.objective.metric is Metric.NEGATIVE_LOG_LOSS else 100.0


def _score_title(record: SearchRecord, images: str = "") -> str:
    metric = record.manifest.spec.objective.metric
    where = images or ("test" if record.manifest.spec.graphs else "validation")
    return f"{where} {METRICS[metric]}" + ("" if metric is Metric.NEGATIVE_LOG_LOSS else " (%)")


def as_json(spec: Spec) -> Html:
    """A chart's description, safe inside an HTML script element."""
    text = json.dumps(spec, separators=(",", ":"), allow_nan=False)
    return Html(text.replace("<", "\\u003c"))


def as_svg(spec: Spec) -> str:
    """The chart as a picture, 760 pixels wide."""
    fixed = spec | {"width": 760, "background": "white"}
    svg: str = vl_convert.vegalite_to_svg(fixed, vl_version=_VERSION)
    return svg


@functools.cache
def library() -> Html:
    """Vega, Vega-Lite and Vega-Embed as one script, safe inside an HTML script element."""
    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=_VERSION)
    return Html("(()=>{" + re.sub("</(?=script)", r"<\\/", script, flags=re.IGNORECASE) + "})();")
