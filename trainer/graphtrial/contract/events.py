"""What happens to a trial, one JSON object a line, for tools that track trainings (``graphsearch export``)."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, ValidationError

from graphtrial.contract._base import Model
from graphtrial.contract.trial import Purpose

EVENTS = "events.jsonl"
"""The object, beside a trial's checkpoint, that holds them; of all attempts, in their order."""


class EventKind(StrEnum):
    """What has happened."""

    START = "start"
    """An attempt has begun, or has taken over."""
    EVALUATION = "evaluation"
    CHECKPOINT = "checkpoint"
    ANALYSIS = "analysis"
    """All is trained and stored, and the networks are about to be looked at."""
    END = "end"
    """An attempt has ended; there is none of one that was killed."""


class Event(Model):
    """One line. What its kind does not have is left out."""

    event: EventKind
    time: float
    """Seconds since the epoch."""
    attempt: int
    step: int
    """Updates done."""
    trial: str = ""
    """Start: its name."""
    purpose: Purpose | None = None
    """Start."""
    seed: int | None = None
    """Start."""
    models: dict[str, str] = Field(default_factory=dict)
    """Start: of each node that has one."""
    number: int | None = None
    """Evaluation: from 1. A later attempt that measures one again adds no line."""
    score: float | None = None
    """Evaluation: what the trial is judged by."""
    scores: dict[str, float] = Field(default_factory=dict)
    """Evaluation: ``score_modes``."""
    nodes: dict[str, float] = Field(default_factory=dict)
    """Evaluation: the metric of every evaluated node, and ``ensemble``."""
    losses: dict[str, float] = Field(default_factory=dict)
    """Evaluation: mean training loss of every trained node since the one before."""
    learning_rate: float | None = None
    """Evaluation: of the last update before it."""
    seconds: float | None = None
    """Evaluation: spent in training and evaluation so far, over all attempts."""
    code: int | None = None
    """End: the exit code."""
    message: str = ""
    """End: why, where the code does not say enough."""


def events_text(events: list[Event]) -> str:
    """One line each; NaN and infinity as strings, which JSON has not got otherwise."""
    return "".join(event.model_dump_json(by_alias=True, exclude_defaults=True) + "\n" for event in events)


def events_of(text: str) -> list[Event]:
    """The events in a text; lines that are none are left out."""
    found: list[Event] = []
    for line in text.splitlines():
        try:
            found.append(Event.model_validate_json(line))
        except ValidationError:
            continue
    return found
