"""GraphTrial (short ``gt``): one graph, what it is for, and what is recorded of it (design 4, 5).

The status holds facts. A recorded rung, attempt end or outcome neither changes nor disappears; who starts anew
rebuilds everything from them. Locally one JSON file per trial holds the same object.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from graphsearch.api.compression import Distillation
from graphsearch.api.conditions import Condition
from graphsearch.api.trainer import CheckpointChoice, Metrics, Trainer
from graphsearch.api.training import TrainingChoice
from graphtrial.contract import Data, Graph, Model, Objective, Purpose, Split

ATTEMPT_MESSAGE_LENGTH = 256
"""On a cluster: a trial may have 40 attempts, and its object stays below 12 KiB."""

_Index = Annotated[int, Field(ge=0, lt=2**31)]
_Evaluation = Annotated[int, Field(ge=1, le=2**31)]
_Message = Annotated[str, Field(json_schema_extra={"maxLength": ATTEMPT_MESSAGE_LENGTH})]
"""Cut where it is written to a cluster; locally it is whole."""
_Keys = dict[Annotated[str, Field(max_length=40)], Annotated[str, Field(max_length=1024)]]


class Decision(StrEnum):
    """What a rung decided for a trial."""

    CONTINUE = "Continue"
    STOP = "Stop"
    PAUSE = "Pause"
    """Promotion: it waits at its rung until it is promoted or the search closes."""
    NONE = "None"
    """The last evaluation: nothing is decided on it."""


class Outcome(StrEnum):
    """How a trial ended."""

    SUCCEEDED = "Succeeded"
    """It reached its last evaluation."""
    STOPPED = "Stopped"
    """A rung stopped it."""
    DIVERGED = "Diverged"
    """A loss or score was not finite."""
    FAILED = "Failed"
    """It could not be trained: see the message."""
    CANCELLED = "Cancelled"
    """The search did not want it any more."""


class AttemptEnd(StrEnum):
    """How an attempt ended."""

    DONE = "Done"
    """Exit code 0."""
    SAVED = "Saved"
    """Exit code 143: a checkpoint was written because it was asked to stop."""
    CRASHED = "Crashed"
    """Any other code: charged to the trial."""
    REFUSED = "Refused"
    """Exit codes 10 and 11: bad spec or bad data; never retried."""
    DIVERGED = "Diverged"
    """Exit code 12; never retried."""
    LOST = "Lost"
    """Started, and gone without a word or disrupted; not charged."""
    NOT_STARTED = "NotStarted"
    """On a cluster: could not start within ``startDeadlineSeconds``; not charged."""


class Attempt(Model):
    """One run of a trial's trainer. Times are seconds since the epoch, durations seconds."""

    number: Annotated[int, Field(ge=1, le=10_000)]
    """From 1."""
    until: _Evaluation | None = None
    """Promotion: the evaluation after which it ends."""
    identity: Annotated[str, Field(max_length=253)] = ""
    """Of the process or Job, once it is started."""
    started_at: float | None = None
    """When its trainer started."""
    ended_at: float | None = None
    """When its end was recorded."""
    end: AttemptEnd | None = None
    """How it ended; left out while it is intended or runs."""
    exit_code: int | None = None
    """Of the trainer, where it left one."""
    message: _Message = ""
    """Why it ended so."""
    seconds: float = 0.0
    """Device time used."""
    progressed: bool = False
    """Whether it left a checkpoint further on than the one it began with."""

    @property
    def is_open(self) -> bool:
        """Whether it is intended or running."""
        return self.end is None


class Rung(Model):
    """A recorded report and what was decided on it; identified by (trial, evaluation), the first one wins."""

    evaluation: _Evaluation
    """The rung's name."""
    score: float
    """What was reported."""
    rank: Annotated[int | None, Field(ge=1)] = None
    """One more than the finite scores at this rung that were strictly better; None for a score that is not finite."""
    of: Annotated[int, Field(ge=0)] = 0
    """Finite scores at this rung, its own included."""
    decision: Decision
    source: Annotated[str, Field(max_length=64)] = "Direct"
    """Where the score was read."""
    time: float
    """When it was recorded; facts are replayed in this order."""
    attempt: Annotated[int, Field(ge=0)] = 1
    """Which attempt reported it."""


