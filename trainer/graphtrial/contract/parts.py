"""The parts of a knowledge transfer graph: nodes, edges, losses and gates (spec 1-3).

Decided against: a class per loss and gate. The kinds differ in one or two numbers, a flat object with a
``type`` reads best in YAML and becomes a structural schema without unions.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from graphtrial.contract._base import Model

LABEL = "Label"
"""The source of a label edge: node 0, the one-hot ground truth (spec 1.1)."""

ENSEMBLE = "ensemble"
"""What the ensemble's score is called among the nodes' (4.10); of the nodes only the Ensemble that is scored may be."""

Name = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$")]
Reference = Annotated[str, Field(min_length=1, max_length=1024)]
OptionalName = Annotated[str, Field(max_length=40)]
"""Empty where there is none."""
ModelName = Annotated[str, Field(max_length=200)]


class NodeKind(StrEnum):
    """What trains a node (spec 1.1)."""

    TRAINED = "Trained"
    """By the gradient of its own loss."""
    FROZEN = "Frozen"
    """By nothing: it plays the teacher, in evaluation mode."""
    EMA = "EMA"
    """By a moving average of the node it follows (5.2)."""
    ENSEMBLE = "Ensemble"
    """It has no weights: the mean of its members (4.10)."""


class Average(StrEnum):
    """What an ensemble averages (4.1)."""

    LOGITS = "Logits"
    PROBABILITIES = "Probabilities"


class LossType(StrEnum):
    """The loss designs of spec 2; ``graph_rules`` says which edge each may stand on."""

    CROSS_ENTROPY = "CrossEntropy"
    """Supervised, on label edges (3.1, 4.13)."""
    KL = "KL"
    """KL(p_s || p_t), P+ (3.1, 4.6)."""
    PROBABILITY_APART = "ProbabilityApart"
    """Cosine similarity of the probability vectors, minimised: P- (4.7)."""
    ATTENTION_TOGETHER = "AttentionTogether"
    """MSE of L2-normalised map crops: A+ (4.8)."""
    ATTENTION_APART = "AttentionApart"
    """Inner product of L2-normalised map crops: A- (4.9)."""
    TOGETHER = "Together"
    """P+A+ (4.11)."""
    APART = "Apart"
    """P-A- (4.11)."""
    PROBABILITY_NEGATIVE_COSINE = "ProbabilityNegativeCosine"
    PROBABILITY_INVERSE_COSINE = "ProbabilityInverseCosine"
    PROBABILITY_NEGATIVE_KL = "ProbabilityNegativeKL"
    PROBABILITY_INVERSE_KL = "ProbabilityInverseKL"
    ATTENTION_NEGATIVE_COSINE = "AttentionNegativeCosine"
    ATTENTION_INVERSE_COSINE = "AttentionInverseCosine"
    ATTENTION_NEGATIVE_MSE = "AttentionNegativeMSE"
    ATTENTION_INVERSE_MSE = "AttentionInverseMSE"
    CONSISTENCY = "Consistency"
    """KL between two perturbed views (5.1)."""
    PSEUDO_LABEL = "PseudoLabel"
    """Cross entropy to the source's hard label (5.4)."""
    THRESHOLDED_PSEUDO_LABEL = "ThresholdedPseudoLabel"
    """The same where the source is sure (5.5)."""


UNLABELLED = frozenset({LossType.CONSISTENCY, LossType.PSEUDO_LABEL, LossType.THRESHOLDED_PSEUDO_LABEL})
"""Losses on the unlabelled part of a batch; one of them makes a graph semi-supervised."""

ATTENTION = frozenset(kind for kind in LossType if kind.value.startswith("Attention")) | {
    LossType.TOGETHER,
    LossType.APART,
}
"""Losses that read attention maps."""


class Resize(StrEnum):
    """What to do where the maps of an edge's two nodes differ in size."""

    NONE = "None"
    BILINEAR = "Bilinear"


class Loss(Model):
    """A loss design with its parameters; a parameter that its type does not have is refused."""

    type: LossType
    """The design."""
    temperature: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Divides the logits of source and destination; the loss is multiplied by its square (2.5).

    KL, Together, Consistency.
    """
    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """A constant factor (the analysis losses of spec 2.2 print some)."""
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """tau of (5.5), compared strictly. ThresholdedPseudoLabel."""
    crops: Annotated[tuple[Annotated[int, Field(ge=1, le=512)], ...], Field(max_length=8)] = ()
    """Sides of the square crops around the source map's maximum, in cells; empty: the whole map. Attention losses."""
    resize: Resize = Resize.NONE
    """For maps of unequal size. Attention losses."""


