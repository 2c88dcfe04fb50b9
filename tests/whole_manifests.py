"""Manifests in which every optional part is there, and a way to change them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import yaml

REMOVED = object()
"""The value of a field that is taken away."""

DRAWN = yaml.safe_load("""
apiVersion: graphsearch.io/v1alpha1
kind: GraphSearch
metadata: {name: drawn}
spec:
  objective: {scoreOf: TargetNode, metric: Accuracy, goal: 0.78}
  data: {dataset: CIFAR100, uri: "s3://data/cifar100", searchValidation: {count: 10000}, labelled: {count: 400}}
  space:
    nodes: 3
    targetModels: [resnet32]
    auxiliaryModels: [resnet32, "torchvision:resnet18", "mylab.nets:Small"]
    isolatedNodes: Pretrained
    edges:
      - {kind: Label, gates: [Through, Cutoff]}
      - {kind: Transfer, losses: [KL], gates: [Linear, Correct]}
      - {from: "2", to: "1", losses: [KL], gates: [Linear]}
      - {kind: Self, losses: [Consistency], gates: [Threshold]}
    gateParameters: {sine: {frequency: {min: 0, max: 1}, phase: {min: 0, max: 4.712389}}, threshold: {above: 0.95}}
    attention: {crops: [3, 5, 7]}
  training: {preset: CIFAR, length: {epochs: 200}, evaluateEvery: {epochs: 1}, batchSize: 64, precision: FP32}
  scheduler: {asha: {mode: Stopping, firstRung: 1, reductionFactor: 2}}
  sampler: {type: Random}
  budget: {maxTrials: 1500, parallelTrials: 30, maxFailedTrials: 50, maxGpuHours: 400, deadlineSeconds: 604800}
  comparison: {finalists: 3, repeats: 5, baselines: [Independent, MutualLearning, Distillation, AllThrough]}
  trainer:
    image: registry.example/trainer:1.0
    resources: {limits: {nvidia.com/gpu: 1, cpu: 500m, memory: 1.5Gi}}
    tolerations: [{key: gpu, operator: Exists}]
    env: [{name: A, value: b}, {name: C, valueFrom: {secretKeyRef: {name: s, key: k}}}]
    volumes: [{name: scratch, emptyDir: {sizeLimit: 1Gi}}]
    volumeMounts: [{name: scratch, mountPath: /scratch}]
  checkpoint: {uri: "s3://searches", credentialsSecretRef: {name: s3}, every: {epochs: 1}}
  compression: {student: resnet32, temperatures: [1, 2]}
  metrics: {source: Prometheus, fallback: Direct}
  ttlSecondsAfterFinished: 604800
""")
"""A search that draws its graphs."""

FIXED = yaml.safe_load("""
apiVersion: graphsearch.io/v1alpha1
kind: GraphSearch
metadata: {name: fixed}
spec:
  data: {dataset: digits}
  graphs:
    - name: first
      nodes: [{name: a, model: resnet8}]
      edges: [{source: Label, destination: a, loss: {type: CrossEntropy}}]
    - name: second
      target: b
      nodes:
        - {name: a, kind: Frozen, model: resnet8, weights: {node: {graph: first, node: a}}}
        - {name: b, model: resnet8}
        - {name: c, kind: EMA, follows: b, decay: 0.9}
        - {name: ensemble, kind: Ensemble, members: [a, b], average: Probabilities}
        - {name: d, kind: Frozen, model: resnet18, weights: {torchvision: IMAGENET1K_V1}}
      edges:
        - {source: Label, destination: b, loss: {type: CrossEntropy}, gate: {type: Sine, frequency: 1, phase: 2}}
        - {source: a, destination: b, loss: {type: KL, temperature: 2}, gate: {type: Linear}}
        - {source: d, destination: b, loss: {type: AttentionTogether, crops: [3], resize: Bilinear}}
        - {source: b, destination: a, loss: {type: KL}, gate: {type: Cutoff}}
  comparison: {baselines: [Independent]}
""")
"""A search of two given graphs, the second of which starts from the first."""

TRIAL = yaml.safe_load("""
apiVersion: graphsearch.io/v1alpha1
kind: GraphTrial
metadata: {name: by-hand}
spec:
  index: 0
  purpose: Compare
  graph:
    nodes: [{name: a, model: resnet8}]
    edges: [{source: Label, destination: a, loss: {type: CrossEntropy}}]
  data: {dataset: digits}
  checkpoint: {uri: "s3://searches"}
""")
"""A trial that a user applies without a search."""


def changed(manifest: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with other values at dotted paths such as ``spec.graphs.1.target``."""
    result = copy.deepcopy(dict(manifest))
    for path, value in changes.items():
        *parents, last = path.split(".") if path.startswith("metadata") else ["spec", *path.split(".")]
        place: Any = result
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        key: Any = int(last) if isinstance(place, list) else last
        if value is REMOVED:
            del place[key]
        elif isinstance(place, list) and key == len(place):
            place.append(value)
        else:
            place[key] = value
    return result
