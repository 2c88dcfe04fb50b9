"""What the networks of the found graph do beyond their scores (spec 8): ensembles, differences, attention, classes.

Each section is empty where its numbers are missing: older trainers left none, and a single network has no pairs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from html import escape

from graphsearch.report.embedding import MISSING
from graphsearch.report.markup import Html, element, fold, join, paragraph, picture, section, table
from graphsearch.report.record import SearchRecord, analysed_runs, contender_analyses
from graphsearch.report.wording import METRICS, counted, score_text, size_text
from graphtrial.contract import ENSEMBLE, MOST_SUBSETS, Analysis, Graph, Metric, correlation, score_modes

_MOST_ROWS = 120
"""Of subsets in their table; the chart has all."""


def shown_analysis(record: SearchRecord) -> Analysis | None:
    """Of the run whose weights are handed back; None where its trainer left none."""
    return record.analyses.get(record.found.trial.index) if record.found else None


def networks_section(record: SearchRecord, charts: Sequence[str]) -> Html:
    """Every network and every ensemble of them: what it reaches and what it costs."""
    analysis = shown_analysis(record)
    if analysis is None or record.found is None:
        return Html("")
    told = (
        f"Of the run whose weights are handed back, on {counted(analysis.images, 'image')} that it was not trained on. "
        "Entropy is the mean of its output distributions: low where a network is sure. The calibration error is the "
        "gap between how sure it is and how often it is right (15 bins)."
    )
    rows = [
        (
            name,
            _percent(output.accuracy),
            f"{output.entropy:.3f}",
            _percent(output.calibration_error),
            size_text(output.parameters),
            size_text(output.flops),
        )
        for name, output in analysis.outputs.items()
    ]
    head = ("Network", "Accuracy", "Entropy (nats)", "Calibration error", "Parameters", "FLOPs per image")
    listing = table("What each network says", head, rows, numbers=range(1, len(head)))
    chart = []
    if "efficiency" in charts:
        chart = [
            element("h3", "Accuracy for parameters"),
            paragraph("A square is one node, a circle an ensemble of some; of each contender its first run."),
            picture("efficiency", "Accuracy of nodes and ensembles against their parameters"),
        ]
    return section(
        "networks",
        "Its networks",
        paragraph(told),
        listing,
        *_other_metrics(analysis),
        *_modes(record.found.graph, analysis),
        *_subsets(analysis),
        *chart,
    )


def _other_metrics(analysis: Analysis) -> list[Html]:
    """Every metric beside accuracy that was measured, in the order of the metrics."""
    shown = [metric for metric in Metric if any(metric in output.metrics for output in analysis.outputs.values())]
    if not shown:
        return []
    rows = [
        (name, *(score_text(metric, output.metrics.get(metric)) for metric in shown))
        for name, output in analysis.outputs.items()
    ]
    head = ("Network", *(METRICS[metric][0].upper() + METRICS[metric][1:] for metric in shown))
    return [table("By other metrics", head, rows, numbers=range(1, len(head)))]


def _modes(graph: Graph, analysis: Analysis) -> list[Html]:
    """The scores of spec 5.3 side by side."""
    if len(analysis.outputs) < 3:
        return []
    modes = _accuracies(graph, analysis)
    names = {"target": "target", "best": "best node", "mean": "mean of the nodes", "ensemble": "ensemble"}
    said = ", ".join(f"{words} {_percent(modes[name])}" for name, words in names.items() if name in modes)
    return [paragraph(f"Accuracy of the {said}.")]


def _accuracies(graph: Graph, analysis: Analysis) -> dict[str, float]:
    return score_modes(graph, {name: output.accuracy for name, output in analysis.outputs.items()})


def _subsets(analysis: Analysis) -> list[Html]:
    """Table 4.8, the best first within a size."""
    if len(analysis.subsets) < 2:
        return []
    order = sorted(analysis.subsets, key=lambda subset: (-len(subset.members), -subset.accuracy))
    rows = [
        (f"{len(subset.members)}", ", ".join(subset.members), _percent(subset.accuracy), size_text(subset.parameters))
        for subset in order[:_MOST_ROWS]
    ]
    more = len(order) - len(rows)
    caption = "Accuracy of the ensembles of its nodes" + (f" (the first {len(rows)} of {len(order):,})" if more else "")
    head = ("Nodes", "Which", "Accuracy", "Parameters")
    listing, nodes = table(caption, head, rows, numbers=(0, 2, 3)), len(order[0].members)
    if nodes <= MOST_SUBSETS:
        return [fold("Every ensemble of its nodes", listing)]
    told = paragraph(f"Of {nodes} nodes there are {2**nodes - nodes - 1:,} ensembles; pairs and all were measured.")
    return [fold("Ensembles of its nodes", join([told, listing]))]


def diversity_section(record: SearchRecord, charts: Sequence[str]) -> Html:
    """How much nodes differ, and what their ensembles gain from it."""
    analysis, contenders = shown_analysis(record), contender_analyses(record)
    if "diversity" not in charts:
        return Html("")
    pairs = [pair for analyses in contenders.values() for found in analyses for pair in found.pairs]
    found = correlation(pairs)
    told = (
        "MutualKL is how far two nodes' output distributions lie apart; the gain is what the ensemble of the two has "
        "over their mean accuracy. "
    )
    told += (
        f"Over the {len(pairs)} pairs shown their correlation is {found:.2f}."
        if found is not None
        else "There are too few different pairs for a correlation."
    )
    chart = picture("diversity", "Gain of an ensemble of two nodes against their MutualKL")
    listings = [*_contenders(record), *(_pairs(analysis) if analysis else [])]
    return section("diversity", "How its networks differ", paragraph(told), chart, *listings)


def _contenders(record: SearchRecord) -> list[Html]:
    """Table 4.6: mean of the nodes whose ensemble is formed, ensemble and attention error, over a contender's runs."""
    rows = []
    for name, runs in analysed_runs(record).items():
        analyses = [record.analyses[run.index] for run in runs]
        modes = [_accuracies(run.spec.graph, found) for run, found in zip(runs, analyses, strict=True)]
        if together := [mode for mode in modes if ENSEMBLE in mode]:
            errors = [found.attention_error for found in analyses if found.attention_error is not None]
            scores = (_mean_std([mode[which] for mode in together], 100, ".1f") for which in ("mean", ENSEMBLE))
            rows.append((name, *scores, _mean_std(errors, 1, ".1f"), f"{len(together)}"))
    if not rows:
        return []
    head = ("Graph", "Mean of nodes (%)", "Ensemble (%)", "Attention error", "Runs")
    told = (
        "The attention error is the sum over cells of the absolute difference of two nodes' maps, as they are, the "
        "mean over images and pairs. Where nodes are of different architectures the scale of their maps is in it."
    )
    return [table("Nodes, ensembles and attention", head, rows, numbers=range(1, 5)), paragraph(told, "small")]