class GateType(StrEnum):
    """The gates of spec 3; w is the weight of a sample's loss, k the update count."""

    THROUGH = "Through"
    """w = 1 (3.4)."""
    CUTOFF = "Cutoff"
    """w = 0: the edge is absent (3.5)."""
    LINEAR = "Linear"
    """w = k / k_end (3.6, 5.6)."""
    NEGATIVE_LINEAR = "NegativeLinear"
    """w = (k_end - k) / k_end (5.7)."""
    CORRECT = "Correct"
    """w = 1 where the source's top class is the label (3.7)."""
    SINE = "Sine"
    """w = 0.5 + 0.5 sin(2 pi f k / k_end + phi) (3.8)."""
    THRESHOLD = "Threshold"
    """w = 1 where the source's top probability exceeds tau (5.8)."""


ALWAYS_OPEN_FOR_LABELS = frozenset({GateType.CORRECT, GateType.THRESHOLD})
"""On a label edge they are Through: the one-hot source is always right and always sure (spec 3)."""


class Gate(Model):
    """A gate with its parameters; a parameter that its type does not have is refused."""

    type: GateType
    """The design."""
    frequency: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """f of (3.8), in periods per training. Sine."""
    phase: Annotated[float, Field(ge=0, le=2 * math.pi)] = 0.0
    """phi of (3.8), in radians. Sine."""
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """tau of (5.8), compared strictly. Threshold."""


class NodeOfGraph(Model):
    """Node ``node`` of another graph of the same list, when its training is done: makes stages."""

    graph: Name
    """A graph that stands earlier in the list."""
    node: Name
    """A network of that graph, of the same model."""


class Pretrained(Model):
    """The same model trained beforehand with labels only on the same data (spec 1.1)."""

    copy_number: Annotated[int, Field(ge=0, lt=16, alias="copy")] = 0
    """Two teachers of one model are two networks: copies 0 and 1."""


class Weights(Model):
    """Where a node's first weights come from; exactly one is given. No ``weights`` at all: random."""

    pretrained: Pretrained | None = None
    """The same model trained beforehand, with labels only, on the same data."""
    uri: Reference | None = None
    """An object of published weights: ``file://`` or ``s3://``."""
    torchvision: Reference | None = None
    """A name of the model's own weights there, such as ``IMAGENET1K_V1``.

    The model is ``torchvision:NAME``, ``resnet18`` to ``resnet152``, or an ABN on one of these.
    """
    node: NodeOfGraph | None = None
    """A network of a graph that stands earlier in the list."""


class Node(Model):
    """A network, or an average of networks."""

    name: Name
    """What edges, members and followers call it; unique in its graph."""
    kind: NodeKind = NodeKind.TRAINED
    """What trains it."""
    model: ModelName = ""
    """A name of the catalogue, ``torchvision:NAME``, ``timm:NAME`` or ``package.module:Name``.

    An EMA node takes that of the node it follows.
    """
    weights: Weights | None = None
    """Where its first weights come from; left out: random."""
    trunk: OptionalName = ""
    """Trained: nodes that name the same trunk share all layers below the last group of blocks (ONE, Song & Chai)."""
    follows: OptionalName = ""
    """EMA: the node whose weights it averages (an edge s => t of spec 1.2)."""
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """EMA: alpha of (5.2)."""
    members: Annotated[tuple[OptionalName, ...], Field(max_length=16)] = ()
    """Ensemble: the nodes it averages."""
    average: Average = Average.LOGITS
    """Ensemble: what is averaged."""


class Edge(Model):
    """Knowledge flows from source to destination; the gradient only into the destination (spec 1.2)."""

    source: OptionalName
    """A node's name, or ``Label``."""
    destination: OptionalName
    """The node that learns."""
    loss: Loss
    """What it learns."""
    gate: Gate = Gate(type=GateType.THROUGH)
    """How much the loss weighs over training, and for which samples."""

    @property
    def is_label(self) -> bool:
        """Whether the source is the ground truth."""
        return self.source == LABEL

    @property
    def acting_gate(self) -> Gate:
        """The gate as it acts: on a label edge some are always open."""
        is_open = self.is_label and self.gate.type in ALWAYS_OPEN_FOR_LABELS
        return Gate(type=GateType.THROUGH) if is_open else self.gate

    @property
    def is_live(self) -> bool:
        """Whether the edge exists at all: Cutoff is absence (3.5)."""
        return self.gate.type is not GateType.CUTOFF
