"""The training tables of spec 7 as presets, and how a manifest's choice becomes the contract's Training."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from graphtrial.contract import Augmentation, Length, Model, Precision, Schedule, ScheduleType, Training


class Preset(StrEnum):
    """A row of the training tables."""

    CIFAR = "CIFAR"
    """Spec 7.1: 200 epochs, batch 64, SGD 0.1 with Nesterov, divided by ten after 60, 120 and 180."""
    TINY_IMAGENET = "TinyImageNet"
    """Spec 7.1: 80 epochs, divided by ten after 40, 60 and 70."""
    ENSEMBLE = "Ensemble"
    """Spec 7.2 on CIFAR: 300 epochs, batch 128, no Nesterov, divided by ten after 150 and 225."""


_PRESETS = {
    Preset.CIFAR: Training(length=Length(epochs=200)),
    Preset.TINY_IMAGENET: Training(length=Length(epochs=80), schedule=Schedule(milestones=(0.5, 0.75, 0.875))),
    Preset.ENSEMBLE: Training(
        length=Length(epochs=300),
        batch_size=128,
        nesterov=False,
        weight_decay=1e-4,
        schedule=Schedule(milestones=(0.5, 0.75)),
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
    """What happens to a training image before a network sees it."""


def resolve(choice: TrainingChoice) -> Training:
    """The preset's table with the manifest's own values in place."""
    base = _PRESETS[choice.preset]
    given = {name: value for name, value in choice if value is not None and name not in ("preset", "schedule")}
    if choice.schedule is not None:
        own = {name: value for name, value in choice.schedule if value is not None}
        given["schedule"] = base.schedule.model_copy(update=own)
    return base.model_copy(update=given)


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
