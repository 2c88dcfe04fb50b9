"""What a trial knows of itself while it runs, and the result that is read off it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from graphtrial.contract import Conflict, Evaluation, Event, Exported, RungScore, TrialResult, TrialSpec, needed_nodes


@dataclass
class State:
    """Facts, changed by the loop as they happen."""

    step: int = 0
    """Updates done."""
    resumed_at: int = 0
    """The step at which this attempt took over."""
    saved_at: int = 0
    """The step of the latest checkpoint that is stored, by this or an earlier attempt."""
    evaluations: list[Evaluation] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    """What has happened so far, in this and earlier attempts."""
    rungs: dict[int, float] = field(default_factory=dict)
    """Scores reported so far by this or an earlier attempt, by evaluation number; the first report stands."""
    conflicts: tuple[Conflict, ...] = ()
    """Of the gradients that are aggregated, up to the last evaluation."""
    exports: tuple[Exported, ...] = ()
    """What the network that was asked for is stored as."""
    inexact: str = ""
    """Why the run is not bit-equal to an undisturbed one; empty where it is."""
    seconds_before: float = 0.0
    """Spent in training and evaluation up to the checkpoint resumed from."""
    started: float = field(default_factory=time.monotonic)
    """When this attempt began, on the monotonic clock."""


def rung_scores(rungs: Mapping[int, float]) -> tuple[RungScore, ...]:
    """The rungs in the order of their numbers."""
    return tuple(RungScore(rung=rung, score=score) for rung, score in sorted(rungs.items()))


def result(spec: TrialSpec, state: State, exit_code: int | None = None, message: str = "") -> TrialResult:
    """What a trial has to show so far; ``exit_code`` is None while it runs."""
    needed = needed_nodes(spec.graph, spec.objective.score_of)
    unlabelled = spec.training.unlabelled.batch_size if spec.graph.uses_unlabelled(needed) else 0
    return TrialResult(
        attempt=spec.attempt,
        rungs=rung_scores(state.rungs),
        evaluations=tuple(state.evaluations),
        steps=state.step,
        images=state.step * (spec.training.batch_size + unlabelled),
        seconds=time.monotonic() - state.started,
        resumed_at=state.resumed_at,
        saved_at=state.saved_at,
        exit_code=exit_code,
        message="; ".join(part for part in (message, state.inexact) if part),
        unused_nodes=tuple(node.name for node in spec.graph.nodes if node.name not in needed),
        conflicts=state.conflicts,
        exports=state.exports,
        exact=not state.inexact,
    )


def result_so_far(spec: TrialSpec, state: State, rungs: tuple[RungScore, ...]) -> TrialResult:
    """What outlives a process that is killed after a checkpoint with these rungs; any thread may ask."""
    return TrialResult(
        attempt=spec.attempt, rungs=rungs, steps=state.saved_at, resumed_at=state.resumed_at, saved_at=state.saved_at
    )
