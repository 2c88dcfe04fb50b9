"""How fast the planner decides, replays and plays: medians of five runs in this process, on one core.

Prints each number with its target, and MISSED where it is missed; and how much faster a decision is than with a list
that is sorted anew for each report, measured in the same minute.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable

from graphsearch.api import Decision, GraphTrial, Outcome, Rung, SearchFacts
from graphsearch.api.manifest import parse_manifest
from graphsearch.search.ledger import Ledger
from graphsearch.search.replay import contradictions
from graphsearch.search.rungs import RungTable
from graphsearch.search.settled import Settled, settle
from graphsearch.search.simulator import Simulation
from graphsearch.search.stages import search_trial

_MANIFEST = """
apiVersion: graphsearch.io/v1alpha1
kind: GraphSearch
metadata: {name: bench}
spec:
  data: {dataset: CIFAR100, uri: /data/cifar100}
  space: {nodes: 3, targetModels: [resnet32], auxiliaryModels: [resnet32, resnet110, wrn-28-2]}
  budget: {maxTrials: 1500, parallelTrials: 30}
"""

_RUNS = 5
_ENTRIES = 6000
_NAIVE_DECISIONS = 200


def main() -> None:
    """Measure and print."""
    settled = settle(parse_manifest(_MANIFEST))
    rate, naive = _median(_decisions_per_second), _median(_naive_decisions_per_second)
    _line(f"decisions at a rung of {_ENTRIES:,}", f"{rate:,.0f}/s", "at least 50,000/s", rate >= 50_000)
    print(f"  {rate / naive:,.0f} times as many as by sorting a list anew ({naive:,.0f}/s)")
    history = _history(settled)
    seconds = _median(lambda: _timed(lambda: _replay(settled, history)))
    _line(f"replay of {len(history):,} trials", f"{seconds:.2f} s", "under 1 s", seconds < 1)
    seconds = _median(lambda: _timed(Simulation(settled, _curve).run))
    _line("1,500 trials with 30 workers, simulated", f"{seconds:.2f} s", "under 2 s", seconds < 2)


def _line(what: str, measured: str, target: str, met: bool) -> None:
    print(f"{what}: {measured} (target: {target}){'' if met else ' MISSED'}")


def _median(measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(_RUNS))


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _decisions_per_second() -> float:
    """Judge, record and take back, so that the rung stays at its size."""
    scores = [random.Random(index).random() for index in range(_ENTRIES * 2)]
    table = RungTable()
    for index in range(_ENTRIES):
        table.add(scores[index], index)

    def decide() -> None:
        for index in range(_ENTRIES, _ENTRIES * 2):
            table.judge(scores[index], 2)
            table.add(scores[index], index)
            table.remove(scores[index - _ENTRIES], index - _ENTRIES)

    return _ENTRIES / _timed(decide)


def _naive_decisions_per_second() -> float:
    scores = [random.Random(index).random() for index in range(_ENTRIES + _NAIVE_DECISIONS)]

    def decide() -> None:
        for index in range(_ENTRIES, _ENTRIES + _NAIVE_DECISIONS):
            ranked = sorted(scores[index - _ENTRIES : index + 1], reverse=True)
            _ = scores[index] >= ranked[max(1, len(ranked) // 2) - 1]

    return _NAIVE_DECISIONS / _timed(decide)


def _history(settled: Settled) -> list[GraphTrial]:
    """Recorded facts of 6,000 trials, half of them gone at each rung."""
    tables = {evaluation: RungTable() for evaluation in settled.rungs}
    return [_judged(settled, search_trial(settled, index), tables) for index in range(_ENTRIES)]


def _judged(settled: Settled, trial: GraphTrial, tables: dict[int, RungTable]) -> GraphTrial:
    rungs: list[Rung] = []
    for evaluation in settled.rungs:
        score = _curve(trial, evaluation)
        verdict = tables[evaluation].judge(score, settled.asha.reduction_factor)
        tables[evaluation].add(score, trial.index)
        decision = Decision.CONTINUE if verdict.goes_on else Decision.STOP
        facts = {"evaluation": evaluation, "score": score, "rank": verdict.rank, "of": verdict.of}
        rungs.append(Rung(**facts, decision=decision, time=float(trial.index)))
        if not verdict.goes_on:
            break
    outcome = Outcome.SUCCEEDED if rungs[-1].decision is Decision.CONTINUE else Outcome.STOPPED
    ended = {"rungs": tuple(rungs), "outcome": outcome, "score": rungs[-1].score, "ended_at": float(trial.index)}
    return trial.model_copy(update={"status": trial.status.model_copy(update=ended)})


def _replay(settled: Settled, history: list[GraphTrial]) -> None:
    ledger = Ledger(SearchFacts(uid="bench", started_at=0.0))
    for trial in history:
        ledger.put(trial)
    assert contradictions(settled, history) == []


def _curve(trial: GraphTrial, evaluation: int) -> float:
    return random.Random(trial.index).random() * evaluation / (evaluation + 1)


if __name__ == "__main__":
    main()
