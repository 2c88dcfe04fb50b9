"""Shows a running search: a live table on a terminal that can redraw, plain lines elsewhere."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import NoReturn, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from graphsearch.api import Distillation, GraphTrial, Outcome
from graphsearch.search.ledger import Ledger
from graphsearch.search.settled import Settled
from graphsearch.search.status import SearchStatus, summarise
from graphtrial.contract import Purpose

_EVERY_SECONDS = 0.5
_SHOWN_TRIALS = 12


_PIPED_COLUMNS = 200
"""Of tables that no terminal limits: nothing in them is cut short."""


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        """Leave it to ``main``, as all other output does: the library's own ends the program with code 1."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def printer() -> Console:
    """Prints tables as wide as the terminal, or as they need to be where there is none; brackets are brackets."""
    console = _Console(highlight=False, markup=False)
    return console if console.is_terminal else _Console(highlight=False, markup=False, width=_PIPED_COLUMNS)


class Scene(Protocol):
    """What is shown of a search, wherever it runs."""

    @property
    def settled(self) -> Settled:
        """Its manifest."""

    @property
    def ledger(self) -> Ledger:
        """Its facts."""

    @property
    def reported(self) -> Mapping[int, int]:
        """The last evaluation that each running trial is known to have reached."""


Summary = Callable[[Scene], SearchStatus]


def _of_facts(scene: Scene) -> SearchStatus:
    return summarise(scene.settled, scene.ledger, time.time())


@contextmanager
def display(*, plain: bool, where: str, summary: Summary = _of_facts) -> Iterator[Callable[[Scene], None]]:
    """A function to call with the search after each look; it redraws or prints what is new.

    Args:
        plain: Lines even where a table could be redrawn.
        where: Where the search lies.
        summary: Its numbers as they stand; of its facts alone if left out.
    """
    console = _Console(markup=False)
    if plain or not console.is_terminal or console.is_dumb_terminal:
        yield _Lines(summary)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield _Table(live, where, summary)


class _Table:
    """Redraws a live table, not more often than the eye needs."""

    def __init__(self, live: Live, where: str, summary: Summary) -> None:
        self._live, self._where, self._summary = live, where, summary
        self._drawn = 0.0
        self._began: tuple[float, float] | None = None

    def __call__(self, world: Scene) -> None:
        now = time.monotonic()
        if now - self._drawn < _EVERY_SECONDS and world.ledger.search.ended_at is None:
            return
        self._drawn = now
        shown = [status_table(self._summary(world))]
        if world.ledger.search.ended_at is None:
            shown += [_running(world), self._progress(world, now)]
        self._live.update(Group(*shown), refresh=True)

    def _progress(self, world: Scene, now: float) -> RenderableType:
        done = share_done(world)
        if self._began is None:
            self._began = (now, done)
        since, before = self._began
        gained = done - before
        left = (
            f"about {_span((now - since) * (1 - done) / gained)} left" if gained > 0.01 else "time left: not known yet"
        )
        row = Table.grid(padding=(0, 1))
        row.add_row(ProgressBar(total=1, completed=done, width=40), f"{done:4.0%}", left, self._where)
        return row


