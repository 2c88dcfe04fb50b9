"""The training tables of spec 7 as presets, and what a manifest changes in them."""

from __future__ import annotations

import pytest

from graphsearch.api import Preset, TrainingChoice, evaluations, resolve
from graphtrial.contract import Aggregation, Augmentation, Length, Precision, Reduction, ScheduleType

MULTI_STEP = {"type": ScheduleType.MULTI_STEP, "factor": 0.1, "warm_up": 0.0}
CROPS = Augmentation.PAD_CROP_FLIP
SEMI_SUPERVISED = {"momentum": 0.9, "nesterov": True, "augmentation": CROPS}
CHAPTER_3 = {"batch_size": 64, "learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
CHAPTER_4 = {"learning_rate": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-4}

TABLES = {
    Preset.CIFAR: (CHAPTER_3 | {"augmentation": CROPS}, Length(epochs=200), (60, 120, 180), 200),
    Preset.TINY_IMAGENET: (CHAPTER_3 | {"augmentation": CROPS}, Length(epochs=80), (40, 60, 70), 80),
    Preset.LARGE_IMAGES: (
        CHAPTER_3 | {"augmentation": Augmentation.CROP_FLIP},
        Length(epochs=200),
        (60, 120, 180),
        200,
    ),
    Preset.ENSEMBLE: (
        CHAPTER_4 | {"batch_size": 128, "augmentation": CROPS},
        Length(epochs=300),
        (150, 225),
        300,
    ),
    Preset.ENSEMBLE_LARGE_IMAGES: (
        CHAPTER_4 | {"batch_size": 16, "augmentation": Augmentation.RESIZED_CROP_FLIP},
        Length(epochs=300),
        (150, 225),
        300,
    ),
    Preset.FIXMATCH: (
        SEMI_SUPERVISED | {"batch_size": 64, "learning_rate": 0.03, "weight_decay": 0.001},
        Length(steps=1_048_576),
        ScheduleType.FIXMATCH_COSINE,
        128,
    ),
    Preset.DIVERSE_CIFAR100: (
        SEMI_SUPERVISED | {"batch_size": 31, "learning_rate": 0.2, "weight_decay": 0.0002},
        Length(steps=(50_000 - 10_000) // 97 * 200),
        ScheduleType.COSINE,
        200,
    ),
    Preset.DIVERSE_CIFAR10: (
        SEMI_SUPERVISED | {"batch_size": 50, "learning_rate": 0.1, "weight_decay": 0.0001},
        Length(steps=(50_000 - 10_000) // 50 * 200),
        ScheduleType.COSINE,
        200,
    ),
}
"""Single values, length, epochs after which the rate drops or the shape of its fall, and number of evaluations."""

UNLABELLED = {
    Preset.FIXMATCH: (448, Augmentation.RAND_AUGMENT, CROPS),
    Preset.DIVERSE_CIFAR100: (97, CROPS, CROPS),
    Preset.DIVERSE_CIFAR10: (50, CROPS, CROPS),
}
"""Tables 5.1 and 5.2: unlabelled images of a batch, zeta1 and zeta2."""


@pytest.mark.parametrize("preset", Preset)
def test_presets_are_the_tables(preset):
    """Spec 7.1, 7.2 and 7.3, whole: what no table says is the method as it is written (spec 2, 10)."""
    values, length, fall, number = TABLES[preset]
    training = resolve(TrainingChoice(preset=preset))
    assert {name: getattr(training, name) for name in values} == values
    assert (training.length, evaluations(training)) == (length, number)
    schedule = training.schedule
    if isinstance(fall, ScheduleType):
        assert (schedule.type, schedule.warm_up) == (fall, 0.0)
    else:
        assert {name: getattr(schedule, name) for name in MULTI_STEP} == MULTI_STEP
        assert tuple(fraction * length.epochs for fraction in schedule.milestones) == pytest.approx(fall, abs=1e-9)
    if preset in UNLABELLED:
        views = training.unlabelled
        assert (views.batch_size, views.destination, views.source) == UNLABELLED[preset]
    settled = (training.label_smoothing, training.clip_norm, training.reduction, training.frozen_batch_norm)
    assert settled == (0.0, None, Reduction.MEAN, True)
    assert (training.precision, training.aggregation) == (Precision.FP32, Aggregation.SUM)


def test_a_manifest_overrides_single_values():
    """What is left out stays the preset's, also within the schedule."""
    choice = TrainingChoice.model_validate(
        {
            "preset": "Ensemble",
            "batchSize": 32,
            "length": {"epochs": 10},
            "schedule": {"factor": 0.5},
        }
    )
    training = resolve(choice)
    assert (training.batch_size, training.nesterov, training.length) == (32, False, Length(epochs=10))
    assert (training.schedule.factor, training.schedule.milestones) == (0.5, (0.5, 0.75))


@pytest.mark.parametrize(
    ("length", "every", "expected"),
    [({"epochs": 200}, {"epochs": 1}, 200), ({"epochs": 10}, {"epochs": 3}, 4), ({"steps": 100}, {"steps": 100}, 1)],
)
def test_the_last_evaluation_is_at_the_end(length, every, expected):
    """A rest shorter than the interval ends with an evaluation too."""
    choice = TrainingChoice.model_validate({"length": length, "evaluateEvery": every})
    assert evaluations(resolve(choice)) == expected
