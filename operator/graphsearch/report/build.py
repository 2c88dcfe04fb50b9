"""Writes a report beside a search's trials (design 8)."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from graphsearch.report import analysis_charts, charts
from graphsearch.report.analysis_sections import (
    attention_section,
    classes_section,
    diversity_section,
    networks_section,
    shown_analysis,
)
from graphsearch.report.compression_sections import compression_section, copy_exports
from graphsearch.report.embedding import embedded
from graphsearch.report.found_sections import (
    comparison_section,
    finalists_section,
    graph_pictures,
    graph_section,
    headline,
    reuse_section,
)
from graphsearch.report.markup import Html
from graphsearch.report.page import page
from graphsearch.report.recipe import recipe
from graphsearch.report.record import SearchRecord
from graphsearch.report.search_sections import (
    cost_section,
    curves_section,
    details_section,
    gates_section,
    outcomes_section,
    rungs_section,
    trials_section,
)
from graphtrial.contract import MAPS
from graphtrial.storage import Corrupt, Denied, Missing, Store

_PICTURES = "graph(-methods|-gates)?|curves|rungs|comparison|efficiency|diversity|recall|umap"
_NETWORKS = r"(?P<folder>weights|compressed)/[^/]+\.(safetensors|pt2|onnx)"
_FILES = re.compile(rf"report/((?P<single>({_PICTURES})\.svg|comparison\.json|recipe\.yaml)|{_NETWORKS})")


def build(record: SearchRecord, store: Store, into: Store | None = None) -> list[str]:
    """Write the report of a search and copy the weights of the graph that was found.

    Files below ``report/``: ``index.html``, ``graph.svg`` (of a semi-supervised graph
    ``graph-methods.svg`` and ``graph-gates.svg``), ``curves.svg``, ``rungs.svg``, ``comparison.svg``,
    ``efficiency.svg``, ``diversity.svg``, ``recall.svg``, ``umap.svg``, ``comparison.json``, ``recipe.yaml``,
    ``weights/<node>.safetensors``, ``compressed/<node>.*``; those without content are left out.

    Args:
        record: The facts.
        store: Of the search's folder; weights are read at ``trials/<index>/weights/<node>.safetensors``, attention
            maps at ``trials/<index>/maps.npz``.
        into: Where the report is written, if not there.

    What an earlier report of the search has left there goes: pictures that have no content now, and networks of the
    graph that was best then once those of another are there. Files of any other name stay.

    Returns:
        The keys written, ``report/index.html`` last.

    Raises:
        StorageError: As ``Store.write`` and, for weights that are there but corrupt, ``Store.read``.
    """
    into = into or store
    weights = _copy_weights(record, store, into)
    compressed = copy_exports(record, store, into)
    maps = _maps(record, store)
    places = embedded(maps) if maps is not None else None
    drawn = {
        "curves": charts.curves(record),
        "rungs": charts.rungs(record),
        "comparison": charts.comparison(record),
        **_of_networks(record, places or []),
    }
    shown = {name: spec for name, spec in drawn.items() if spec is not None}
    still = shown | ({"curves": spec} if (spec := charts.curves(record, still=True)) else {})
    files = {f"{name}.svg": charts.as_svg(spec) for name, spec in still.items()}
    if record.found is not None:
        files |= {f"{name}.svg": svg for name, svg in graph_pictures(record, record.found).items()}
    if (text := recipe(record)) is not None:
        files["recipe.yaml"] = text
    if record.comparison:
        files["comparison.json"] = comparison_json(record)
    sections = [
        headline(record),
        graph_section(record),
        comparison_section(record),
        networks_section(record, list(shown)),
        diversity_section(record, list(shown)),
        attention_section(
            record,
            list(shown),
            umap_missing=maps is not None and places is None,
            images_placed=_images(places or []),
        ),
        classes_section(record, list(shown)),
        compression_section(record, compressed),
        curves_section("curves" in shown),
        rungs_section(record, "rungs" in shown),
        trials_section(record),
        gates_section(record),
        finalists_section(record),
        cost_section(record),
        outcomes_section(record),
        reuse_section(record, weights),
        details_section(record),
    ]
    specs = {name: charts.as_json(spec) for name, spec in shown.items()}
    title = f"{record.manifest.metadata.name} · graph search"
    files["index.html"] = page(title, sections, specs, charts.library() if specs else Html(""))
    for name, content in files.items():
        into.write(f"report/{name}", content.encode())
    written = [*(f"report/{name}" for name in (*weights, *compressed)), *(f"report/{name}" for name in files)]
    with suppress(Denied):
        for key in _outdated(into.list("report/"), written):
            into.delete(key)
    return written


def _outdated(there: Iterable[str], written: Sequence[str]) -> list[str]:
    """Which keys an earlier report has left: pictures without content now, networks in whose place others have come."""
    old = {key: _FILES.fullmatch(key) for key in set(there) - set(written)}
    replaced = {key.split("/")[1] for key in written}
    return sorted(key for key, found in old.items() if found and (found["single"] or found["folder"] in replaced))


def _maps(record: SearchRecord, store: Store) -> bytes | None:
    """Attention maps of the graph that was found, as its trainer left them; None where it has none."""
    if shown_analysis(record) is None or record.found is None:
        return None
    try:
        return store.read(f"trials/{record.found.trial.index}/{MAPS}")
    except (Missing, Corrupt):
        return None


def _images(places: list[dict[str, Any]]) -> int:
    """Of how many images the placed maps are: each node has one of each."""
    return max(Counter(place["node"] for place in places).values(), default=0)


def _of_networks(record: SearchRecord, places: list[dict[str, Any]]) -> dict[str, charts.Spec | None]:
    analysis = shown_analysis(record)
    return {
        "efficiency": analysis_charts.efficiency(record),
        "diversity": analysis_charts.diversity(record),
        "recall": analysis_charts.recall(analysis) if analysis else None,
        "umap": analysis_charts.umap(places),
    }


def _copy_weights(record: SearchRecord, store: Store, into: Store) -> list[str]:
    """Copy one network's weights after the other; a network whose trainer left none is passed over."""
    if record.found is None:
        return []
    copied: list[str] = []
    for node in record.found.graph.nodes:
        try:
            data = store.read(f"trials/{record.found.trial.index}/weights/{node.name}.safetensors")
        except Missing:
            continue
        into.write(f"report/weights/{node.name}.safetensors", data)
        copied.append(f"weights/{node.name}.safetensors")
    return copied


def comparison_json(record: SearchRecord) -> str:
    """The comparison for programs: scores as they are, differences found graph less contender."""
    rows = [
        {
            "names": row.names,
            "mean": row.mean,
            "std": row.std,
            "repeats": row.repeats,
            "scores": {str(repeat): score for repeat, score in row.scores.items()},
            "difference": None
            if row.difference is None
            else {
                "pairs": row.difference.pairs,
                "leftOut": row.difference.left_out,
                "mean": row.difference.mean,
                "low": row.difference.low,
                "high": row.difference.high,
                "verdict": row.difference.verdict.value,
            },
        }
        for row in record.comparison
    ]
    metric = record.manifest.spec.objective.metric.value
    return json.dumps({"metric": metric, "contenders": rows}, indent=1) + "\n"
