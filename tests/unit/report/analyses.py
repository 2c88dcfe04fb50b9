"""Made-up analyses of the networks of played searches: the numbers mean nothing, and their shapes are real."""

import io
import itertools
import random
from base64 import b64encode
from dataclasses import replace

import numpy as np
from PIL import Image

from graphsearch.report import SearchRecord
from graphtrial.contract import (
    Analysis,
    Metric,
    OutputAnalysis,
    PairAnalysis,
    Purpose,
    SampleAnalysis,
    SubsetAnalysis,
    correlation,
)

CLASSES = 10


def analysis(names: list[str], seed: int = 0) -> Analysis:
    """Of some nodes."""
    draw = random.Random(seed)
    outputs = {name: _output(draw, draw.uniform(0.6, 0.75), 470_000) for name in names}
    subsets = [
        SubsetAnalysis(members=members, accuracy=draw.uniform(0.7, 0.8), parameters=470_000 * size)
        for size in range(2, len(names) + 1)
        for members in itertools.combinations(names, size)
    ]
    pairs = tuple(
        PairAnalysis(
            first=first,
            second=second,
            mutual_kl=(apart := draw.uniform(0.2, 1.2)),
            delta_accuracy=0.03 * apart + draw.uniform(0, 0.01),
            attention_error=draw.uniform(5, 30),
            attention_distance=draw.uniform(1, 4),
        )
        for first, second in itertools.combinations(names, 2)
    )
    if len(names) > 1:
        outputs["ensemble"] = _output(draw, subsets[-1].accuracy, 470_000 * len(names))
    return Analysis(
        images=1000,
        outputs=outputs,
        subsets=tuple(subsets),
        pairs=pairs,
        correlation=correlation(pairs),
        samples=tuple(_sample(draw, names, label) for label in range(6)),
    )


def _output(draw: random.Random, accuracy: float, parameters: int) -> OutputAnalysis:
    recall = tuple(min(1.0, max(0.0, accuracy + draw.uniform(-0.3, 0.3))) for _ in range(CLASSES - 1))
    return OutputAnalysis(
        parameters=parameters,
        flops=140 * parameters,
        accuracy=accuracy,
        metrics={metric: draw.uniform(0.5, 0.9) for metric in Metric if metric is not Metric.ACCURACY},
        entropy=draw.uniform(0.3, 1.2),
        calibration_error=draw.uniform(0.02, 0.12),
        recall=(*recall, None),
    )


def _sample(draw: random.Random, names: list[str], label: int) -> SampleAnalysis:
    return SampleAnalysis(
        image=_png(draw, (32, 32, 3)),
        label=label,
        guesses={name: draw.choice([label, 3]) for name in names},
        maps={name: _png(draw, (8, 8)) for name in names},
    )


def _png(draw: random.Random, shape: tuple[int, ...]) -> str:
    pixels = np.random.default_rng(draw.randrange(2**32)).integers(0, 256, shape, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return b64encode(buffer.getvalue()).decode()


def maps(names: list[str], images: int = 40, side: int = 4) -> bytes:
    """The object ``maps.npz``: each node looks at a corner of its own."""
    drawn = np.random.default_rng(0).random((len(names), images, side, side)) * 0.1
    for place in range(len(names)):
        drawn[place, :, place % side, place // side] += 1
    drawn /= np.linalg.norm(drawn, axis=(2, 3), keepdims=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, nodes=np.array(names), maps=drawn.astype(np.float16))
    return buffer.getvalue()


def analysed(record: SearchRecord) -> SearchRecord:
    """A record whose comparison, or best trial, left analyses."""
    assert record.found is not None
    shown = {trial.index: trial for trial in [*record.of(Purpose.COMPARE), record.found.trial]}
    made = {index: analysis([node.name for node in trial.spec.graph.nodes], index) for index, trial in shown.items()}
    return replace(record, analyses=made)
