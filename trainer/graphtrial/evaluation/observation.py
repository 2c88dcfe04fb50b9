"""One look at all networks of a trial that has ended, over all images that it is scored on: its ``Analysis``.

It costs about one evaluation more. Attention maps are read only here and by the losses that need them.
"""

from __future__ import annotations

import importlib
import io
import itertools
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from graphtrial.contract import (
    ENSEMBLE,
    Analysis,
    Average,
    Graph,
    Metric,
    OutputAnalysis,
    PairAnalysis,
    Precision,
    SampleAnalysis,
    ScoreOf,
    SubsetAnalysis,
    correlation,
    scored_ensemble,
    scored_nodes,
)
from graphtrial.evaluation.analysis import (
    attention_error,
    delta_accuracy,
    entropy,
    mutual_kl,
    subset_accuracies,
    unit_maps,
)
from graphtrial.evaluation.evaluator import ensemble
from graphtrial.evaluation.metrics import accuracy, calibration_error, measure, metric_problem, recall_of_classes
from graphtrial.models import observe

_SAMPLES = 6
_LONGEST_SIDE = 64
"""Of a sample's picture, in pixels."""
_MOST_CELLS = 32
"""Of a map's picture, a side."""
_MOST_MAPS = 5_000
"""Of all nodes together, for UMAP."""
_DIGITS = 6
"""Significant decimals of what is stored."""


class Seen(NamedTuple):
    """What the networks say of all images, on the CPU."""

    labels: Tensor
    logits: dict[str, Tensor]
    """float32 [samples, classes], of each node whose outputs are finite."""
    maps: dict[str, Tensor]
    """float32 [samples, S, S], of those that have a map."""
    shown: dict[int, Tensor]
    """The first image of each of a few classes, as the networks saw it, by its place among the samples."""


def load_libraries() -> None:
    """Import what an analysis needs and the metrics, some seconds that forks of this process then need not spend."""
    for name in ("torch.utils.flop_counter", "torchmetrics.functional.classification"):
        importlib.import_module(name)


@torch.inference_mode()
def look(
    networks: Mapping[str, nn.Module],
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    precision: Precision,
    device: torch.device,
) -> Seen:
    """Run every network over all images, in evaluation mode, and leave it there.

    Args:
        networks: By node name, on the device.
        batches: (images [samples, channels, height, width], class indices [samples]) on the device.
        precision: Of the networks' arithmetic.
        device: Where they are.
    """
    labels: list[Tensor] = []
    shown: dict[int, Tensor] = {}
    known: set[int] = set()
    logits: dict[str, list[Tensor]] = {name: [] for name, network in networks.items() if network.eval()}
    maps: dict[str, list[Tensor]] = {name: [] for name in networks}
    for images, batch_labels in batches:
        ordered = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision is Precision.BF16):
            for name, network in networks.items():
                output = observe(network, ordered)
                logits[name].append(output.logits.float().cpu())
                if output.map is not None:
                    maps[name].append(output.map.float().cpu())
        before = sum(map(len, labels))
        labels.append(batch_labels.cpu())
        for place, label in enumerate(labels[-1].tolist() if len(known) < _SAMPLES else ()):
            if label not in known and len(known) < _SAMPLES:
                known.add(label)
                shown[before + place] = images[place].cpu()
    found = {name: torch.cat(parts) for name, parts in logits.items()}
    finite = {name: output for name, output in found.items() if bool(torch.isfinite(output).all())}
    return Seen(torch.cat(labels), finite, {name: torch.cat(maps[name]) for name in finite if maps[name]}, shown)


def analyse(graph: Graph, networks: Mapping[str, nn.Module], seen: Seen, *, mean: Tensor, std: Tensor) -> Analysis:
    """Everything that is said of a trial's networks.

    Args:
        graph: Theirs.
        networks: As ``look`` had them.
        seen: What it saw.
        mean: Of each channel, subtracted from the images that it saw.
        std: By which they were then divided.
    """
    names = list(seen.logits)
    average = scored.average if (scored := scored_ensemble(graph)) else Average.LOGITS
    accuracies = {name: accuracy(seen.logits[name], seen.labels) for name in names}
    together = subset_accuracies(seen.logits, seen.labels, average)
    flops = {name: _flops(networks[name], next(iter(seen.shown.values()))[None]) for name in names}
    outputs = {
        name: _output(seen.logits[name], seen.labels, _parameters([networks[name]]), flops[name]) for name in names
    }
    members = [name for name in scored_nodes(graph, ScoreOf.ENSEMBLE) if name in names]
    if len(members) > 1:
        combined = ensemble([seen.logits[name] for name in members], average)
        parameters = _parameters(networks[name] for name in members)
        outputs[ENSEMBLE] = _output(combined, seen.labels, parameters, sum(flops[name] for name in members))
    pairs = tuple(
        _pair(first, second, seen, delta_accuracy(together[first, second], accuracies[first], accuracies[second]))
        for first, second in itertools.combinations(names, 2)
    )
    return Analysis(
        images=len(seen.labels),
        outputs=outputs,
        subsets=tuple(
            SubsetAnalysis(
                members=members,
                accuracy=_round(score),
                parameters=_parameters(networks[name] for name in members),
            )
            for members, score in together.items()
        ),
        pairs=pairs,
        correlation=correlation(pairs),
        samples=_samples(seen, mean[:, None, None], std[:, None, None]),
    )


