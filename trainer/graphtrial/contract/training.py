"""How networks are trained: lengths, learning rate, images of a step (spec 7).

Presets are the searcher's; here every value is settled.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from graphtrial.contract._base import Model, Violation, refuse

Count = Annotated[int, Field(ge=1, le=2**31)]


class Length(Model):
    """A span of training, in epochs or in steps (updates)."""

    epochs: Count | None = None
    """Passes over the training images."""
    steps: Count | None = None
    """Updates."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            refuse("Length", [Violation((), "give exactly one of epochs and steps")])
        return self

    def in_steps(self, steps_per_epoch: int) -> int:
        """The span in updates, given how many make an epoch."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return self.epochs * steps_per_epoch


class Precision(StrEnum):
    """Arithmetic of forward and backward; losses, softmax and optimiser state are float32 in each."""

    FP32 = "FP32"
    TF32 = "TF32"
    """On a GPU: float32 whose factors are rounded to 10 bits, as PyTorch's convolutions are unless told otherwise."""
    BF16 = "BF16"


class ScheduleType(StrEnum):
    """How the learning rate falls."""

    MULTI_STEP = "MultiStep"
    COSINE = "Cosine"
    """From the base rate to nearly 0, half a period."""
    FIXMATCH_COSINE = "FixMatchCosine"
    """cos(7 pi k / 16 K): to a fifth of the base rate (Sohn et al. 2020)."""
    CONSTANT = "Constant"


class Schedule(Model):
    """The learning rate over training. Milestones are fractions of the length, so a shorter run keeps its shape."""

    type: ScheduleType = ScheduleType.MULTI_STEP
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.3, 0.6, 0.9)
    """MultiStep: multiplied by ``factor`` after each. 0.3, 0.6, 0.9 of 200 epochs are 60, 120, 180 (spec 7.1)."""
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of the length over which the rate rises linearly to where the shape has got by then."""


class Augmentation(StrEnum):
    """What happens to a training image before a network sees it."""

    PAD_CROP_FLIP = "PadCropFlip"
    """Reflect-padded by 4 pixels (below 32 an eighth of its side), cropped back at random, mirrored half the time."""
    PAD_CROP = "PadCrop"
    """The same without the mirror, for images that have a handedness (digits, letters)."""
    RAND_AUGMENT = "RandAugment"
    """PadCropFlip, then operations drawn anew for each image, and a cut-out: FixMatch's strong view."""
    CROP_FLIP = "CropFlip"
    """Of large images, which are kept larger than what networks see: cropped at random, mirrored half the time."""
    RESIZED_CROP_FLIP = "ResizedCropFlip"
    """Of large images: a random part of the image, resized, and mirrored half the time (spec 7.2)."""
    NONE = "None"


class Forward(StrEnum):
    """How a trained node runs over the parts of a semi-supervised step."""

    CONCATENATED = "Concatenated"
    """All its parts in one pass, with common BatchNorm statistics (FixMatch's interleaving)."""
    SEPARATE = "Separate"
    """A pass for each part; what it says as a source costs no gradient."""


class Unlabelled(Model):
    """The unlabelled part of a semi-supervised step: two views of the same images (spec 2.3, 7.3)."""

    batch_size: Annotated[int, Field(ge=1, le=65536)] = 64
    """Images; each gives both views."""
    destination: Augmentation = Augmentation.PAD_CROP_FLIP
    """zeta1, what the node that learns sees."""
    source: Augmentation = Augmentation.PAD_CROP_FLIP
    """zeta2, what its source sees."""
    forward: Forward = Forward.CONCATENATED


class Reduction(StrEnum):
    """How a batch's losses become one."""

    MEAN = "Mean"
    """As (4.12) and (4.14) have it, and the authors' code for (3.2)."""
    SUM = "Sum"
    """As (3.2) is written."""


class Aggregation(StrEnum):
    """How the gradients of a node's losses become one (spec 9)."""

    SUM = "Sum"
    """Their sum, as (3.3) has it: one backward pass."""
    PROJECT = "Project"
    """From each gradient the part that points against another one is taken, then the sum (Yu et al. 2020)."""
    PROJECT_PER_LAYER = "ProjectPerLayer"
    """The same for the parameters of each layer on their own."""


class Training(Model):
    """How networks are trained; presets are already resolved."""

    length: Length
    evaluate_every: Length = Length(epochs=1)
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 64
    precision: Precision = Precision.FP32
    learning_rate: Annotated[float, Field(gt=0, le=1000)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    weight_decay: Annotated[float, Field(ge=0, le=1000)] = 5e-4
    schedule: Schedule = Schedule()
    augmentation: Augmentation = Augmentation.PAD_CROP_FLIP
    """Of labelled images."""
    unlabelled: Unlabelled = Unlabelled()
    """Of semi-supervised graphs."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target that label edges spread over all classes."""
    clip_norm: Annotated[float | None, Field(gt=0)] = None
    """Largest L2 norm of a node's gradient; left out: any."""
    reduction: Reduction = Reduction.MEAN
    frozen_batch_norm: bool = True
    """False: frozen teachers run on batch statistics, as in the authors' code (spec 10)."""
    aggregation: Aggregation = Aggregation.SUM
    """Of graphs in which one network learns, which compression makes (spec 9)."""
    deterministic: bool = False
    """On a GPU, only kernels that add in one order: two runs are bit-equal, a resumed one too. On a CPU always so."""
