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


def transfer_edge(source: str, destination: str, **gate: Any) -> dict[str, Any]:
    """KL between two nodes."""
    return {"source": source, "destination": destination, "loss": {"type": "KL"}, "gate": gate or {"type": "Through"}}


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