class _Lines:
    """Prints a line when a trial ends or the search enters another stage."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary
        self._ended: set[int] | None = None
        self._reason = ""

    def __call__(self, world: Scene) -> None:
        trials = world.ledger.trials
        if self._ended is None:
            self._ended = {index for index, trial in trials.items() if trial.is_ended}
            if self._ended:
                _say(f"going on: {len(self._ended)} trials have ended before")
        # Which they are takes long to tell of many thousand trials, how many does not.
        if len(trials) - len(world.ledger.open) > len(self._ended):
            for index in sorted(set(trials) - set(world.ledger.open) - self._ended):
                _say(_ended(trials[index], world))
                self._ended.add(index)
        reason = self._summary(world).reason
        if reason != self._reason:
            self._reason = reason
            _say(f"search: {reason}")


def _say(line: str) -> None:
    print(line, flush=True)


def _ended(trial: GraphTrial, world: Scene) -> str:
    status = trial.status
    score = "" if status.score is None else f", score {status.score:.4f}"
    evaluation = status.rungs[-1].evaluation if status.rungs else 0
    at = f"{evaluation} of {world.settled.evaluations}"
    note = f" ({status.message})" if status.message else ""
    best = ""
    if world.ledger.best and world.ledger.best[1] == -trial.index:
        best = ", best so far"
    purpose = _purpose(trial)
    return f"{trial.name} {purpose}: {status.outcome} at evaluation {at}{score}{best}{note}"


def _purpose(trial: GraphTrial) -> str:
    spec = trial.spec
    if spec.purpose is Purpose.COMPARE:
        return f"Compare {' = '.join(spec.contenders)}, repeat {(spec.repeat or 0) + 1}"
    if spec.purpose is Purpose.FINALIST:
        return f"Finalist of t{spec.origin}, repeat {(spec.repeat or 0) + 1}"
    if spec.purpose is Purpose.PRETRAIN:
        return f"Pretrain {spec.graph.nodes[0].model}"
    if spec.purpose is Purpose.COMPRESS:
        return (
            f"Compress {_way(spec.distillation)}, {spec.split}"
            if spec.distillation
            else f"Compress: teachers, {spec.split}"
        )
    return spec.purpose


def _way(way: Distillation) -> str:
    return f"{way.lesson}, {way.aggregation}, T={way.temperature:g}"


def share_done(world: Scene) -> float:
    """How much of what is to come has been done, from 0 to 1.

    A trial of the comparison counts as a whole training, or as one for each contender that it stands for.
    """
    ledger, settled = world.ledger, world.settled
    whole = float(settled.evaluations)
    expected = _expected_search(settled.rungs, settled.evaluations, settled.asha.reduction_factor)
    searched = settled.spec.budget.max_trials * expected if settled.spec.space else 0.0
    comparison = settled.spec.comparison
    later = 0.0
    if comparison:
        finalists = comparison.finalists if comparison.finalists > 1 else 0
        later = comparison.repeats * (finalists + 1 + len(comparison.baselines)) * whole
    if not settled.spec.space:
        later = settled.repeats * (len(settled.spec.graphs) + len(comparison.baselines if comparison else ())) * whole
    if compression := settled.spec.compression:
        later += (len(compression.distillations()) * compression.repeats + 1) * whole
    # Those that a lowered budget has cancelled are drawn anew when it is raised again.
    searching = (outcome for outcome in Outcome if outcome is not Outcome.CANCELLED)
    done = expected * sum(ledger.outcomes[Purpose.SEARCH, outcome] for outcome in searching)
    done += whole * sum(ledger.outcomes[purpose, Outcome.SUCCEEDED] for purpose in (Purpose.FINALIST, Purpose.COMPRESS))
    done += whole * sum(len(ledger.trials[index].spec.contenders) for index in ledger.successes[Purpose.COMPARE])
    return 1.0 if ledger.search.ended_at is not None else min(0.99, done / max(searched + later, 1.0))


def _expected_search(rungs: tuple[int, ...], evaluations: int, eta: int) -> float:
    """Evaluations that a trial takes on average if each rung lets one of eta go on."""
    total, alive, before = 0.0, 1.0, 0
    for rung in (*rungs, evaluations):
        total += alive * (rung - before)
        alive, before = alive / eta, rung
    return total


def status_table(status: SearchStatus) -> RenderableType:
    """A search in two small tables: counters and rungs."""
    head = Text.assemble((status.name, "bold"), "  ", (status.reason.value, "cyan"))
    if status.message:
        head.append(f"  {status.message}")
    counters = Table.grid(padding=(0, 2))
    cancelled = (f"cancelled {status.cancelled}",) if status.cancelled else ()
    counters.add_row(
        f"trials {status.created - status.cancelled}/{status.max_trials}",
        f"running {status.running}",
        f"done {status.succeeded}",
        f"stopped {status.stopped}",
        f"failed {status.failed + status.diverged}",
        *cancelled,
        f"best {status.best.score:.4f} ({status.best.trial})" if status.best else "best -",
    )
    rungs = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("rung", "reported", "kept", "cut"):
        rungs.add_column(column, justify="right")
    for rung in status.rungs:
        cut = "-" if rung.cut is None else f"{rung.cut:.4f}"
        rungs.add_row(str(rung.evaluation), str(rung.reported), str(rung.kept), cut)
    return Group(head, counters, rungs)


def _running(world: Scene) -> RenderableType:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("trial", "for", "evaluation", "score", "running"):
        table.add_column(column)
    now = time.time()
    for index in sorted(world.ledger.running)[:_SHOWN_TRIALS]:
        trial = world.ledger.trials[index]
        attempt = trial.attempt
        started = attempt.started_at if attempt else None
        table.add_row(
            trial.name,
            _purpose(trial),
            f"{world.reported.get(index, 0)} of {world.settled.evaluations}",
            "-" if trial.status.score is None else f"{trial.status.score:.4f}",
            _span(now - started) if started else "starting",
        )
    return table


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
