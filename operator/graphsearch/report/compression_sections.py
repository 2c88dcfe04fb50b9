"""The compression: what each way of distilling gave, whose gradients conflicted, the network to take away (spec 9)."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from graphsearch.api import Distillation, GraphTrial, Lesson, Outcome
from graphsearch.report.markup import Html, bullets, element, fold, paragraph, section, table
from graphsearch.report.record import SearchRecord, last_result
from graphsearch.report.wording import LOSSES, METRICS, counted, mean_text, score_text, size_text
from graphsearch.search.compression import chosen, mean_of, rank_of, result_of, tries
from graphtrial.contract import ENSEMBLE, Aggregation, Exported, LossType, NodeKind, Purpose
from graphtrial.storage import Missing, Store

FOLDER = "compressed/"

_LESSONS = {
    Lesson.ENSEMBLE_PROBABILITY: "Mean probability of the ensemble",
    Lesson.PROBABILITY: "Probability of each teacher",
    Lesson.PROBABILITY_AND_ATTENTION: "Probability and attention of each teacher",
}
_GRADIENTS = {
    Aggregation.SUM: "summed",
    Aggregation.PROJECT: "projected",
    Aggregation.PROJECT_PER_LAYER: "projected per layer",
}
_LOADED_BY = {
    "safetensors": (
        'import torch\nfrom graphtrial.compression import load\nlogits = load("{file}")(torch.zeros({shape}))'
    ),
    "torch.export": (
        'import torch\nnetwork = torch.export.load("{file}").module()\nlogits = network(torch.zeros({shape}))'
    ),
    "ONNX": (
        "import numpy, onnxruntime\n"
        'network = onnxruntime.InferenceSession("{file}")\n'
        '(logits,) = network.run(None, {{"images": numpy.zeros(({shape}), numpy.float32)}})'
    ),
}


def copy_exports(record: SearchRecord, store: Store, into: Store) -> list[str]:
    """Copy the files of the network that was distilled, one after the other; those that are not there are passed over.

    Returns:
        Their keys below ``report/``.

    Raises:
        StorageError: As ``Store.write`` and, for a file that is there but corrupt, ``Store.read``.
    """
    result = result_of(record.of(Purpose.COMPRESS))
    copied: list[str] = []
    for made in _exports(record, result) if result else ():
        try:
            data = store.read(f"trials/{result.index}/exports/{made.name}") if result and made.name else b""
        except Missing:
            continue
        if data:
            into.write(f"report/{FOLDER}{made.name}", data)
            copied.append(f"{FOLDER}{made.name}")
    return copied


def compression_section(record: SearchRecord, files: list[str]) -> Html:
    """Table 4.9 of this search, tables 4.10 and 4.11, and the files; empty where nothing was to be compressed.

    Args:
        record: The facts.
        files: Keys below ``report/`` of the files that are there, as ``copy_exports`` gives them.
    """
    trials = record.of(Purpose.COMPRESS)
    if record.manifest.spec.compression is None:
        return Html("")
    title, result = "All networks in one", result_of(trials)
    if not trials:
        return section("compression", title, paragraph("The search ended before its networks were compressed."))
    parts = [_told(record, result), *_rows(record, trials), *_conflicts(record, trials)]
    if result is not None:
        parts += _files(record, result, files)
    return section("compression", title, *parts)


def _told(record: SearchRecord, result: GraphTrial | None) -> Html:
    spec = record.manifest.spec
    assert spec.compression is not None
    if result is None or result.spec.distillation is None:
        why = record.facts.message or "it still runs"
        return paragraph(f"No {spec.compression.student} came out of the compression: {why}.")
    teachers = sum(node.kind is NodeKind.FROZEN for node in result.spec.graph.nodes)
    way = result.spec.distillation
    metric, scores = spec.objective.metric, result.status.nodes
    ensemble = f"; their ensemble reaches {score_text(metric, scores[ENSEMBLE])}" if ENSEMBLE in scores else ""
    told = (
        f"{counted(teachers, 'network')} taught one {spec.compression.student}, which reaches "
        f"{score_text(metric, result.status.score)} test {METRICS[metric]} in one run{ensemble}. It learned: "
        f"{_LESSONS[way.lesson].lower()}, gradients {_GRADIENTS[way.aggregation]}, T={way.temperature:g}."
    )
    return paragraph(told)


def _rows(record: SearchRecord, trials: list[GraphTrial]) -> list[Html]:
    """One row for each lesson and aggregation at its best temperature, and all temperatures on demand."""
    tried, metric = tries(trials), record.manifest.spec.objective.metric
    if not tried:
        return []
    best = [min(ways, key=lambda way: rank_of(tried[way])) for ways in _by_row(tried)]
    cells = [(*_named(way), f"{way.temperature:g}", *_scores(record, tried[way])) for way in best]
    strong = next((place for place, way in enumerate(best) if way == chosen(trials)), -1)
    head = ("What the student learned", "Gradients", "Best temperature", "Mean ± std", "Runs")
    listing = table("Ways of distilling, on the validation images", head, cells, numbers=(2, 3, 4), strong=strong)
    everything = [(*_named(way), f"{way.temperature:g}", *_scores(record, runs)) for way, runs in tried.items()]
    rest = table("Every way at every temperature", (*head[:2], "Temperature", *head[3:]), everything, numbers=(2, 3, 4))
    told = (
        f"Validation {METRICS[metric]}: the ways were tried on the search split, and the best was trained on the full "
        "training set and scored once on the test images. As the best of several it looks better here than there."
    )
    more = [fold("Every temperature", rest)] if len(tried) > len(best) else []
    return [listing, *more, paragraph(told, "small")]


def _by_row(tried: dict[Distillation, list[GraphTrial]]) -> list[list[Distillation]]:
    rows: dict[tuple[Lesson, Aggregation], list[Distillation]] = {}
    for way in tried:
        rows.setdefault((way.lesson, way.aggregation), []).append(way)
    return list(rows.values())


def _named(way: Distillation) -> tuple[str, str]:
    return _LESSONS[way.lesson], _GRADIENTS[way.aggregation]


def _scores(record: SearchRecord, runs: list[GraphTrial]) -> tuple[str, str]:
    scores = [
        run.status.score for run in runs if run.status.outcome is Outcome.SUCCEEDED and run.status.score is not None
    ]
    std = statistics.stdev(scores) if len(scores) > 1 else None
    ended = f"{len(scores)}" if len(scores) == len(runs) else f"{len(scores)} of {len(runs)}"
    return mean_text(record.manifest.spec.objective.metric, mean_of(runs), std), ended


def _conflicts(record: SearchRecord, trials: list[GraphTrial]) -> list[Html]:
    """Tables 4.10 and 4.11: a row for each pair of teachers, a column for each way at its best temperature and loss."""
    tried = tries(trials)
    best = [min(ways, key=lambda way: rank_of(tried[way])) for ways in _by_row(tried)]
    columns: dict[str, dict[str, int]] = {}
    for way in best:
        for loss, pair, count in _counted(record, tried[way][0]):
            column = f"{LOSSES.get(loss, loss.value)} of {_LESSONS[way.lesson].lower()}, {_GRADIENTS[way.aggregation]}"
            columns.setdefault(column, {})[pair] = count
    if not columns:
        return []
    pairs = list(dict.fromkeys(pair for column in columns.values() for pair in column))
    cells = [(pair, *(f"{column.get(pair, 0):,}" for column in columns.values())) for pair in pairs]
    listing = table("Conflicts of gradients", ("Teachers", *columns), cells, numbers=range(1, len(columns) + 1))
    told = (
        "Updates in which the gradients of two teachers' losses had a negative inner product over the whole network, "
        "in the first run of each way at its best temperature. Where gradients are summed nobody counts."
    )
    return [listing, paragraph(told, "small")]


def _counted(record: SearchRecord, trial: GraphTrial) -> Iterator[tuple[LossType, str, int]]:
    result = last_result(record, trial)
    for found in result.conflicts if result else ():
        yield found.loss, "-".join(found.sources), found.count


def _exports(record: SearchRecord, result: GraphTrial) -> tuple[Exported, ...]:
    left = last_result(record, result)
    return left.exports if left else ()


def _loading(made: Exported) -> str:
    """The lines that load a file beside the page and, of a program, run it on an image."""
    shape = ", ".join(map(str, (1, *made.shape)))
    return _LOADED_BY[made.kind].format(file=f"{FOLDER}{made.name}", shape=shape)


def _files(record: SearchRecord, result: GraphTrial, files: list[str]) -> list[Html]:
    """What lies beside the page and the three lines that load each; what could not be made says why."""
    made = _exports(record, result)
    there = [one for one in made if f"{FOLDER}{one.name}" in files]
    missing = [f"No {one.kind}: {one.problem}." for one in made if not one.name]
    if not there:
        return [paragraph("No files lie here: the trainer had left none when this report was made."), bullets(missing)]
    cells = [(f"{FOLDER}{one.name}", one.kind, f"{size_text(one.size)}B", f"{one.difference:.1g}") for one in there]
    head = ("File", "Format", "Size", "Logits differ by at most")
    told = (
        "Each was read again and compared with the network on training images. The programs take any number of images, "
        "float32 in 0..1, and need this package no more; the weights alone are loaded with it."
    )
    code = [element("pre", _loading(one)) for one in there]
    listing = table("Files of the compressed network", head, cells, numbers=(2, 3))
    return [listing, paragraph(told), *code, *([bullets(missing)] if missing else [])]
