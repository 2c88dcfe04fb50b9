"""The training tables of spec 7 as presets, and how a manifest's choice becomes the contract's Training."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from graphtrial.contract import (
    Augmentation,
    Forward,
    Length,
    Model,
    Precision,
    Reduction,
    Schedule,
    ScheduleType,
    Training,
    Unlabelled,
)


class Preset(StrEnum):
    """A row of the training tables."""

    CIFAR = "CIFAR"
    """Spec 7.1: 200 epochs, batch 64, SGD 0.1 with Nesterov, divided by ten after 60, 120 and 180."""
    TINY_IMAGENET = "TinyImageNet"
    """Spec 7.1: 80 epochs, divided by ten after 40, 60 and 70."""
    ENSEMBLE = "Ensemble"
    """Spec 7.2 on CIFAR: 300 epochs, batch 128, no Nesterov, divided by ten after 150 and 225."""
    LARGE_IMAGES = "LargeImages"
    """Spec 7.1 on images of 224 pixels: as CIFAR, with crops of larger images."""
    ENSEMBLE_LARGE_IMAGES = "EnsembleLargeImages"
    """Spec 7.2 on images of 224 pixels: as Ensemble, with batch 16 and resized crops."""
    FIXMATCH = "FixMatch"
    """Table 5.1: 2^20 updates of 64 labelled and 448 unlabelled images, RandAugment for the node that learns."""
    DIVERSE_CIFAR100 = "DiverseCIFAR100"
    """Table 5.2 for CIFAR-100 with 10,000 labels: 82,400 updates of 31 labelled and 97 unlabelled images."""
    DIVERSE_CIFAR10 = "DiverseCIFAR10"
    """Table 5.2 for CIFAR-10 with 10,000 labels: 160,000 updates of 50 labelled and 50 unlabelled images."""


_ENSEMBLE = Training(
    length=Length(epochs=300),
    batch_size=128,
    nesterov=False,
    weight_decay=1e-4,
    schedule=Schedule(milestones=(0.5, 0.75)),
)
# Spec 7.3 states no learning-rate schedule; those of the methods' originals (FixMatch, Dual Student) are taken.
_PRESETS = {
    Preset.CIFAR: Training(length=Length(epochs=200)),
    Preset.TINY_IMAGENET: Training(length=Length(epochs=80), schedule=Schedule(milestones=(0.5, 0.75, 0.875))),
    Preset.ENSEMBLE: _ENSEMBLE,
    Preset.LARGE_IMAGES: Training(length=Length(epochs=200), augmentation=Augmentation.CROP_FLIP),
    Preset.ENSEMBLE_LARGE_IMAGES: _ENSEMBLE.model_copy(
        update={"batch_size": 16, "augmentation": Augmentation.RESIZED_CROP_FLIP}
    ),
    Preset.FIXMATCH: Training(
        length=Length(steps=2**20),
        evaluate_every=Length(steps=2**13),
        learning_rate=0.03,
        weight_decay=1e-3,
        schedule=Schedule(type=ScheduleType.FIXMATCH_COSINE),
        unlabelled=Unlabelled(batch_size=448, destination=Augmentation.RAND_AUGMENT),
    ),
    Preset.DIVERSE_CIFAR100: Training(
        length=Length(steps=82_400),
        evaluate_every=Length(steps=412),
        batch_size=31,
        learning_rate=0.2,
        weight_decay=2e-4,
        schedule=Schedule(type=ScheduleType.COSINE),
        unlabelled=Unlabelled(batch_size=97),
    ),
    Preset.DIVERSE_CIFAR10: Training(
        length=Length(steps=160_000),
        evaluate_every=Length(steps=800),
        batch_size=50,
        learning_rate=0.1,
        weight_decay=1e-4,
        schedule=Schedule(type=ScheduleType.COSINE),
        unlabelled=Unlabelled(batch_size=50),
    ),
}


class ScheduleChoice(Model):
    """The learning rate over training; what is left out comes from the preset."""

    type: ScheduleType | None = None
    """The shape."""
    milestones: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...] | None, Field(max_length=16)] = None
    """MultiStep: fractions of the length."""
    factor: Annotated[float | None, Field(gt=0, le=1)] = None
    """MultiStep: what the rate is multiplied by at each milestone."""
    warm_up: Annotated[float | None, Field(ge=0, lt=1)] = None
    """Fraction of the length over which the rate rises linearly."""


class UnlabelledChoice(Model):
    """The unlabelled part of a semi-supervised step; what is left out comes from the preset."""

    batch_size: Annotated[int | None, Field(ge=1, le=65536)] = None
    """Unlabelled images per update; each gives two views."""
    destination: Augmentation | None = None
    """What the node that learns sees (zeta1)."""
    source: Augmentation | None = None
    """What its source sees (zeta2)."""
    forward: Forward | None = None
    """Concatenated: a node's parts in one pass. Separate: a pass for each."""


