"""What the tables of a report count: rungs, cost, finalists, the best trials, what each set of gates gave."""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from dataclasses import dataclass

from graphsearch.api import AttemptEnd, Cost, GraphTrial, Outcome, RungStatus, possible_edges
from graphsearch.report.record import SearchRecord, curve, evaluations_reached, last_result, ranked
from graphsearch.search.status import cost, summarise
from graphsearch.search.tally import fate
from graphtrial.contract import GateType, Graph, Purpose


def rung_rows(record: SearchRecord) -> list[RungStatus]:
    """The rungs that at least one trial has reached, in order, as they stand at the end."""
    return [row for row in summarise(record.settled, record.ledger, record.last_moment).rungs if row.reported]


@dataclass(frozen=True, slots=True)
class Length:
    """What trials trained, in ``length_unit``, by what became of them; also parts of an epoch."""

    useful: float
    stopped: float
    lost: float


def costs(record: SearchRecord) -> dict[Purpose, tuple[Cost, Length]]:
    """Device seconds and trained length by purpose."""
    found: dict[Purpose, tuple[Cost, Length]] = {}
    for purpose in Purpose:
        if trials := record.of(purpose):
            lengths = dict.fromkeys(("useful", "stopped", "lost"), 0.0)
            for trial in trials:
                unsaved = _unsaved_length(record, trial)
                lengths["lost"] += _repeated_length(record, trial) + unsaved
                lengths[fate(trial)] += trained_length(record, evaluations_reached(record, trial)) - unsaved
            found[purpose] = (cost(trials, record.last_moment), Length(**lengths))
    return found


def wall_clock(record: SearchRecord, purpose: Purpose) -> float | None:
    """Seconds from the first start of a trial of that purpose to the last end (table 3.6); None where none started."""
    attempts = [attempt for trial in record.of(purpose) for attempt in trial.status.attempts]
    started = [attempt.started_at for attempt in attempts if attempt.started_at is not None]
    if not started:
        return None
    ended = [record.last_moment if attempt.ended_at is None else attempt.ended_at for attempt in attempts]
    return max(ended) - min(started)


