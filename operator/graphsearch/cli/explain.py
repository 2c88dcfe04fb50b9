"""``graphsearch explain``: why a trial is as it is, from the recorded facts alone.

What a rung asked of it is worked out by replaying the facts that were recorded before (design 5).
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from graphsearch.api import Attempt, Decision, GraphTrial, Outcome, Rung
from graphsearch.api.wire import Object
from graphsearch.cli.cluster import Session, on_cluster
from graphsearch.cli.exits import CommandError, Exit
from graphsearch.cli.folders import folder_errors, trial_meant
from graphsearch.cli.live import printer
from graphsearch.local import Folder
from graphsearch.search.ledger import Ledger, waiting_at
from graphsearch.search.replay import replayed
from graphsearch.search.settled import Settled, settle
from graphtrial.contract import Model, Purpose


class RungExplained(Model):
    """A recorded rung, and what it asked for."""

    rung: Rung
    cut: float | None = None
    """The lowest score that would have gone on then; None where any would, or nothing was decided."""


class Explanation(Model):
    """A trial in words and numbers."""

    trial: str
    purpose: Purpose
    outcome: Outcome | None
    why: str
    """In one sentence."""
    rungs: tuple[RungExplained, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    seconds: float
    """Device time of all its attempts."""


def run(options: argparse.Namespace) -> Exit:
    """Print why a trial was stopped, how its attempts ended, and what it waits for."""
    with folder_errors():
        meant = trial_meant(options.trial, options)
        if meant:
            explanation = _in_folder(*meant)
        else:
            explanation = on_cluster(options, lambda session: _on_cluster(session, options.trial))
    if options.output == "json":
        print(explanation.model_dump_json(by_alias=True, indent=2))
    else:
        _print(explanation)
    return Exit.OK


def explain(settled: Settled, ledger: Ledger, trial: GraphTrial, waiting: str = "") -> Explanation:
    """Why a trial is as it is.

    Args:
        settled: Its search.
        ledger: All facts of the search.
        trial: With its own.
        waiting: What an open trial is said to wait for or do.
    """
    rungs = tuple(
        RungExplained(rung=rung, cut=None if rung.decision is Decision.NONE else table.cut(eta, newcomers=1))
        for eta in (settled.asha.reduction_factor,)
        for owner, rung, table in replayed(ledger.trials.values())
        if owner.index == trial.index
    )
    return Explanation(
        trial=trial.name,
        purpose=trial.spec.purpose,
        outcome=trial.status.outcome,
        why=_why(settled, trial, rungs, waiting),
        rungs=rungs,
        attempts=trial.status.attempts,
        seconds=trial.seconds,
    )


def _why(settled: Settled, trial: GraphTrial, rungs: tuple[RungExplained, ...], waiting: str) -> str:
    status = trial.status
    match status.outcome:
        case None:
            rung = waiting_at(trial)
            return waiting or (f"waits at rung {rung} to be promoted" if rung else "is not over")
        case Outcome.STOPPED if rungs:
            return _why_stopped(settled, rungs[-1])
        case Outcome.SUCCEEDED:
            score = "" if status.score is None else f" with score {status.score:.4f}"
            return f"reached its last evaluation{score}"
    said = f": {status.message}" if status.message else ""
    return f"{status.outcome.value.lower()}{said}"


def _why_stopped(settled: Settled, last: RungExplained) -> str:
    rung = last.rung
    kept = max(1, rung.of // settled.asha.reduction_factor)
    cut = "" if last.cut is None else f", which took at least {last.cut:.4f}"
    return (
        f"stopped at rung {rung.evaluation}: score {rung.score:.4f} ranked {rung.rank} of {rung.of}; "
        f"the best {kept} went on{cut}"
    )


def _in_folder(folder: Folder, index: int) -> Explanation:
    settled, ledger = settle(folder.manifest()), folder.ledger()
    if index not in ledger.trials:
        raise CommandError(Exit.NOT_FOUND, f"{folder.path}: has no trial {index}; it has {len(ledger.trials)}")
    running = index in ledger.running and folder.has_runner()
    return explain(settled, ledger, ledger.trials[index], "runs" if running else "")


async def _on_cluster(session: Session, name: str) -> Explanation:
    from graphsearch.api.wire import trial_from_object, trial_object_status
    from graphsearch.cli.search import facts_of, read_search
    from graphsearch.cluster.alone import search_of
    from graphsearch.cluster.client import TRIALS

    obj = await session.get(TRIALS, name)
    trial, shown = trial_from_object(obj), trial_object_status(obj)
    waiting = "; ".join(
        f"{condition.reason}: {condition.message}" if condition.message else condition.reason
        for condition in shown.conditions
        if condition.type == "Progressing"
    )
    owner: Object = next(iter(obj["metadata"].get("ownerReferences", ())), {})
    if trial.spec.search_ref and owner.get("kind") != TRIALS.kind:
        seen = await read_search(session, trial.spec.search_ref)
        return explain(seen.settled, seen.ledger, trial, waiting)
    # Applied by hand, or a teacher of one that was.
    applied = await session.get(TRIALS, owner["name"]) if owner else obj
    ledger = Ledger(facts_of(applied))
    ledger.put(trial)
    return explain(settle(search_of(trial_from_object(applied), applied)), ledger, trial, waiting)


def _print(explanation: Explanation) -> None:
    console = printer()
    name = Text(explanation.trial, style="bold")
    console.print(name, "", explanation.purpose, explanation.outcome or "", soft_wrap=True)
    console.print(explanation.why, soft_wrap=True)
    if explanation.rungs:
        console.print(_rungs(explanation))
    if explanation.attempts:
        console.print(_attempts(explanation))


def _rungs(explanation: Explanation) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("rung", "score", "rank", "of", "cut"):
        table.add_column(column, justify="right")
    for column in ("decision", "source", "attempt", "at"):
        table.add_column(column)
    for explained in explanation.rungs:
        rung = explained.rung
        numbers = (str(rung.evaluation), f"{rung.score:.4f}", str(rung.rank or "-"), str(rung.of or "-"))
        cut = "-" if explained.cut is None else f"{explained.cut:.4f}"
        table.add_row(*numbers, cut, rung.decision, rung.source, str(rung.attempt), _time(rung.time))
    return table


def _attempts(explanation: Explanation) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("attempt", "began", "device seconds", "end", "exit code", "message"):
        table.add_column(column)
    for attempt in explanation.attempts:
        began = "-" if attempt.started_at is None else _time(attempt.started_at)
        code = "-" if attempt.exit_code is None else str(attempt.exit_code)
        seconds = f"{attempt.seconds:.0f}"
        table.add_row(str(attempt.number), began, seconds, attempt.end or "open", code, attempt.message)
    return table


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
