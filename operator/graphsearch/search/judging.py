"""Turns reports into recorded rungs: which ones a report decides, and how (design 5)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator

from graphsearch.api import AshaMode, Decision, GraphTrial, Rung
from graphsearch.search.actions import Report, Snapshot
from graphsearch.search.settled import Settled
from graphtrial.contract import Purpose


def judge(snapshot: Snapshot) -> dict[int, GraphTrial]:
    """The trials that reports change, with their new rungs, by index.

    Simultaneous reports have no order of their own: they are judged by (evaluation, index), which is also the order
    in which equal times are replayed. So a decision depends on trials of a lower index only, and records written in
    the order of indexes can be cut anywhere.
    """
    changed: dict[int, GraphTrial] = {}
    if not snapshot.reports:
        return changed
    beside: defaultdict[int, list[float]] = defaultdict(list)
    for evaluation, index, report in sorted(_due(snapshot), key=lambda due: due[:2]):
        trial = changed.get(index) or snapshot.ledger.open[index]
        rungs = trial.status.rungs
        if rungs and rungs[-1].decision is Decision.STOP:
            continue
        rung = _decide(snapshot, evaluation, report, beside[evaluation])
        score = rung.score if math.isfinite(rung.score) else None
        status = trial.status.model_copy(update={"rungs": (*rungs, rung), "score": score})
        changed[index] = trial.model_copy(update={"status": status})
    return changed


def _due(snapshot: Snapshot) -> Iterator[tuple[int, int, Report]]:
    """(evaluation, index, report) of every rung that is decided now: the first report at or beyond it decides it."""
    for index, reports in _known(snapshot).items():
        decided = _decided(snapshot.ledger.open[index])
        if decided is None:
            continue
        for report in reports:
            for evaluation in _crossed(snapshot.settled, snapshot.ledger.open[index], decided, report.evaluation):
                yield evaluation, index, report
            decided = max(decided, report.evaluation)


def _known(snapshot: Snapshot) -> dict[int, list[Report]]:
    """Reports of open trials by index, in the order of evaluations; unequal ones of one evaluation are unknown."""
    found: dict[int, dict[int, list[Report]]] = {}
    for report in snapshot.reports:
        if report.index in snapshot.ledger.open and report.evaluation <= snapshot.settled.evaluations:
            found.setdefault(report.index, {}).setdefault(report.evaluation, []).append(report)
    return {
        index: [
            min(reports, key=lambda report: (report.attempt, report.source))
            for _, reports in sorted(by_evaluation.items())
            if _agree(reports)
        ]
        for index, by_evaluation in found.items()
    }


def _agree(reports: Iterable[Report]) -> bool:
    """Whether all state one score; NaN agrees with NaN."""
    return len({None if math.isnan(report.score) else report.score for report in reports}) == 1


def _decided(trial: GraphTrial) -> int | None:
    """The last decided evaluation, 0 before the first; None where nothing is decided any more."""
    if not trial.status.rungs:
        return 0
    last = trial.status.rungs[-1]
    return None if last.decision in (Decision.STOP, Decision.NONE) else last.evaluation


def _crossed(settled: Settled, trial: GraphTrial, decided: int, evaluation: int) -> list[int]:
    """Evaluations that a report decides: every undecided rung up to it, and itself if it is the last."""
    crossed = [rung for rung in settled.rungs if decided < rung <= evaluation] if is_judged(trial) else []
    return [*crossed, evaluation] if decided < evaluation == settled.evaluations else crossed


def is_judged(trial: GraphTrial) -> bool:
    """Whether rungs apply to a trial: pretraining and comparison always run to the end."""
    return trial.spec.purpose is Purpose.SEARCH


def _decide(snapshot: Snapshot, evaluation: int, report: Report, beside: list[float]) -> Rung:
    settled, score, rank, of = snapshot.settled, report.score, None, 0
    is_finite = math.isfinite(score)
    if evaluation == settled.evaluations:
        decision = Decision.NONE if is_finite else Decision.STOP
    else:
        goes_on, rank, of = snapshot.ledger.rungs[evaluation].judge(score, settled.asha.reduction_factor, beside)
        if not is_finite:
            decision = Decision.STOP
        elif settled.asha.mode is AshaMode.PROMOTION:
            decision = Decision.PAUSE
        else:
            decision = Decision.CONTINUE if goes_on else Decision.STOP
        if is_finite:
            beside.append(score)
    return Rung(
        evaluation=evaluation,
        score=score,
        rank=rank,
        of=of,
        decision=decision,
        source=report.source,
        time=snapshot.now,
        attempt=report.attempt,
    )