def _pairs(analysis: Analysis) -> list[Html]:
    rows = [
        (
            f"{pair.first} and {pair.second}",
            f"{pair.mutual_kl:.3f}",
            f"{100 * pair.delta_accuracy:+.2f}",
            _number(pair.attention_error),
            _number(pair.attention_distance),
        )
        for pair in analysis.pairs
    ]
    head = ("Nodes", "MutualKL", "Gain (points)", "Attention error", "The same, maps of norm 1")
    return [fold("Every pair of its nodes", table("Pairs of nodes", head, rows, numbers=range(1, 5)))] if rows else []


def attention_section(
    record: SearchRecord, charts: Sequence[str], *, umap_missing: bool, images_placed: int = 0
) -> Html:
    """Where nodes look: overlays on sample images, and all maps in two dimensions.

    Args:
        record: The facts.
        charts: The names of those that are drawn.
        umap_missing: Whether there are maps that could not be placed.
        images_placed: Of how many images the placed maps are.
    """
    analysis = shown_analysis(record)
    if analysis is None or not analysis.samples:
        return Html("")
    told = (
        "Where each network looks, red where its attention is largest; each map has its own scale. Below an image its "
        "class, below a map what the network takes it for."
    )
    parts = [paragraph(told), _overlays(analysis)]
    if "umap" in charts:
        parts += [
            element("h3", "All maps in two dimensions"),
            paragraph(
                "Each dot is the map of one image by one node, placed by UMAP: near ones look at alike places. "
                f"{_share(images_placed, analysis.images)}"
            ),
            picture("umap", "UMAP of the nodes' attention maps"),
        ]
    elif umap_missing:
        parts.append(paragraph(f"For all maps in two dimensions (UMAP) {MISSING}.", "small"))
    return section("attention", "Where its networks look", *parts)


