"""What a search and its trials show of themselves: conditions with documented reasons, counters, one word for lists.

Pure functions of the recorded facts and of what was seen. ``Succeeded`` is Unknown until nothing is left to do, so that
``kubectl wait --for=condition=Succeeded`` returns when the report lies there. It must not know how a status is written.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphsearch.api import (
    BestStatus,
    Condition,
    ConditionStatus,
    ConditionType,
    ContenderStatus,
    Decision,
    GraphSearchStatus,
    GraphTrial,
    GraphTrialObjectStatus,
    MetricsReason,
    Outcome,
    Reason,
    TrialCounts,
    TrialReason,
    observed,
)
from graphsearch.cluster.pods import Seen
from graphsearch.search.actions import Running
from graphsearch.search.comparison import Row, compare
from graphsearch.search.compression import result_of
from graphsearch.search.contenders import found_name
from graphsearch.search.ledger import Ledger, waiting_at
from graphsearch.search.settled import Settled
from graphsearch.search.status import current_reason, has_result, summarise
from graphtrial.contract import Purpose

_SHOWN_SECONDS = 30.0
"""Device seconds that run up on every running trial are worth a write this often."""


def trial_status(
    trial: GraphTrial,
    seen: Seen | None,
    before: GraphTrialObjectStatus,
    *,
    evaluation: int,
    epochs: int | None,
    generation: int,
    now: float,
) -> GraphTrialObjectStatus:
    """What a trial shows beside its facts, which are left at their defaults.

    Args:
        trial: With its facts.
        seen: What is to be said of its open attempt; None if it has none, or nothing was seen.
        before: As it was shown last.
        evaluation: The last one that it is known to have reached.
        epochs: From one evaluation to the next; None where that is counted in steps.
        generation: Of the specification.
        now: Seconds since the epoch.
    """
    reason, message = _of_trial(trial, seen)
    outcome = trial.status.outcome
    if outcome is None:
        succeeded = ConditionStatus.UNKNOWN
    else:
        succeeded = ConditionStatus.TRUE if outcome is Outcome.SUCCEEDED else ConditionStatus.FALSE
    progressing = ConditionStatus.TRUE if outcome is None else ConditionStatus.FALSE
    conditions = [
        _condition(ConditionType.ACCEPTED, ConditionStatus.TRUE, Reason.ACCEPTED),
        _condition(ConditionType.PROGRESSING, progressing, reason, message),
        _condition(ConditionType.SUCCEEDED, succeeded, reason, "" if outcome is None else message),
    ]
    reached = [rung.evaluation for rung in trial.status.rungs]
    evaluation = max(before.evaluation, evaluation, *reached, 0)
    return GraphTrialObjectStatus(
        observed_generation=generation,
        conditions=observed(before.conditions, conditions, generation=generation, now=now),
        state=reason,
        evaluation=evaluation,
        epoch=None if epochs is None else evaluation * epochs,
        rung=reached[-1] if reached else None,
        attempt=trial.attempt.number if trial.attempt else None,
        image_id=before.image_id or (seen.pod.image_id if seen and seen.pod else ""),
        gpu_seconds=trial.seconds,
    )


def _of_trial(trial: GraphTrial, seen: Seen | None) -> tuple[str, str]:
    """The reason of its Progressing condition, with a message."""
    status, attempt = trial.status, trial.attempt
    if status.outcome is not None:
        return status.outcome, status.message
    if attempt is None and trial.spec.teachers:
        return TrialReason.WAITING_FOR_TEACHER, "a network that it starts from is not trained yet"
    if attempt is None or not attempt.is_open:
        rung = waiting_at(trial)
        return TrialReason.WAITING_FOR_SLOT, f"saved at evaluation {rung}, may be promoted" if rung else ""
    if status.rungs and status.rungs[-1].decision is Decision.STOP:
        return TrialReason.STOPPING, f"stopped at evaluation {status.rungs[-1].evaluation}"
    if seen is not None and seen.waiting is not None:
        return seen.waiting
    is_running = seen is not None and isinstance(seen.observation, Running) and seen.observation.started_at is not None
    if is_running or (seen is None and attempt.started_at is not None):
        return TrialReason.RUNNING, f"attempt {attempt.number}"
    return TrialReason.STARTING, f"attempt {attempt.number}"


def said_of(seen: Seen | None) -> object:
    """What of an open attempt its trial shows beside the facts: as long as that is equal, so is what is shown."""
    return None if seen is None else (seen.waiting, seen.pod.image_id if seen.pod else "")


def aspect(shown: GraphTrialObjectStatus) -> tuple[object, ...]:
    """What of a trial is worth a write of its own."""
    conditions = [
        (condition.type, condition.status, condition.reason, condition.message) for condition in shown.conditions
    ]
    return shown.state, shown.image_id, conditions


def search_status(
    settled: Settled,
    ledger: Ledger,
    before: GraphSearchStatus,
    *,
    metrics: tuple[ConditionStatus, MetricsReason, str] | None,
    remarks: Mapping[ConditionType, str],
    root: str,
    generation: int,
    now: float,
) -> GraphSearchStatus:
    """What an accepted search shows, without its facts.

    Args:
        settled: The search.
        ledger: Its facts.
        before: As it was shown last.
        metrics: Whether scores can be read, the source and a message; None before anything ran.
        remarks: What is to be said with a condition that has nothing else to say.
        root: Where the search's objects lie.
        generation: Of the specification.
        now: Seconds since the epoch.
    """
    summary = summarise(settled, ledger, now)
    outcomes = {name: getattr(summary, name) for name in ("succeeded", "stopped", "failed", "diverged", "cancelled")}
    is_over = _is_over(settled, ledger)
    comparison = before.comparison
    if ledger.search.ended_at is not None and not comparison and ledger.created[Purpose.COMPARE]:
        comparison = _comparison(settled, ledger)
    compressed = before.compressed
    if ledger.search.ended_at is not None and compressed is None and ledger.created[Purpose.COMPRESS]:
        compressed = _compressed(ledger, root)
    reason = current_reason(settled, ledger, now)
    if ledger.search.ended_at is not None and not is_over:
        reason = Reason.REPORTING
    seconds = summary.seconds
    return GraphSearchStatus(
        observed_generation=generation,
        conditions=observed(
            before.conditions,
            [
                condition.model_copy(update={"message": condition.message or remarks.get(condition.type, "")})
                for condition in _of_search(settled, ledger, reason, metrics, is_over=is_over)
            ],
            generation=generation,
            now=now,
        ),
        state=reason,
        trials=TrialCounts(created=summary.created, running=summary.running, done=sum(outcomes.values()), **outcomes),
        rungs=summary.rungs,
        best=_with_checkpoint(summary.best, ledger, root),
        comparison=comparison,
        compressed=compressed,
        gpu_seconds=seconds,
        gpu_hours=f"{(seconds.useful + seconds.stopped + seconds.lost + seconds.running) / 3600:.1f}",
        report=f"{root}/report/index.html" if ledger.outcomes[Purpose.REPORT, Outcome.SUCCEEDED] else "",
    )


def _with_checkpoint(best: BestStatus | None, ledger: Ledger, root: str) -> BestStatus | None:
    if best is None or ledger.best is None:
        return best
    return best.model_copy(update={"checkpoint": f"{root}/trials/{-ledger.best[1]}"})


def _compressed(ledger: Ledger, root: str) -> BestStatus | None:
    result = result_of(ledger.of(Purpose.COMPRESS))
    if result is None or result.status.score is None:
        return None
    return BestStatus(trial=result.name, score=result.status.score, checkpoint=f"{root}/trials/{result.index}")


def changed(old: GraphSearchStatus, new: GraphSearchStatus) -> bool:
    """Whether a status is worth a write: device time that merely runs up is now and then."""
    if _without_running(old) != _without_running(new):
        return True
    return abs(new.gpu_seconds.running - old.gpu_seconds.running) >= _SHOWN_SECONDS * max(1, new.trials.running)


def _without_running(status: GraphSearchStatus) -> GraphSearchStatus:
    seconds = status.gpu_seconds.model_copy(update={"running": 0.0})
    return status.model_copy(update={"gpu_seconds": seconds, "gpu_hours": ""})


def _is_over(settled: Settled, ledger: Ledger) -> bool:
    """Whether it has ended and its report, if there is to be one, is built or given up."""
    if ledger.search.ended_at is None:
        return False
    reported = any(ledger.outcomes[Purpose.REPORT, outcome] for outcome in Outcome)
    return reported or not settled.reports or not ledger.trials


def _of_search(
    settled: Settled,
    ledger: Ledger,
    reason: Reason,
    metrics: tuple[ConditionStatus, MetricsReason, str] | None,
    *,
    is_over: bool,
) -> list[Condition]:
    facts = ledger.search
    if not is_over:
        succeeded = ConditionStatus.UNKNOWN
    else:
        succeeded = ConditionStatus.TRUE if has_result(settled, facts) else ConditionStatus.FALSE
    if metrics is None or facts.ended_at is not None:
        metrics = (ConditionStatus.UNKNOWN, MetricsReason.NOTHING_RUNS, "no trial is there to be read")
    is_progressing = not is_over and reason is not Reason.PAUSED
    progressing = ConditionStatus.TRUE if is_progressing else ConditionStatus.FALSE
    message = _message(ledger, reason)
    return [
        _condition(ConditionType.ACCEPTED, ConditionStatus.TRUE, Reason.ACCEPTED),
        _condition(ConditionType.PROGRESSING, progressing, reason, message),
        _condition(ConditionType.METRICS_AVAILABLE, *metrics),
        _condition(ConditionType.SUCCEEDED, succeeded, reason, message if is_over else ""),
    ]


def _message(ledger: Ledger, reason: Reason) -> str:
    facts = ledger.search
    if facts.ended_at is not None:
        failed = ledger.outcomes[Purpose.REPORT, Outcome.SUCCEEDED] < ledger.created[Purpose.REPORT]
        unbuilt = "the report was not built; graphsearch report builds it" if failed else ""
        return "; ".join(part for part in (facts.message, unbuilt if reason is not Reason.REPORTING else "") if part)
    if reason is Reason.PAUSED and facts.paused_at is not None and ledger.last_start <= facts.paused_at:
        unstarted = [(time, f"attempts could not start; the last: {message}") for time, message in ledger.unstarted]
        unstored = [(time, f"storage failed; the last: {message}") for time, _, message in ledger.unstored]
        _, why = max((*unstarted[-1:], *unstored[-1:]), default=(0.0, "nothing gets on"))
        return f"{why}; mend it and set desiredState to Running"
    return ""


def _comparison(settled: Settled, ledger: Ledger) -> tuple[ContenderStatus, ...]:
    return tuple(_contender(row) for row in compare(ledger.of(Purpose.COMPARE), found_name(settled)))


def _contender(row: Row) -> ContenderStatus:
    difference = row.difference
    if difference is None:
        return ContenderStatus(names=row.names, mean=row.mean, std=row.std, repeats=row.repeats)
    return ContenderStatus(
        names=row.names,
        mean=row.mean,
        std=row.std,
        repeats=row.repeats,
        difference=difference.mean,
        low=difference.low,
        high=difference.high,
        verdict=difference.verdict,
    )


def _condition(kind: ConditionType, status: ConditionStatus, reason: str, message: str = "") -> Condition:
    # Validation would refuse a long message, which is cut when the condition is observed.
    return Condition.model_construct(type=kind, status=status, reason=str(reason), message=message)