def _output(logits: Tensor, labels: Tensor, parameters: int, flops: int) -> OutputAnalysis:
    recall, others = recall_of_classes(logits, labels), [one for one in Metric if one is not Metric.ACCURACY]
    told = [metric for metric in others if metric_problem(metric, logits.shape[1]) is None]
    return OutputAnalysis(
        parameters=parameters,
        flops=flops,
        accuracy=_round(accuracy(logits, labels)),
        metrics={metric: _round(measure(metric, logits, labels)) for metric in told},
        entropy=_round(entropy(logits)),
        calibration_error=_round(calibration_error(logits, labels)),
        recall=tuple(None if share != share else round(share, 4) for share in recall),  # noqa: PLR0124 (NaN)
    )


def _pair(first: str, second: str, seen: Seen, delta: float) -> PairAnalysis:
    ours, theirs = seen.maps.get(first), seen.maps.get(second)
    comparable = ours is not None and theirs is not None and ours.shape == theirs.shape
    error, distance = None, None
    if comparable and ours is not None and theirs is not None:
        error = _round(attention_error(ours, theirs))
        distance = _round(attention_error(unit_maps(ours), unit_maps(theirs)))
    return PairAnalysis(
        first=first,
        second=second,
        mutual_kl=_round(mutual_kl(seen.logits[first], seen.logits[second])),
        delta_accuracy=_round(delta),
        attention_error=error,
        attention_distance=distance,
    )


def _parameters(networks: Iterable[nn.Module]) -> int:
    """Of several networks together, each counted once."""
    return sum({id(p): p.numel() for network in networks for p in network.parameters()}.values())


def _flops(network: nn.Module, image: Tensor) -> int:
    # Imports torch's compiler, which a trial's start would have to wait for.
    from torch.utils.flop_counter import FlopCounterMode

    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image.to(device))
    return int(counter.get_total_flops())


def _round(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _samples(seen: Seen, mean: Tensor, std: Tensor) -> tuple[SampleAnalysis, ...]:
    if not seen.maps:
        return ()
    return tuple(
        SampleAnalysis(
            image=_picture(image * std + mean),
            label=int(seen.labels[place]),
            guesses={name: int(logits[place].argmax()) for name, logits in seen.logits.items()},
            maps={name: _heat(maps[place]) for name, maps in seen.maps.items()},
        )
        for place, image in seen.shown.items()
    )


def _picture(image: Tensor) -> str:
    """A PNG of an image [channels, S, S] with values in 0..1, made smaller if need be."""
    pixels = (image * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
    picture = Image.fromarray(pixels.squeeze(2).contiguous().numpy())
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return _png(picture)


def _heat(cells: Tensor) -> str:
    """A grey PNG of a map [S, S]."""
    low, high = float(cells.min()), float(cells.max())
    scaled = (cells - low) / (high - low) if high > low else torch.zeros_like(cells)
    picture = Image.fromarray((scaled * 255).round().to(torch.uint8).numpy())
    picture.thumbnail((_MOST_CELLS, _MOST_CELLS))
    return _png(picture)


def _png(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return b64encode(buffer.getvalue()).decode()


def maps_for_umap(seen: Seen) -> bytes | None:
    """The object ``MAPS``: maps of L2 norm 1 at one size, that of the smallest; None where no node has one.

    Of all images where all nodes together then have no more than 5,000 maps, else of as many, evenly spread.
    """
    if not seen.maps:
        return None
    side = min(maps.shape[1] for maps in seen.maps.values())
    count = len(seen.labels)
    shown = min(count, max(1, _MOST_MAPS // len(seen.maps)))
    chosen = torch.arange(shown) * count // shown
    maps = np.stack([_at_size(of_node[chosen], side) for of_node in seen.maps.values()])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, nodes=np.array(list(seen.maps)), maps=maps)
    return buffer.getvalue()


def _at_size(maps: Tensor, side: int) -> np.ndarray:
    return unit_maps(F.adaptive_avg_pool2d(maps[:, None], side)[:, 0]).half().numpy()