class TrainingChoice(Model):
    """How networks are trained; what is left out comes from the preset."""

    preset: Preset = Preset.CIFAR
    """The table that the rest is taken from."""
    length: Length | None = None
    """Of every trial that is not stopped."""
    evaluate_every: Length | None = None
    """Between two evaluations, in the unit of the length."""
    batch_size: Annotated[int | None, Field(ge=1, le=65536)] = None
    """Images per update."""
    precision: Precision | None = None
    """Of forward and backward passes."""
    learning_rate: Annotated[float | None, Field(gt=0, le=1000)] = None
    """Of SGD, at the start."""
    momentum: Annotated[float | None, Field(ge=0, lt=1)] = None
    """Of SGD."""
    nesterov: bool | None = None
    """Whether the momentum is Nesterov's."""
    weight_decay: Annotated[float | None, Field(ge=0, le=1000)] = None
    """Of SGD."""
    schedule: ScheduleChoice | None = None
    """The learning rate over training."""
    augmentation: Augmentation | None = None
    """What happens to a labelled training image before a network sees it."""
    unlabelled: UnlabelledChoice | None = None
    """The unlabelled images of a semi-supervised step."""
    label_smoothing: Annotated[float | None, Field(ge=0, lt=1)] = None
    """Share of the target that label edges spread over all classes."""
    clip_norm: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    """Largest L2 norm of a node's gradient."""
    reduction: Reduction | None = None
    """Mean, or Sum as (3.2) is written."""
    frozen_batch_norm: bool | None = None
    """False: frozen teachers run on batch statistics, as in the authors' code."""
    deterministic: bool | None = None
    """On a GPU, only kernels that add in one order, so that a resumed run is bit-equal; on a CPU they always do."""


def resolve(choice: TrainingChoice) -> Training:
    """The preset's table with the manifest's own values in place."""
    base = _PRESETS[choice.preset]
    given = _given(choice, without=("preset", "schedule", "unlabelled"))
    if choice.schedule is not None:
        given["schedule"] = base.schedule.model_copy(update=_given(choice.schedule))
    if choice.unlabelled is not None:
        given["unlabelled"] = base.unlabelled.model_copy(update=_given(choice.unlabelled))
    return base.model_copy(update=given)


def _given(choice: Model, without: Collection[str] = ()) -> dict[str, Any]:
    return {name: value for name, value in choice if value is not None and name not in without}


def unit_problem(choice: TrainingChoice) -> str | None:
    """Why the number of evaluations is unknown before the data are read, or None."""
    training = resolve(choice)
    if (training.length.epochs is None) == (training.evaluate_every.epochs is None):
        return None
    unit = "steps" if training.length.epochs is None else "epochs"
    return f"give it in {unit}, as the length is: rungs are numbered before the data are read"


def evaluations(training: Training) -> int:
    """How many evaluations a training has; the last one is at its end."""
    length, every = training.length, training.evaluate_every
    spans = (length.epochs, every.epochs) if length.epochs is not None else (length.steps, every.steps)
    assert spans[0] is not None
    assert spans[1] is not None
    return -(-spans[0] // spans[1])