def most_at_once(record: SearchRecord, purpose: Purpose) -> int:
    """How many trials of that purpose have run at the same time; on one machine fewer than the manifest allows."""
    attempts = [attempt for trial in record.of(purpose) for attempt in trial.status.attempts]
    spans = [(attempt.started_at, attempt.ended_at) for attempt in attempts if attempt.started_at is not None]
    changes = [(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans if end is not None]
    return max(itertools.accumulate(change for _, change in sorted(changes)), default=0)


def length_unit(record: SearchRecord) -> str:
    """``epochs`` or ``steps``, as the manifest gives the training's length."""
    return "epochs" if record.settled.training.length.epochs is not None else "steps"


def trained_length(record: SearchRecord, evaluations: int) -> int:
    """How long a trial had trained at an evaluation, in ``length_unit``."""
    training = record.settled.training
    if training.length.epochs is not None:
        return min(evaluations * (training.evaluate_every.epochs or 1), training.length.epochs)
    return min(evaluations * (training.evaluate_every.steps or 1), training.length.steps or 0)


def _repeated_length(record: SearchRecord, trial: GraphTrial) -> float:
    """What attempts of a trial had done and later ones did again, in ``length_unit``.

    An attempt is known by the last report that it left, and a trainer reports right after it has saved: at its rungs
    and at its end. What a killed attempt did after its last report cannot be known and is not in here; only its
    seconds tell. So this is work whose checkpoint could not be written, or not be read by the next attempt.
    """
    results = record.results.get(trial.index, ())
    steps = sum(max(0, before.steps - after.resumed_at) for before, after in itertools.pairwise(results))
    return _in_unit(record, trial, steps)


def _unsaved_length(record: SearchRecord, trial: GraphTrial) -> float:
    """What the last attempt of a trial that was given up did before it crashed; no attempt followed that built on it.

    A trial that failed is lost as a whole and has none of its own.
    """
    attempt, last = trial.attempt, last_result(record, trial)
    if trial.status.outcome is not Outcome.CANCELLED or attempt is None or last is None:
        return 0.0
    if attempt.end is not AttemptEnd.CRASHED or last.attempt != attempt.number:
        return 0.0
    evaluated = last.evaluations[-1].step if last.evaluations else 0
    return _in_unit(record, trial, max(0, evaluated - last.resumed_at))


def _in_unit(record: SearchRecord, trial: GraphTrial, steps: int) -> float:
    """Steps of a trial in ``length_unit``; 0 epochs where it was never evaluated, as no step is known to be in one."""
    if record.settled.training.length.epochs is None:
        return steps
    evaluations = [found for result in record.results.get(trial.index, ()) for found in result.evaluations]
    if not evaluations:
        return 0.0
    return steps * trained_length(record, evaluations[-1].number) / evaluations[-1].step


@dataclass(frozen=True, slots=True)
class FinalistRow:
    """A graph that was trained again with new seeds."""

    origin: GraphTrial
    """The Search trial that found it."""
    scores: tuple[float, ...]
    """Validation scores of the runs that ended well."""
    runs: int

    @property
    def mean(self) -> float | None:
        """None without a score."""
        return statistics.fmean(self.scores) if self.scores else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation; None with fewer than two scores."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None


def finalist_rows(record: SearchRecord) -> list[FinalistRow]:
    """The finalists, best mean first; empty where none was trained again. One whose own record is gone is left out."""
    trials = {trial.index: trial for trial in record.trials}
    runs: dict[int, list[GraphTrial]] = defaultdict(list)
    for trial in record.of(Purpose.FINALIST):
        if trial.spec.origin is not None:
            runs[trial.spec.origin].append(trial)
    rows = [
        FinalistRow(
            trials[origin],
            tuple(
                trial.status.score
                for trial in of_one
                if trial.status.outcome is Outcome.SUCCEEDED and trial.status.score is not None
            ),
            len(of_one),
        )
        for origin, of_one in runs.items()
        if origin in trials
    ]
    return sorted(rows, key=lambda row: (row.mean is None, -(row.mean or 0.0), row.origin.index))


def updates(record: SearchRecord) -> list[list[int]]:
    """How many updates the runs of each row of the comparison took; empty where all took as many, as far as is known.

    Trials of searches that an earlier version has begun may differ in it: there an epoch may be a pass over the
    labelled images in one contender, and over the unlabelled ones in another.
    """
    found = []
    for row in record.comparison:
        runs = [trial for trial in record.of(Purpose.COMPARE) if set(trial.spec.contenders) == set(row.names)]
        ended = [last_result(record, run) for run in runs if run.status.outcome is Outcome.SUCCEEDED]
        found.append(sorted({result.steps for result in ended if result is not None and result.steps}))
    return found if len(set(itertools.chain.from_iterable(found))) > 1 else []


def best_trials(record: SearchRecord, count: int) -> list[GraphTrial]:
    """The best trials that reached their end, then those that came furthest."""
    done = ranked(record)
    ended = {trial.index for trial in done}
    others = [trial for trial in record.of(Purpose.SEARCH) if trial.index not in ended and curve(record, trial)]
    others.sort(key=lambda trial: (-evaluations_reached(record, trial), -curve(record, trial)[-1][1], trial.index))
    return [*done, *others][:count]


@dataclass(frozen=True, slots=True)
class GateSet:
    """The trials of a search whose graphs have these gates and no others."""

    gates: tuple[GateType, ...]
    trials: int
    finished: int
    """How many of them reached their last evaluation."""
    best: GraphTrial | None
    """As ``best_trials`` has them; None where none has a score."""


def gate_sets(record: SearchRecord) -> list[GateSet]:
    """Table 3.5 out of one search: for each set of gates the best of what was drawn with these alone.

    A set is listed where its gates are those of its trials, small sets first. Gates are meant as they act: Correct on a
    label edge is Through, and an edge of the space that a graph does not have is cut.
    """
    if record.manifest.spec.space is None:
        return []
    places = {(source, destination) for source, destination, _ in possible_edges(record.manifest.spec.space)}
    trials = record.of(Purpose.SEARCH)
    used = {trial.index: _gates(trial.spec.graph, places) for trial in trials}
    order = best_trials(record, len(trials))
    ended = {trial.index for trial in ranked(record)}
    every = [gate for gate in GateType if any(gate in gates for gates in used.values())]
    found = []
    for size in range(1, len(every) + 1):
        for chosen in itertools.combinations(every, size):
            members = {index for index, gates in used.items() if gates <= set(chosen)}
            if set().union(*(used[index] for index in members)) == set(chosen):
                best = next((trial for trial in order if trial.index in members), None)
                found.append(GateSet(chosen, len(members), len(members & ended), best))
    return found


def _gates(graph: Graph, places: set[tuple[str, str]]) -> set[GateType]:
    """The gates of a drawn graph; an EMA node has no edges that could be cut."""
    live = {(edge.source, edge.destination): edge.acting_gate.type for edge in graph.live_edges()}
    following = {node.name for node in graph.nodes if node.follows}
    cut = any(place not in live and place[1] not in following for place in places)
    return {*live.values(), *([GateType.CUTOFF] if cut else [])}
