"""Conditions, as Kubernetes' API conventions have them: observations with a reason, never a phase.

``lastTransitionTime`` moves only when ``status`` flips, so that an unchanged object is not written again. The clock is
handed in. Decided against: a phase, which forces one word on a state that has several sides.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from graphtrial.contract import Model

MESSAGE_LENGTH = 1024
"""Longer messages are cut: a condition is read by people, and an object's size is bounded."""


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class ConditionType(StrEnum):
    """What is observed. A GraphTrial has all but MetricsAvailable."""

    ACCEPTED = "Accepted"
    """The specification can be run by this installation."""
    PROGRESSING = "Progressing"
    """Something runs or will."""
    METRICS_AVAILABLE = "MetricsAvailable"
    """Rung scores can be read; the reason names the source in use."""
    SUCCEEDED = "Succeeded"
    """Unknown until it has ended."""


class Condition(Model):
    """One observation."""

    type: ConditionType
    """What is observed."""
    status: ConditionStatus
    """Whether it holds."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """Of the specification that was looked at."""
    last_transition_time: Annotated[str, Field(max_length=64, json_schema_extra={"format": "date-time"})] = ""
    """When ``status`` last changed."""
    reason: Annotated[str, Field(min_length=1, max_length=64)]
    """A documented constant."""
    message: Annotated[str, Field(max_length=MESSAGE_LENGTH)] = ""
    """For people."""


def observed(
    old: Iterable[Condition], new: Iterable[Condition], *, generation: int, now: float
) -> tuple[Condition, ...]:
    """Conditions as they are to be written: of this generation, with the time of the last flip.

    Args:
        old: As they stand in the object.
        new: As they are now; generation and time are filled in.
        generation: Of the specification that was looked at.
        now: Seconds since the epoch.
    """
    before = {condition.type: condition for condition in old}
    written: list[Condition] = []
    for condition in new:
        known = before.get(condition.type)
        flipped = known is None or known.status is not condition.status or not known.last_transition_time
        time = timestamp(now) if flipped or known is None else known.last_transition_time
        message = condition.message[:MESSAGE_LENGTH]
        update = {"observed_generation": generation, "last_transition_time": time, "message": message}
        written.append(condition.model_copy(update=update))
    return tuple(written)


def timestamp(now: float) -> str:
    """RFC 3339 in whole seconds, as the API server writes times."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
