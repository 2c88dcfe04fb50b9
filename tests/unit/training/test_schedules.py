"""The learning rate is a function of the step alone."""

import math

import pytest

from graphtrial.contract import Schedule, ScheduleType
from graphtrial.training.schedules import learning_rate

STEPS_PER_EPOCH = 625
CIFAR = 200 * STEPS_PER_EPOCH


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, 0.1), (59, 0.1), (60, 0.01), (119, 0.01), (120, 1e-3), (180, 1e-4), (199, 1e-4)]
)
def test_multi_step_drops_after_60_120_and_180_full_epochs_of_200(epoch, expected):
    """The default milestones are those of the thesis (spec 7.1, 10); the epoch's last step still has its rate."""
    for step in (epoch * STEPS_PER_EPOCH, (epoch + 1) * STEPS_PER_EPOCH - 1):
        assert learning_rate(Schedule(), 0.1, step, CIFAR) == pytest.approx(expected)


def test_a_milestone_written_as_a_decimal_drops_at_exactly_that_step():
    """Rounding of the decimal moves no drop: 0.07 of 100 steps is step 7, though 0.07 * 100 is more than 7."""
    drops = []
    for hundredths in range(1, 100):
        schedule = Schedule(milestones=(hundredths / 100,), factor=0.5)
        drops.append([learning_rate(schedule, 1.0, step, 100) for step in range(100)].index(0.5))
    assert drops == list(range(1, 100))


def test_a_milestone_between_two_steps_drops_at_the_later_one():
    """0.25 of 10 steps are done once the third is."""
    schedule = Schedule(milestones=(0.25,), factor=0.1)
    rates = [learning_rate(schedule, 1.0, step, 10) for step in range(4)]
    assert rates == [1.0, 1.0, 1.0, 0.1]


def test_cosine_starts_at_the_base_and_halves_it_half_way():
    """Half a cosine over the whole length, which after the last update would have reached 0."""
    schedule = Schedule(type=ScheduleType.COSINE)
    rates = [learning_rate(schedule, 0.4, step, 100) for step in (0, 25, 50, 99)]
    assert rates == pytest.approx([0.4, 0.2 * (1 + math.sqrt(0.5)), 0.2, 0.2 * (1 - math.cos(math.pi / 100))])


def test_constant_stays():
    """Milestones of the default schedule play no part."""
    schedule = Schedule(type=ScheduleType.CONSTANT)
    assert {learning_rate(schedule, 0.3, step, 10) for step in range(10)} == {0.3}


def test_fixmatch_falls_to_the_cosine_of_seven_sixteenths_of_pi():
    """Base cos(7 pi k / 16 K): at the start the base, at the end about a fifth of it."""
    schedule = Schedule(type=ScheduleType.FIXMATCH_COSINE)
    rates = [learning_rate(schedule, 0.03, step, 1000) for step in (0, 500, 999)]
    expected = [0.03, 0.03 * math.cos(7 * math.pi / 32), 0.03 * math.cos(7 * math.pi * 0.999 / 16)]
    assert rates == pytest.approx(expected)


def test_a_warm_up_rises_linearly_to_what_the_shape_says():
    """Over the first tenth of 100 steps by a tenth each; then the schedule is as it would have been."""
    schedule = Schedule(type=ScheduleType.COSINE, warm_up=0.1)
    plain = Schedule(type=ScheduleType.COSINE)
    ratios = [learning_rate(schedule, 0.4, step, 100) / learning_rate(plain, 0.4, step, 100) for step in range(12)]
    assert ratios == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0, 1.0])
