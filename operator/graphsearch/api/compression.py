"""``compression:`` of a GraphSearch: the networks of the winning graph distilled into one (spec 9)."""

from __future__ import annotations

import itertools
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from graphtrial.contract import Aggregation, Model, Resize, Violation, model_problem, refuse

MOST_TEACHERS = 14
"""Beside them a graph of 16 nodes holds the student and the teachers' ensemble."""

Temperature = Annotated[float, Field(ge=0.1, le=100)]


class Lesson(StrEnum):
    """What the student learns from its teachers (rows of table 4.9)."""

    ENSEMBLE_PROBABILITY = "EnsembleProbability"
    """The baseline: cross entropy to the mean of the teachers' probabilities, at temperature 1."""
    PROBABILITY = "Probability"
    """Cross entropy to each teacher's probabilities, a loss for each."""
    PROBABILITY_AND_ATTENTION = "ProbabilityAndAttention"
    """The same, and mean squared error to each teacher's attention map."""


class Distillation(Model):
    """One way of distilling, which one trial tries."""

    lesson: Lesson
    """What the student learns from its teachers."""
    temperature: Temperature = 1.0
    """T of spec 9, of teachers and student."""
    aggregation: Aggregation = Aggregation.SUM
    """How the gradients of the teachers' losses become one."""


class Compression(Model):
    """Distil the networks of the winning graph into one (spec 9).

    Each lesson is tried with each aggregation and temperature on the search validation; the best is trained on the
    full training set and scored once on the test images. EnsembleProbability has one temperature and sums.
    """

    student: Annotated[str, Field(max_length=200)]
    """The model that learns."""
    lessons: Annotated[tuple[Lesson, ...], Field(min_length=1, max_length=3)] = (
        Lesson.ENSEMBLE_PROBABILITY,
        Lesson.PROBABILITY,
    )
    """Each is tried. With attention, student and teachers need maps of one size, or ``resize``."""
    temperatures: Annotated[tuple[Temperature, ...], Field(min_length=1, max_length=8)] = (1, 2, 5, 10)
    """Each is tried."""
    aggregation: Annotated[tuple[Aggregation, ...], Field(min_length=1, max_length=3)] = (
        Aggregation.SUM,
        Aggregation.PROJECT,
    )
    """Each is tried."""
    labels: bool = True
    """Whether the student also learns from labels; then that loss takes part in the aggregation like a teacher's."""
    resize: Resize = Resize.NONE
    """Bilinear: for attention maps of unequal size."""
    repeats: Annotated[int, Field(ge=1, le=20)] = 1
    """Seeds for each way that is tried; the best mean is chosen."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse("Compression", self._violations())
        return self

    def _violations(self) -> list[Violation]:
        found: list[Violation] = []
        if problem := model_problem(self.student):
            found.append(Violation(("student",), problem))
        for name, values in (
            ("lessons", self.lessons),
            ("temperatures", self.temperatures),
            ("aggregation", self.aggregation),
        ):
            if len(set(values)) < len(values):
                found.append(Violation((name,), "names one twice"))
        if self.resize is not Resize.NONE and Lesson.PROBABILITY_AND_ATTENTION not in self.lessons:
            found.append(Violation(("resize",), f"is for {Lesson.PROBABILITY_AND_ATTENTION}; leave it out"))
        return found

    def distillations(self) -> tuple[Distillation, ...]:
        """Every way that is tried, in the order of the manifest."""
        return tuple(
            Distillation(lesson=lesson, aggregation=aggregation, temperature=temperature)
            for lesson in self.lessons
            for aggregation, temperature in self._choices(lesson)
        )

    def _choices(self, lesson: Lesson) -> list[tuple[Aggregation, float]]:
        if lesson is Lesson.ENSEMBLE_PROBABILITY:
            return [(Aggregation.SUM, 1.0)]
        return list(itertools.product(self.aggregation, self.temperatures))
