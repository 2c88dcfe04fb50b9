"""Arithmetic of evaluations and checkpoints."""

from hypothesis import given, settings
from hypothesis import strategies as st

from graphtrial.training.timetable import Timetable


def timetable(**changes):
    """10 steps of 4 an epoch, evaluated each epoch and saved every 3."""
    plain = {"steps_per_epoch": 4, "total_steps": 10, "evaluate_every": 4, "save_every": 3, "last_only": False}
    return Timetable(**(plain | changes))


def moments(table):
    """The evaluations of a training, by step."""
    return {step: number for step in range(table.total_steps + 1) if (number := table.evaluation_at(step))}


def test_the_last_evaluation_comes_at_the_end_even_if_the_interval_does_not_fit():
    """10 steps evaluated every 4: after 4, 8 and 10."""
    assert moments(timetable()) == {4: 1, 8: 2, 10: 3}


def test_test_images_are_scored_once_and_keep_the_last_number():
    """On the full training set only the last evaluation takes place."""
    assert moments(timetable(last_only=True)) == {10: 3}


def test_checkpoints_are_due_at_their_interval_and_at_the_end():
    """Never before the first update."""
    assert [step for step in range(11) if timetable().saves_at(step)] == [3, 6, 9, 10]


@given(total=st.integers(1, 60), every=st.integers(1, 70))
@settings(max_examples=60, deadline=None)
def test_evaluations_are_numbered_without_gaps_and_end_with_the_training(total, every):
    """Whatever the two lengths."""
    table = timetable(total_steps=total, evaluate_every=every)
    found = moments(table)
    assert list(found.values()) == list(range(1, table.evaluations + 1))
    assert max(found) == total
