"""Manifests with one thing wrong in each, and who says so: the API server by schema and CEL, or only the operator.

Each row is a good manifest with some fields changed. ``field`` is where the models find the fault, ``server`` where the
API server does; a row without ``server`` passes it and is refused by the operator.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.whole_manifests import DRAWN, FIXED, REMOVED, TRIAL, changed


@dataclass(frozen=True)
class Invalid:
    """One row."""

    name: str
    """What is wrong, in words."""
    manifest: dict[str, Any]
    field: str
    """Where the models find it; empty where they do not look."""
    server: str
    """Where the API server finds it; empty where it does not."""


_A = {"name": "a", "model": "resnet8"}
_LABEL = {"source": "Label", "destination": "a", "loss": {"type": "CrossEntropy"}}
_MANY = [{"name": f"n{number}", "model": "resnet8"} for number in range(9)]

_BY_SCHEMA = {
    "a name of 41 characters": ({"metadata.name": "n" * 41}, "metadata.name"),
    "a name with a dot": ({"metadata.name": "three.resnets"}, "metadata.name"),
    "a name in capitals": ({"metadata.name": "ThreeResnets"}, "metadata.name"),
    "a field that no search has": ({"nodez": 3}, "nodez"),
    "a field that stands one level too high": ({"batchSize": 64}, "batchSize"),
    "epochs in the singular": ({"training.length.epoch": 3}, "training.length.epoch"),
    "no data": ({"data": REMOVED}, "data"),
    "data without a data set": ({"data.dataset": REMOVED}, "data.dataset"),
    "a space without models of the target": ({"space.targetModels": REMOVED}, "space.targetModels"),
    "an empty list of models of the target": ({"space.targetModels": []}, "space.targetModels"),
    "an edge rule without gates": ({"space.edges.0.gates": REMOVED}, "space.edges[0].gates"),
    "an edge rule with no gate to draw from": ({"space.edges.0.gates": []}, "space.edges[0].gates"),
    "no nodes at all": ({"space.nodes": 0}, "space.nodes"),
    "eight nodes to draw": ({"space.nodes": 8}, "space.nodes"),
    "nodes as text": ({"space.nodes": "three"}, "space.nodes"),
    "two and a half nodes": ({"space.nodes": 2.5}, "space.nodes"),
    "a negative seed": ({"seed": -1}, "seed"),
    "a seed that a float cannot hold": ({"seed": 2**53}, "seed"),
    "a metric in small letters": ({"objective.metric": "accuracy"}, "objective.metric"),
    "a goal in words": ({"objective.goal": "high"}, "objective.goal"),
    "a score of nobody": ({"objective.scoreOf": "Teacher"}, "objective.scoreOf"),
    "images of four pixels": ({"data.imageSize": 4}, "data.imageSize"),
    "no labelled images": ({"data.labelled.count": 0}, "data.labelled.count"),
    "a preset that no table has": ({"training.preset": "SVHN"}, "training.preset"),
    "an unknown precision": ({"training.precision": "FP8"}, "training.precision"),
    "an empty batch": ({"training.batchSize": 0}, "training.batchSize"),
    "a learning rate of nought": ({"training.learningRate": 0}, "training.learningRate"),
    "a momentum of one": ({"training.momentum": 1}, "training.momentum"),
    "a negative weight decay": ({"training.weightDecay": -0.1}, "training.weightDecay"),
    "nesterov as a number": ({"training.nesterov": 2}, "training.nesterov"),
    "a milestone at the end": ({"training.schedule.milestones": [0.5, 1]}, "training.schedule.milestones[1]"),
    "a training of no epochs": ({"training.length.epochs": 0}, "training.length.epochs"),
    "a rung before the first evaluation": ({"scheduler.asha.firstRung": 0}, "scheduler.asha.firstRung"),
    "a reduction by one": ({"scheduler.asha.reductionFactor": 1}, "scheduler.asha.reductionFactor"),
    "a mode of another library": ({"scheduler.asha.mode": "Halving"}, "scheduler.asha.mode"),
    "a sampler that is not there": ({"sampler.type": "TPE"}, "sampler.type"),
    "no trials": ({"budget.maxTrials": 0}, "budget.maxTrials"),
    "no trial at a time": ({"budget.parallelTrials": 0}, "budget.parallelTrials"),
    "a thousand and one at a time": ({"budget.parallelTrials": 1001}, "budget.parallelTrials"),
    "less than no failures": ({"budget.maxFailedTrials": -1}, "budget.maxFailedTrials"),
    "a budget of no GPU hours": ({"budget.maxGpuHours": 0}, "budget.maxGpuHours"),
    "a deadline at the start": ({"budget.deadlineSeconds": 0}, "budget.deadlineSeconds"),
    "a comparison of no finalists": ({"comparison.finalists": 0}, "comparison.finalists"),
    "a hundred and one repeats": ({"comparison.repeats": 101}, "comparison.repeats"),
    "a baseline nobody knows": ({"comparison.baselines": ["Magic"]}, "comparison.baselines[0]"),
    "a compression without a student": ({"compression": {}}, "compression.student"),
    "a student that no model is": ({"compression.student": "resnet9"}, "compression.student"),
    "a lesson nobody knows": ({"compression.lessons": ["Everything"]}, "compression.lessons[0]"),
    "a lesson twice": ({"compression.lessons": ["Probability", "Probability"]}, "compression.lessons"),
    "temperatures that are one": ({"compression.temperatures": [2, 5, 2]}, "compression.temperatures"),
    "a temperature near nought": ({"compression.temperatures": [0.01]}, "compression.temperatures[0]"),
    "an aggregation twice": ({"compression.aggregation": ["Sum", "Sum"]}, "compression.aggregation"),
    "no way to distil": ({"compression.lessons": []}, "compression.lessons"),
    "maps resized for nothing": ({"compression.resize": "Bilinear"}, "compression.resize"),
    "no repeat of a compression": ({"compression.repeats": 0}, "compression.repeats"),
    "a temperature of nought": ({"space.edges.1.temperature": 0}, "space.edges[1].temperature"),
    "a gate in small letters": ({"space.edges.0.gates": ["through"]}, "space.edges[0].gates[0]"),
    "a loss of another library": ({"space.edges.1.losses": ["MSE"]}, "space.edges[1].losses[0]"),
    "edges of an unknown kind": ({"space.edges.0.kind": "Any"}, "space.edges[0].kind"),
    "isolated nodes that vanish": ({"space.isolatedNodes": "Remove"}, "space.isolatedNodes"),
    "an EMA edge in words": ({"space.edges.1.ema": "perhaps"}, "space.edges[1].ema"),
    "a crop without cells": ({"space.attention.crops": [0]}, "space.attention.crops[0]"),
    "a threshold that nothing exceeds": (
        {"space.gateParameters.threshold.above": 1},
        "space.gateParameters.threshold.above",
    ),
    "scores from a log": ({"metrics.source": "Logs"}, "metrics.source"),
    "a search that is stopped": ({"desiredState": "Stopped"}, "desiredState"),
    "objects that go before they are there": ({"ttlSecondsAfterFinished": -1}, "ttlSecondsAfterFinished"),
    "pods with a security context": ({"trainer.securityContext": {}}, "trainer.securityContext"),
    "a folder of the node": ({"trainer.volumes.0.hostPath": {"path": "/"}}, "trainer.volumes[0].hostPath"),
    "a variable without a name": ({"trainer.env.0.name": REMOVED}, "trainer.env[0].name"),
    "a mount without a path": ({"trainer.volumeMounts.0.mountPath": REMOVED}, "trainer.volumeMounts[0].mountPath"),
    "a toleration like a selector": ({"trainer.tolerations.0.operator": "In"}, "trainer.tolerations[0].operator"),
    "a start that may take no time": ({"trainer.startDeadlineSeconds": 0}, "trainer.startDeadlineSeconds"),
    "a Secret without a name": ({"checkpoint.credentialsSecretRef": {}}, "checkpoint.credentialsSecretRef.name"),
}

_BY_RULES_OF_THE_SPACE = {
    "neither space nor graphs": ({"space": REMOVED}, ""),
    "space and graphs": ({"graphs": [{"nodes": [_A], "edges": [_LABEL]}]}, ""),
    "a length in epochs and in steps": ({"training.length.steps": 5}, "training.length"),
    "a length of nothing": ({"training.length": {}}, "training.length"),
    "checkpoints every nothing": ({"checkpoint.every": {}}, "checkpoint.every"),
    "evaluations in steps of a training in epochs": (
        {"training.evaluateEvery": {"steps": 100}},
        "training.evaluateEvery",
    ),
    "a training in steps evaluated every epoch": ({"training.length": {"steps": 1000}}, "training.evaluateEvery"),
    "a validation by count and by fraction": ({"data.searchValidation.fraction": 0.2}, "data.searchValidation"),
    "a validation of nothing": ({"data.searchValidation": {"seed": 1}}, "data.searchValidation"),
    "a validation of everything": ({"data.searchValidation.count": 50_000}, "data.searchValidation"),
    "more labelled images than are left": ({"data.labelled.count": 45_000}, "data.labelled.count"),
    "a batch of more images than are labelled": ({"training.batchSize": 401}, "training.batchSize"),
    "the preset's batch of more images than are labelled": (
        {"training.batchSize": REMOVED, "data.labelled.count": 63},
        "training.batchSize",
    ),
    "an unlabelled batch of more images than are left without labels": (
        {"training.unlabelled": {"batchSize": 39_601}},
        "training.unlabelled.batchSize",
    ),
    "the preset's unlabelled batch of more images than are left without labels": (
        {"data.labelled.count": 39_937},
        "training.unlabelled.batchSize",
    ),
    "a data set that nobody knows": ({"data.dataset": "CIFAR1000"}, "data.dataset"),
    "data behind another protocol": ({"data.uri": "ftp://data/cifar100"}, "data.uri"),
    "a target of an unknown model": ({"space.targetModels": ["resnet33"]}, "space.targetModels"),
    "an auxiliary node of an unknown model": ({"space.auxiliaryModels.1": "vgg16"}, "space.auxiliaryModels"),
    "three nodes and nothing to draw two of them from": ({"space.auxiliaryModels": REMOVED}, "space.auxiliaryModels"),
    "a rule by kind and by ends": ({"space.edges.2.kind": "Transfer"}, "space.edges[2]"),
    "a rule for no edges": ({"space.edges.0.kind": REMOVED}, "space.edges[0]"),
    "a label edge with another loss": ({"space.edges.0.losses": ["KL"]}, "space.edges[0].losses"),
    "an edge from Label with another loss": (
        {"space.edges.2": {"from": "Label", "to": "1", "gates": ["Linear"], "losses": ["KL"]}},
        "space.edges[2].losses",
    ),
    "CrossEntropy between nodes": ({"space.edges.1.losses": ["KL", "CrossEntropy"]}, "space.edges[1].losses"),
    "KL from a node to itself": ({"space.edges.3.losses": ["KL"]}, "space.edges[3].losses"),
    "a self edge without a loss": ({"space.edges.3.losses": REMOVED}, "space.edges[3].losses"),
    "an EMA edge from the ground truth": ({"space.edges.0.ema": True}, "space.edges[0].ema"),
    "an EMA edge from a node to itself": ({"space.edges.3.ema": True}, "space.edges[3].ema"),
    "an edge from a fourth of three nodes": ({"space.edges.2.from": "4"}, "space.edges"),
    "an edge to a node by another name": ({"space.edges.2.to": "student"}, "space.edges"),
    "an edge to the ground truth": ({"space.edges.2.to": "Label"}, "space.edges"),
    "a range that is upside down": (
        {"space.gateParameters.sine.frequency": {"min": 2, "max": 1}},
        "space.gateParameters.sine.frequency",
    ),
    "a phase of more than a turn": (
        {"space.gateParameters.sine.phase": {"min": 0, "max": 7}},
        "space.gateParameters.sine.phase",
    ),
    "a negative frequency": (
        {"space.gateParameters.sine.frequency.min": -1},
        "space.gateParameters.sine.frequency",
    ),
    "a baseline twice": ({"comparison.baselines": ["Independent", "Independent"]}, "comparison.baselines"),
    "a volume without a source": ({"trainer.volumes.0.emptyDir": REMOVED}, "trainer.volumes[0]"),
    "a volume with two sources": ({"trainer.volumes.0.secret": {"secretName": "s"}}, "trainer.volumes[0]"),
}

_BY_RULES_OF_GRAPHS = {
    "several graphs, one without a name": ({"graphs.0.name": REMOVED}, "graphs"),
    "two graphs of one name": ({"graphs.1.name": "first"}, "graphs"),
    "a stage that starts from a later graph": (
        {"graphs.0.nodes.0.weights": {"node": {"graph": "second", "node": "b"}}},
        "graphs",
    ),
    "a stage that starts from a graph that is not there": ({"graphs.1.nodes.0.weights.node.graph": "0"}, "graphs"),
    "a stage that starts from a node that is not there": ({"graphs.1.nodes.0.weights.node.node": "z"}, "graphs"),
    "a stage that starts from another model": ({"graphs.1.nodes.0.model": "resnet14"}, "graphs"),
    "a self edge and an unlabelled batch of more images than there are": (
        {
            "graphs.1.edges.4": {"source": "b", "destination": "b", "loss": {"type": "Consistency"}},
            "training.unlabelled": {"batchSize": 639},
        },
        "training.unlabelled.batchSize",
    ),
    "a target that is frozen": ({"graphs.1.target": "a"}, "graphs"),
    "a target that learns nothing": ({"graphs.0.edges": REMOVED}, "graphs"),
    "a target whose only edge is cut": ({"graphs.0.edges.0.gate": {"type": "Cutoff"}}, "graphs"),
    "a target that is no node": ({"graphs.1.target": "z"}, "graphs[1].target"),
    "two nodes of one name": ({"graphs.1.nodes.2.name": "b"}, "graphs[1].nodes"),
    "a graph without nodes": ({"graphs.0.nodes": []}, "graphs[0].nodes"),
    "a node without a name": ({"graphs.0.nodes.0.name": REMOVED}, "graphs[0].nodes[0].name"),
    "a node called like the ground truth": ({"graphs.1.nodes.2.name": "Label"}, "graphs[1].nodes[2].name"),
    "a network called like the ensemble's score": ({"graphs.0.nodes.0.name": "ensemble"}, "graphs[0].nodes"),
    "a network without a model": ({"graphs.0.nodes.0.model": REMOVED}, "graphs[0].nodes[0].model"),
    "a network of an unknown model": ({"graphs.0.nodes.0.model": "resnet9"}, "graphs[0].nodes[0].model"),
    "an average with a model of its own": ({"graphs.1.nodes.2.model": "resnet8"}, "graphs[1].nodes[2].model"),
    "an average of nobody": ({"graphs.1.nodes.2.follows": REMOVED}, "graphs[1].nodes[2].follows"),
    "a trained node that follows": ({"graphs.1.nodes.1.follows": "a"}, "graphs[1].nodes[1].follows"),
    "an average of a frozen node": ({"graphs.1.nodes.2.follows": "a"}, "graphs[1].nodes"),
    "an ensemble without members": ({"graphs.1.nodes.3.members": []}, "graphs[1].nodes[3].members"),
    "an ensemble with a stranger": ({"graphs.1.nodes.3.members": ["a", "z"]}, "graphs[1].nodes"),
    "an ensemble with a member twice": ({"graphs.1.nodes.3.members": ["a", "a"]}, "graphs[1].nodes[3].members"),
    "a decay of a node that is trained": ({"graphs.1.nodes.1.decay": 0.5}, "graphs[1].nodes[1].decay"),
    "an average of logits by a single network": (
        {"graphs.1.nodes.1.average": "Probabilities"},
        "graphs[1].nodes[1].average",
    ),
    "a teacher without weights": ({"graphs.1.nodes.0.weights": REMOVED}, "graphs[1].nodes[0].weights"),
    "an average with weights of its own": (
        {"graphs.1.nodes.2.weights": {"pretrained": {}}},
        "graphs[1].nodes[2].weights",
    ),
    "weights from two places": ({"graphs.1.nodes.0.weights.uri": "s3://w/a.pt"}, "graphs[1].nodes[0].weights"),
    "weights from nowhere": ({"graphs.1.nodes.0.weights": {}}, "graphs[1].nodes[0].weights"),
    "weights at a relative path": (
        {"graphs.1.nodes.0.weights": {"uri": "weights/a.pt"}},
        "graphs[1].nodes[0].weights.uri",
    ),
    "torchvision's weights for a model of ours": (
        {"graphs.1.nodes.1.weights": {"torchvision": "IMAGENET1K_V1"}},
        "graphs[1].nodes[1].weights",
    ),
    "a seventeenth copy": (
        {"graphs.1.nodes.0.weights": {"pretrained": {"copy": 16}}},
        "graphs[1].nodes[0].weights.pretrained.copy",
    ),
    "an edge from nowhere": ({"graphs.1.edges.1.source": "z"}, "graphs[1].edges"),
    "an edge to nowhere": ({"graphs.1.edges.1.destination": "z"}, "graphs[1].edges"),
    "an edge that teaches a frozen node": ({"graphs.1.edges.3.gate.type": "Linear"}, "graphs[1].edges"),
    "the same edge twice": (
        {"graphs.1.edges.2": {"source": "a", "destination": "b", "loss": {"type": "KL"}}},
        "graphs[1].edges",
    ),
    "KL on a label edge": ({"graphs.0.edges.0.loss.type": "KL"}, "graphs[0].edges[0].loss"),
    "CrossEntropy between networks": ({"graphs.1.edges.1.loss": {"type": "CrossEntropy"}}, "graphs[1].edges[1].loss"),
    "KL of a network with itself": ({"graphs.1.edges.1.source": "b"}, "graphs[1].edges[1].loss"),
    "a temperature of attention": ({"graphs.1.edges.2.loss.temperature": 2}, "graphs[1].edges[2].loss.temperature"),
    "crops of probabilities": ({"graphs.1.edges.1.loss.crops": [3]}, "graphs[1].edges[1].loss.crops"),
    "a threshold of KL": ({"graphs.1.edges.1.loss.threshold": 0.5}, "graphs[1].edges[1].loss.threshold"),
    "maps of probabilities resized": ({"graphs.1.edges.1.loss.resize": "Bilinear"}, "graphs[1].edges[1].loss.resize"),
    "a frequency of a line": ({"graphs.1.edges.1.gate.frequency": 2}, "graphs[1].edges[1].gate.frequency"),
    "a phase of a line": ({"graphs.1.edges.1.gate.phase": 1}, "graphs[1].edges[1].gate.phase"),
    "a threshold of a line": ({"graphs.1.edges.1.gate.threshold": 0.5}, "graphs[1].edges[1].gate.threshold"),
    "a gate that needs labels on images without": (
        {
            "graphs.1.edges.1.gate.type": "Correct",
            "graphs.1.edges.2": {"source": "a", "destination": "b", "loss": {"type": "PseudoLabel"}},
        },
        "graphs[1].edges",
    ),
    "mutual learning of nine": (
        {
            "graphs.1": {"name": "n", "nodes": _MANY, "edges": [{**_LABEL, "destination": "n0"}]},
            "comparison.baselines": ["MutualLearning"],
        },
        "comparison.baselines",
    ),
}

_BY_THE_OPERATOR = {
    "an average of a network that learns nothing is scored": (
        {"graphs.1.target": "c", "graphs.1.edges": []},
        "graphs[1].edges",
    ),
    "an ensemble of networks that learn nothing is scored": (
        {"graphs.1.target": "ensemble", "graphs.1.edges": []},
        "graphs[1].edges",
    ),
    "no network learns, and the best one is scored": (
        {"objective.scoreOf": "BestNode", "graphs.1.edges": []},
        "graphs[1].edges",
    ),
    "no network learns, and the ensemble is scored": (
        {"objective.scoreOf": "Ensemble", "graphs.1.edges": []},
        "graphs[1].edges",
    ),
    "every network is a teacher, and the best is scored": (
        {
            "objective.scoreOf": "BestNode",
            "graphs.0.nodes.0": {**_A, "kind": "Frozen", "weights": {"pretrained": {}}},
            "graphs.0.edges": [],
        },
        "graphs[0].nodes",
    ),
    "the second ensemble is called like the ensemble's score": (
        {
            "graphs.1.nodes.3.name": "both",
            "graphs.1.nodes.5": {"name": "ensemble", "kind": "Ensemble", "members": ["a", "b"]},
        },
        "graphs[1].nodes[5].name",
    ),
    "weights in a bucket, which are not named": (
        {"graphs.1.nodes.0.weights": {"uri": "s3://weights"}},
        "graphs[1].nodes[0].weights.uri",
    ),
    "a folder of weights": (
        {"graphs.1.nodes.0.weights": {"uri": "file:///weights/"}},
        "graphs[1].nodes[0].weights.uri",
    ),
    "a stage starts from a network that its graph has no use for": (
        {"graphs.0.nodes.1": {"name": "z", "model": "resnet8"}, "graphs.1.nodes.0.weights.node.node": "z"},
        "graphs[1].nodes[0].weights.node.node",
    ),
}

_OF_TRIALS = {
    "a trial without a graph": ({"graph": REMOVED}, "graph"),
    "a trial without a purpose": ({"purpose": REMOVED}, "purpose"),
    "a trial with a negative number": ({"index": -1}, "index"),
    "a trial by hand without data": ({"data": REMOVED}, "data"),
    "a trial by hand of an unknown purpose": ({"purpose": "Try"}, "purpose"),
    "a trial by hand evaluated in another unit": ({"training.evaluateEvery": {"steps": 1}}, "training.evaluateEvery"),
}

_OF_TRIALS_BY_THE_OPERATOR = {
    "a trial by hand whose target learns nothing": ({"graph.edges": []}, "graph.edges"),
    "a trial by hand of more images than there are": ({"data.labelled": {"count": 700}}, "data.labelled.count"),
}

_GOALS = {
    "a goal beyond every score": {"metric": "Accuracy", "goal": 2},
    "a goal that every graph reaches": {"metric": "Accuracy", "goal": 0},
    "a log loss of the other sign": {"metric": "NegativeLogLoss", "goal": 0.5},
}
"""Refused as they come in, by ``check_new`` here: a search that an earlier version has begun with one goes on."""


def _rows() -> Iterator[Invalid]:
    for base, table, is_judged in (
        (DRAWN, _BY_SCHEMA, True),
        (DRAWN, _BY_RULES_OF_THE_SPACE, True),
        (FIXED, _BY_RULES_OF_GRAPHS, True),
        (FIXED, _BY_THE_OPERATOR, False),
        (TRIAL, _OF_TRIALS, True),
        (TRIAL, _OF_TRIALS_BY_THE_OPERATOR, False),
    ):
        for number, (name, (changes, where)) in enumerate(table.items()):
            own_name = {"metadata.name": f"{base['metadata']['name']}-{number}"}
            field = where if where.startswith("metadata") else f"spec.{where}".removesuffix(".")
            yield Invalid(name, changed(base, own_name | changes), field, field if is_judged else "")
    for number, (name, objective) in enumerate(_GOALS.items()):
        goal = changed(DRAWN, {"metadata.name": f"goal-{number}", "objective": objective})
        yield Invalid(name, goal, "", "spec.objective.goal")
    quantity = changed(DRAWN, {"trainer.resources.limits.cpu": "a few"})
    yield Invalid("an amount in words", quantity, "", "spec.trainer.resources.limits.cpu")


INVALID = tuple(_rows())
