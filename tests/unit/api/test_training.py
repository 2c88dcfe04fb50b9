"""The training tables of spec 7 as presets, and what a manifest changes in them."""

from __future__ import annotations

import pytest

from graphsearch.api import Preset, TrainingChoice, evaluations, resolve
from graphtrial.contract import Length

TABLES = [
    # preset, epochs, batch, rate, momentum, nesterov, weight decay, drops after these epochs
    (Preset.CIFAR, 200, 64, 0.1, 0.9, True, 5e-4, (60, 120, 180)),
    (Preset.TINY_IMAGENET, 80, 64, 0.1, 0.9, True, 5e-4, (40, 60, 70)),
    (Preset.ENSEMBLE, 300, 128, 0.1, 0.9, False, 1e-4, (150, 225)),
]


@pytest.mark.parametrize(("preset", "epochs", "batch", "rate", "momentum", "nesterov", "decay", "drops"), TABLES)
def test_presets_are_the_tables(preset, epochs, batch, rate, momentum, nesterov, decay, drops):
    """Spec 7.1 and 7.2: SGD, divided by ten at fractions of the length; one evaluation an epoch."""
    training = resolve(TrainingChoice(preset=preset))
    assert (training.length.epochs, training.batch_size, training.learning_rate) == (epochs, batch, rate)
    assert (training.momentum, training.nesterov, training.weight_decay) == (momentum, nesterov, decay)
    assert tuple(round(fraction * epochs) for fraction in training.schedule.milestones) == drops
    assert (training.schedule.factor, evaluations(training)) == (0.1, epochs)


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
