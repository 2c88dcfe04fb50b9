"""Trials that train in a moment, for tests of the trainer in its own process and in this one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

STEPS_PER_EPOCH = 4
"""Of ``trial_spec``: 200 labelled images in batches of 50."""


def label_edge(destination: str, **gate: Any) -> dict[str, Any]:
    """Cross entropy to the ground truth."""
    return {
        "source": "Label",
        "destination": destination,
        "loss": {"type": "CrossEntropy"},
        "gate": gate or {"type": "Through"},
    }


def edge(source: str, destination: str, loss: dict[str, Any], **gate: Any) -> dict[str, Any]:
    """Any edge between nodes."""
    return {"source": source, "destination": destination, "loss": loss, "gate": gate or {"type": "Through"}}


def transfer_edge(source: str, destination: str, **gate: Any) -> dict[str, Any]:
    """KL between two nodes."""
    return edge(source, destination, {"type": "KL"}, **gate)


def single_node() -> dict[str, Any]:
    """One ResNet8 that learns from labels."""
    return {"nodes": [{"name": "1", "model": "resnet8"}], "edges": [label_edge("1")]}


def three_nodes() -> dict[str, Any]:
    """Two nodes that learn from labels, from one another and from a frozen teacher, through every kind of gate."""
    teacher = {"name": "3", "model": "resnet8", "kind": "Frozen", "weights": {"pretrained": {"copy": 0}}}
    return {
        "nodes": [{"name": "1", "model": "resnet8"}, {"name": "2", "model": "wrn-10-1"}, teacher],
        "edges": [
            label_edge("1"),
            label_edge("2", type="Linear"),
            transfer_edge("2", "1", type="Sine", frequency=0.7, phase=1.0),
            transfer_edge("1", "2", type="Correct"),
            transfer_edge("3", "1", type="Linear"),
            transfer_edge("3", "2", type="Cutoff"),
        ],
    }


def semi_supervised() -> dict[str, Any]:
    """FixMatch with an average that teaches: self, EMA and transfer edges on two views of unlabelled images."""
    return {
        "nodes": [
            {"name": "1", "model": "resnet8"},
            {"name": "2", "kind": "EMA", "follows": "1", "decay": 0.9},
            {"name": "3", "model": "wrn-10-1"},
        ],
        "edges": [
            label_edge("1", type="NegativeLinear"),
            label_edge("3"),
            edge("1", "1", {"type": "ThresholdedPseudoLabel", "threshold": 0.3}, type="Linear"),
            edge("2", "1", {"type": "Consistency"}, type="Threshold", threshold=0.3),
            edge("2", "3", {"type": "PseudoLabel"}),
            edge("3", "1", {"type": "KL"}, type="Sine", frequency=0.7, phase=1.0),
        ],
    }


def attention() -> dict[str, Any]:
    """Attention Branch Networks of one trunk, maps of unequal size, and an ensemble that teaches its members."""
    crops = {"crops": [1, 2], "resize": "Bilinear"}
    return {
        "nodes": [
            {"name": "1", "model": "abn-resnet8", "trunk": "low"},
            {"name": "2", "model": "abn-resnet8", "trunk": "low"},
            {"name": "3", "model": "resnet8"},
            {"name": "all", "kind": "Ensemble", "members": ["1", "2", "3"], "average": "Probabilities"},
        ],
        "edges": [
            label_edge("1"),
            label_edge("2", type="Linear"),
            label_edge("3"),
            edge("2", "1", {"type": "Apart", **crops}),
            edge("3", "1", {"type": "Together", **crops}, type="Correct"),
            edge("1", "3", {"type": "AttentionApart", **crops}),
            edge("all", "2", {"type": "KL", "temperature": 2.0}),
        ],
    }


def compression() -> dict[str, Any]:
    """A student that learns from labels, from a frozen teacher's probabilities and map, and from its ensemble."""
    teacher = {"name": "3", "model": "resnet8", "kind": "Frozen", "weights": {"pretrained": {}}}
    return {
        "nodes": [
            {"name": "1", "model": "resnet8"},
            teacher,
            {"name": "all", "kind": "Ensemble", "members": ["3"], "average": "Probabilities"},
        ],
        "edges": [
            label_edge("1"),
            edge("3", "1", {"type": "KL", "temperature": 5.0, "weight": 0.04}),
            edge("all", "1", {"type": "KL"}),
            edge("3", "1", {"type": "AttentionTogether"}),
        ],
    }


def trial_spec(folder: Path, **changes: Any) -> dict[str, Any]:
    """A TrialSpec as JSON, with other top-level fields where ``changes`` says so."""
    spec: dict[str, Any] = {
        "search": "search",
        "searchUid": "search-uid",
        "trial": "search-t0",
        "trialUid": "trial-uid",
        "attempt": 1,
        "graph": single_node(),
        "data": {"dataset": "digits", "labelled": {"count": 200}},
        "training": training(),
        "rungs": [1, 2, 4],
        "checkpoint": {"uri": folder.as_uri(), "every": {"steps": 7}},
        "metricsPort": 0,
    }
    return spec | changes


def training(**changes: Any) -> dict[str, Any]:
    """Its training: three epochs of four steps, evaluated after each."""
    return {"length": {"epochs": 3}, "batchSize": 50, "augmentation": "PadCrop"} | changes
