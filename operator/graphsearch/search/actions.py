"""What a planner sees and what it asks for: the vocabulary between ``plan`` and the worlds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from graphsearch.api import GraphTrial, SearchFacts
from graphsearch.search.ledger import Ledger
from graphsearch.search.settled import Settled


@dataclass(frozen=True, slots=True)
class Report:
    """A score that a trainer exposes or has left; the first one recorded for (trial, evaluation) wins."""

    index: int
    evaluation: int
    score: float
    attempt: int = 1
    source: str = "Direct"


@dataclass(frozen=True, slots=True)
class Running:
    """An attempt seen alive."""

    identity: str
    started_at: float | None
    """None: its place is made, and nothing runs in it yet."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt seen ended; every report that it left is in the same snapshot."""

    exit_code: int | None
    """None: gone without a word."""
    seconds: float | None = 0.0
    """That it ran; None if nobody knows, and all since its recorded start count."""
    message: str = ""
    nodes: Mapping[str, float] = field(default_factory=dict)
    checkpoint: str = ""
    progressed: bool = False
    """Whether it left a checkpoint further on than the one it began with."""
    never_started: str = ""
    """Why it could not start in time, in one word; empty if it ran."""
    started_at: float | None = None
    """When its trainer started, where only its end tells: it was never seen alive."""


Observation = Running | Ended


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a decision depends on."""

    settled: Settled
    ledger: Ledger
    now: float
    """Seconds since the epoch, larger than in every snapshot before."""
    observed: Mapping[tuple[int, int], Observation] = field(default_factory=dict)
    """By (index, attempt). A started attempt that is not here is lost; one not yet started is started again."""
    reports: tuple[Report, ...] = ()
    may_create: bool = True
    """False while the name that the next trial needs is taken: what is there goes on meanwhile."""


@dataclass(frozen=True, slots=True)
class Record:
    """Write down a trial's facts."""

    trial: GraphTrial


@dataclass(frozen=True, slots=True)
class RecordSearch:
    """Write down the search's facts."""

    facts: SearchFacts


@dataclass(frozen=True, slots=True)
class Start:
    """Start the trial's latest attempt unless it runs."""

    trial: GraphTrial


class Why(StrEnum):
    """Why an attempt is asked to save and stop."""

    RUNG = "Rung"
    UNWANTED = "Unwanted"
    PARALLELISM = "Parallelism"


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask the trial's latest attempt to save and stop, unless it was asked; one that never started has ended."""

    trial: GraphTrial
    why: Why


@dataclass(frozen=True, slots=True)
class Pause:
    """Set desiredState to Paused: attempts cannot start or store, and more of them would not either."""

    message: str


Action = Record | RecordSearch | Start | Stop | Pause