class GraphTrialSpec(Model):
    """What a trial is: fixed from birth."""

    search_ref: Annotated[str, Field(max_length=40)] = ""
    """The search it belongs to; empty: it was applied by hand and is its own search."""
    index: _Index
    """Its number within its search."""
    purpose: Purpose
    """Why it runs; only Search counts against ``maxTrials``."""
    graph: Graph
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
    """Of its first weights and of its draws."""
    split: Split = Split.SEARCH
    origin: _Index | None = None
    """Finalist and Report: the index of the trial whose graph it is."""
    contenders: Annotated[tuple[Annotated[str, Field(max_length=63)], ...], Field(max_length=32)] = ()
    """Compare: the contenders that have this graph, such as ``Found`` or ``MutualLearning``."""
    repeat: Annotated[int | None, Field(ge=0, le=1000)] = None
    """Finalist, Compare and Compress: which repeat, from 0."""
    distillation: Distillation | None = None
    """Compress: the way of distilling that it tries; left out: it trains the teachers."""
    teachers: Annotated[_Keys, Field(max_length=16)] = Field(default_factory=dict)
    """For each node with stored weights: the teacher's key."""
    publishes: Annotated[_Keys, Field(max_length=16)] = Field(default_factory=dict)
    """For each node whose final weights are stored for other trials: the key."""
    objective: Objective | None = None
    """This and what follows: of a trial applied by hand, without a search; else they come from the search."""
    data: Data | None = None
    training: TrainingChoice | None = None
    trainer: Trainer | None = None
    checkpoint: CheckpointChoice | None = None
    metrics: Metrics | None = None


class GraphTrialStatus(Model):
    """The facts recorded of a trial."""

    attempts: Annotated[tuple[Attempt, ...], Field(max_length=64)] = ()
    """Runs of its trainer, in order."""
    rungs: Annotated[tuple[Rung, ...], Field(max_length=64)] = ()
    """Recorded reports and what was decided on them, in order."""
    outcome: Outcome | None = None
    """How it ended; left out while it goes on."""
    message: _Message = ""
    """Why it ended so."""
    score: float | None = None
    """At the last evaluation that was recorded."""
    nodes: Annotated[dict[Annotated[str, Field(max_length=40)], float], Field(max_length=32)] = Field(
        default_factory=dict
    )
    """The metric of every node, and ``ensemble``, at the end of a trial that succeeded."""
    checkpoint: Annotated[str, Field(json_schema_extra={"maxLength": 1024})] = ""
    """Where its last checkpoint lies."""
    ended_at: float | None = None
    """When its outcome was recorded."""


class GraphTrialObjectStatus(GraphTrialStatus):
    """The status subresource of a GraphTrial: its facts, and what a cluster shows beside them."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """Of the specification that was looked at."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=8)] = ()
    """Observations: Accepted, Progressing, Succeeded."""
    state: Annotated[str, Field(max_length=64)] = ""
    """The reason that says most at the moment, for lists of trials."""
    evaluation: Annotated[int, Field(ge=0)] = 0
    """The last evaluation that is known to have been reached."""
    epoch: Annotated[int | None, Field(ge=0)] = None
    """The same in epochs; left out where evaluations are counted in steps."""
    rung: Annotated[int | None, Field(ge=0)] = None
    """The last recorded rung, for lists of trials."""
    attempt: Annotated[int | None, Field(ge=1)] = None
    """The number of the latest attempt, for lists of trials."""
    image_id: Annotated[str, Field(max_length=512)] = ""
    """The image that its first pod ran; a different one later raises an Event."""
    gpu_seconds: float = 0.0
    """Device time of all attempts that have ended."""


class GraphTrial(Model):
    """A trial with its facts."""

    api_version: Literal["graphsearch.io/v1alpha1"] = "graphsearch.io/v1alpha1"
    kind: Literal["GraphTrial"] = "GraphTrial"
    name: str
    spec: GraphTrialSpec
    status: GraphTrialStatus = GraphTrialStatus()

    @property
    def index(self) -> int:
        """The trial's number within its search."""
        return self.spec.index

    @property
    def attempt(self) -> Attempt | None:
        """The latest attempt, if there is one."""
        return self.status.attempts[-1] if self.status.attempts else None

    @property
    def is_ended(self) -> bool:
        """Whether its outcome is recorded."""
        return self.status.outcome is not None

    @property
    def seconds(self) -> float:
        """Device time of all attempts."""
        return sum(attempt.seconds for attempt in self.status.attempts)