def _share(shown: int, images: int) -> str:
    if shown == images:
        return f"All {counted(images, 'image')} are shown."
    return f"{shown:,} of the {counted(images, 'image')} are shown, evenly spread: more dots would hide one another."


_HEAT = (
    '<svg class="defs" aria-hidden="true" width="0" height="0"><filter id="heat" color-interpolation-filters="sRGB">'
    "<feComponentTransfer>"
    '<feFuncR type="table" tableValues="0.05 0.2 0.9 1"/><feFuncG type="table" tableValues="0.1 0.6 0.75 0.15"/>'
    '<feFuncB type="table" tableValues="0.6 0.7 0.2 0.1"/></feComponentTransfer></filter></svg>'
)


def _overlays(analysis: Analysis) -> Html:
    nodes = list(analysis.samples[0].maps)
    head = [element("th", text, scope="col") for text in ("Image", *nodes)]
    rows = []
    for sample in analysis.samples:
        cells = [_figure(sample.image, None, f"class {sample.label}", f"image of class {sample.label}")]
        for name in nodes:
            guess = sample.guesses[name]
            said = f"{guess} ✓" if guess == sample.label else f"{guess}"
            cells.append(_figure(sample.image, sample.maps[name], said, f"attention of {name}, which says {guess}"))
        rows.append(element("tr", join(element("td", cell) for cell in cells)))
    inner = join([element("thead", element("tr", join(head))), element("tbody", join(rows))])
    listing = element("table", join([element("caption", "Attention on sample images"), inner]), class_="maps")
    about = {"role": "region", "aria_label": "Attention on sample images", "tabindex": "0"}
    return join([Html(_HEAT), element("div", listing, class_="wide", **about)])


def _figure(image: str, heat: str | None, said: str, title: str) -> Html:
    """A picture with a map above it; both are base64, which holds no markup."""
    size = 'width="64" height="64" preserveAspectRatio="none"'
    layers = f'<image href="data:image/png;base64,{escape(image)}" {size}/>'
    if heat is not None:
        layers += f'<image href="data:image/png;base64,{escape(heat)}" {size} filter="url(#heat)" opacity="0.6"/>'
    drawn = f'<svg viewBox="0 0 64 64" role="img" aria-label="{escape(title)}">{layers}</svg>'
    return join([Html(drawn), element("span", said, class_="small")])


def classes_section(record: SearchRecord, charts: Sequence[str]) -> Html:
    """Which classes each node knows."""
    analysis = shown_analysis(record)
    if "recall" not in charts or analysis is None:
        return Html("")
    told = (
        "The share of each class's images that a network takes for it. Rows that differ are networks that know "
        "different classes, which is what an ensemble lives on."
    )
    chart = picture("recall", "Recall of each class by each network")
    recalls = [output.recall for output in analysis.outputs.values()]
    rows = [
        (f"{number}", *("–" if share is None else _percent(share) for share in shares))
        for number, shares in enumerate(zip(*recalls, strict=True))
    ]
    listing = table("Recall of each class", ("Class", *analysis.outputs), rows, numbers=range(len(recalls) + 1))
    return section("classes", "Which classes they know", paragraph(told), chart, fold("The same as numbers", listing))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _number(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.3g}"


def _mean_std(values: Sequence[float], factor: float, form: str) -> str:
    if not values:
        return "–"
    mean = f"{factor * statistics.fmean(values):{form}}"
    return mean if len(values) < 2 else f"{mean} ± {factor * statistics.stdev(values):{form}}"
