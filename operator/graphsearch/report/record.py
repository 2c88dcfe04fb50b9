"""What a report is made of: the recorded facts of one search, and what they say of the graph that was found."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from graphsearch.api import GraphSearch, GraphTrial, Outcome, SearchFacts
from graphsearch.search.comparison import Row, compare, spoken
from graphsearch.search.contenders import found_name
from graphsearch.search.ledger import Ledger
from graphsearch.search.replay import doubt
from graphsearch.search.settled import Settled, settle
from graphtrial.contract import Analysis, Graph, Purpose, TrialResult


@dataclass(frozen=True)
class SearchRecord:
    """All that a report draws from; also a search that still runs has one."""

    manifest: GraphSearch
    facts: SearchFacts
    trials: tuple[GraphTrial, ...]
    results: Mapping[int, tuple[TrialResult, ...]]
    """What each attempt has left, oldest first, by index; a trial without any is shown by its recorded rungs."""
    analyses: Mapping[int, Analysis] = field(default_factory=dict)
    """What is said of the networks of the graph that was found and of all runs of the comparison, by index."""

    @cached_property
    def settled(self) -> Settled:
        """The manifest with its training and rungs."""
        return settle(self.manifest)

    @cached_property
    def comparison(self) -> list[Row]:
        """The comparison table; empty without a comparison."""
        return compare(self.trials, found_name(self.settled))

    @cached_property
    def found(self) -> Found | None:
        """The graph that was found, None if none was."""
        return _found(self)

    @cached_property
    def ledger(self) -> Ledger:
        """The facts, indexed."""
        ledger = Ledger(self.facts)
        for trial in self.trials:
            ledger.put(trial)
        return ledger

    @property
    def doubt(self) -> str:
        """Why the records do not add up, in one line; empty where they do, and while they may still be written."""
        return doubt(self.settled, self.ledger) if self.facts.ended_at is not None else ""

    @property
    def last_moment(self) -> float:
        """When the last fact was recorded; seconds since the epoch."""
        ended = [trial.status.ended_at for trial in self.trials if trial.status.ended_at is not None]
        return self.facts.ended_at or max(ended, default=self.facts.started_at)

    @property
    def searched(self) -> list[GraphTrial]:
        """Trials whose curves are shown: those of the search, or of the comparison for a fixed list."""
        purpose = Purpose.COMPARE if self.manifest.spec.graphs else Purpose.SEARCH
        return self.of(purpose)

    def of(self, purpose: Purpose) -> list[GraphTrial]:
        """Trials of one purpose, by index."""
        return sorted((trial for trial in self.trials if trial.spec.purpose is purpose), key=lambda trial: trial.index)


@dataclass(frozen=True, slots=True)
class Found:
    """The best graph and how it scored."""

    graph: Graph
    trial: GraphTrial
    """Whose weights are handed back: the comparison's first run that ended well, else the trial of the search."""
    scores: Mapping[str, float]
    """Of each node and ``ensemble``: the mean over ``runs``."""
    runs: int
    compared: bool
    """Whether the scores are from test images, in the comparison, and not from the search validation."""


def _found(record: SearchRecord) -> Found | None:
    name = found_name(record.settled)
    compared = [
        trial
        for trial in record.of(Purpose.COMPARE)
        if name in trial.spec.contenders and trial.status.outcome is Outcome.SUCCEEDED
    ]
    if compared:
        return Found(compared[0].spec.graph, compared[0], _mean_nodes(compared), len(compared), compared=True)
    searched = ranked(record)
    chosen = [trial for trial in searched if trial.index == record.facts.winner] or searched[:1]
    if not chosen:
        return None
    return Found(chosen[0].spec.graph, chosen[0], _mean_nodes(chosen), 1, compared=False)


def _mean_nodes(trials: list[GraphTrial]) -> dict[str, float]:
    names = [name for name in trials[0].status.nodes if all(name in trial.status.nodes for trial in trials)]
    return {name: statistics.fmean(trial.status.nodes[name] for trial in trials) for name in names}


def ranked(record: SearchRecord) -> list[GraphTrial]:
    """Search trials that reached their last evaluation, best first; the older first among equals."""
    done = [
        (trial.status.score, trial)
        for trial in record.of(Purpose.SEARCH)
        if trial.status.outcome is Outcome.SUCCEEDED and trial.status.score is not None
    ]
    return [trial for _, trial in sorted(done, key=lambda pair: (-pair[0], pair[1].index))]


def last_result(record: SearchRecord, trial: GraphTrial) -> TrialResult | None:
    """What the latest attempt that left anything has left; it holds the curves of those it resumed from."""
    found = record.results.get(trial.index, ())
    return found[-1] if found else None


def curve(record: SearchRecord, trial: GraphTrial) -> list[tuple[int, float]]:
    """(evaluation, score) of a trial, as far as known; scores that are not finite are left out."""
    result = last_result(record, trial)
    points = {rung.evaluation: rung.score for rung in trial.status.rungs}
    if result is not None:
        points |= {evaluation.number: evaluation.score for evaluation in result.evaluations}
    return sorted((number, score) for number, score in points.items() if math.isfinite(score))


def evaluations_reached(record: SearchRecord, trial: GraphTrial) -> int:
    """The number of the last evaluation that a trial is known to have reached."""
    result = last_result(record, trial)
    rungs = [rung.evaluation for rung in trial.status.rungs]
    return max([0, *rungs, *([e.number for e in result.evaluations] if result else [])])


def failures(record: SearchRecord) -> Iterator[GraphTrial]:
    """Trials that failed or diverged, in the order of their numbers."""
    for trial in sorted(record.trials, key=lambda trial: trial.index):
        if trial.status.outcome in (Outcome.FAILED, Outcome.DIVERGED):
            yield trial


def contender_text(row: Row) -> str:
    """A contender as the first words of a line."""
    name = spoken(row.names)
    return name[0].upper() + name[1:]


def analysed_runs(record: SearchRecord) -> dict[str, list[GraphTrial]]:
    """The runs of each contender of which an analysis is there, the found graph first; that alone without any."""
    named: dict[str, list[GraphTrial]] = {}
    for row in record.comparison:
        runs = [trial for trial in record.of(Purpose.COMPARE) if set(trial.spec.contenders) == set(row.names)]
        if analysed := [trial for trial in runs if trial.index in record.analyses]:
            named[contender_text(row)] = analysed
    if not named and record.found is not None and record.found.trial.index in record.analyses:
        named["The best graph"] = [record.found.trial]
    return named


def contender_analyses(record: SearchRecord) -> dict[str, list[Analysis]]:
    """What is said of the networks of each contender, run by run."""
    return {name: [record.analyses[run.index] for run in runs] for name, runs in analysed_runs(record).items()}
