"""Turns reports into recorded rungs: which ones a report decides, and how (design 5)."""

from __future__ import annotations

import math

from graphsearch.api import AshaMode, Decision, GraphTrial, Rung
from graphsearch.search.actions import Report, Snapshot
from graphsearch.search.settled import Settled
from graphtrial.contract import Purpose


def judge(snapshot: Snapshot, changed: dict[int, GraphTrial]) -> None:
    """Record reports in the order (evaluation, index): simultaneous ones have no order of their own."""
    beside: dict[int, list[float]] = {}
    for report in sorted(snapshot.reports, key=lambda report: (report.evaluation, report.index)):
        trial = changed.get(report.index) or snapshot.ledger.open.get(report.index)
        if trial is None or report.evaluation > snapshot.settled.evaluations:
            continue
        for evaluation in _crossed(snapshot.settled, trial, report.evaluation):
            rung = _decide(snapshot, trial, evaluation, report, beside.setdefault(evaluation, []))
            status = trial.status.model_copy(
                update={
                    "rungs": (*trial.status.rungs, rung),
                    "score": rung.score if math.isfinite(rung.score) else None,
                }
            )
            trial = changed[report.index] = trial.model_copy(update={"status": status})
            if rung.decision is Decision.STOP:
                break


def _crossed(settled: Settled, trial: GraphTrial, evaluation: int) -> list[int]:
    """Evaluations that a report decides: every undecided rung up to it, and itself if it is the last."""
    rungs = trial.status.rungs
    if rungs and rungs[-1].decision in (Decision.STOP, Decision.NONE):
        return []
    decided = rungs[-1].evaluation if rungs else 0
    crossed = [rung for rung in settled.rungs if decided < rung <= evaluation] if is_judged(trial) else []
    return [*crossed, evaluation] if evaluation == settled.evaluations else crossed


def is_judged(trial: GraphTrial) -> bool:
    return trial.spec.purpose is Purpose.SEARCH


def _decide(snapshot: Snapshot, trial: GraphTrial, evaluation: int, report: Report, beside: list[float]) -> Rung:
    settled = snapshot.settled
    facts = {
        "evaluation": evaluation,
        "score": report.score,
        "source": report.source,
        "time": snapshot.now,
        "attempt": report.attempt,
    }
    if evaluation == settled.evaluations and (evaluation not in settled.rungs or not is_judged(trial)):
        decision = Decision.NONE if math.isfinite(report.score) else Decision.STOP
        return Rung(**facts, decision=decision)
    verdict = snapshot.ledger.rungs[evaluation].judge(report.score, settled.asha.reduction_factor, beside)
    if math.isfinite(report.score):
        beside.append(report.score)
        if settled.asha.mode is AshaMode.PROMOTION:
            return Rung(**facts, rank=verdict.rank, of=verdict.of, decision=Decision.PAUSE)
    decision = Decision.CONTINUE if verdict.goes_on else Decision.STOP
    return Rung(**facts, rank=verdict.rank, of=verdict.of, decision=decision)
