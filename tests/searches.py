"""Searches as short sentences, ``a_search().with_nodes(3).parallel(4).settled()``, and worlds to play them in."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from graphsearch.api import DesiredState, GraphSearch, GraphTrial, SearchFacts
from graphsearch.search.actions import (
    Action,
    Ended,
    Observation,
    Pause,
    Record,
    RecordSearch,
    Report,
    Running,
    Snapshot,
    Start,
    Stop,
)
from graphsearch.search.ledger import Ledger
from graphsearch.search.planner import drive
from graphsearch.search.settled import Settled, settle
from graphtrial.contract import Purpose, derive


def a_search() -> SearchBuilder:
    """Random graphs of one resnet8 on digits, eight evaluations, one trial at a time, no comparison."""
    return SearchBuilder(
        {
            "data": {"dataset": "digits"},
            "space": {"nodes": 1, "targetModels": ["resnet8"], "edges": [{"kind": "Label", "gates": ["Through"]}]},
            "training": {"length": {"epochs": 8}},
            "budget": {"maxTrials": 10, "parallelTrials": 1},
        }
    )


@dataclass(frozen=True)
class SearchBuilder:
    """A search in the making; every call gives a new one, so a beginning can serve several endings."""

    spec: dict[str, Any]

    def _with(self, *path: str, **values: Any) -> SearchBuilder:
        spec = copy.deepcopy(self.spec)
        place = spec
        for key in path:
            place = place.setdefault(key, {})
        place.update(values)
        return replace(self, spec=spec)

    def with_nodes(self, nodes: int, *models: str, gates: Iterable[str] = ("Through", "Linear")) -> SearchBuilder:
        """Nodes with label and transfer edges of these gates; models of the auxiliary ones (resnet8)."""
        rules = [{"kind": kind, "gates": list(gates)} for kind in ("Label", "Transfer")]
        return self._with("space", nodes=nodes, auxiliaryModels=list(models or ["resnet8"]), edges=rules)

    def with_edges(self, *rules: dict[str, Any]) -> SearchBuilder:
        """Edge rules, as in a manifest."""
        return self._with("space", edges=list(rules))

    def in_space(self, **fields: Any) -> SearchBuilder:
        """Fields of the space, as in a manifest."""
        return self._with("space", **fields)

    def graphs(self, *graphs: dict[str, Any]) -> SearchBuilder:
        """A fixed list instead of a space."""
        spec = {key: value for key, value in self.spec.items() if key != "space"}
        return replace(self, spec=spec)._with(graphs=list(graphs))

    def trials(self, most: int) -> SearchBuilder:
        """How many graphs may be drawn."""
        return self.budget(maxTrials=most)

    def parallel(self, trials: int) -> SearchBuilder:
        """How many trials run at a time."""
        return self.budget(parallelTrials=trials)

    def budget(self, **fields: Any) -> SearchBuilder:
        """Fields of the budget, as in a manifest."""
        return self._with("budget", **fields)

    def evaluations(self, count: int) -> SearchBuilder:
        """How many evaluations a whole training has."""
        return self._with("training", "length", epochs=count)

    def halving(self, eta: int = 2, *, mode: str = "Stopping", first: int = 1) -> SearchBuilder:
        """The scheduler's parameters."""
        return self._with("scheduler", asha={"mode": mode, "firstRung": first, "reductionFactor": eta})

    def never_stopping(self) -> SearchBuilder:
        """Without a scheduler."""
        return self._with(scheduler={})

    def scored_by(self, score_of: str, **fields: Any) -> SearchBuilder:
        """Whose score counts, and the objective's other fields."""
        return self._with("objective", scoreOf=score_of, **fields)

    def compared(self, finalists: int = 1, repeats: int = 1, baselines: Iterable[str] = ()) -> SearchBuilder:
        """With a comparison."""
        chosen = {"finalists": finalists, "repeats": repeats, "baselines": list(baselines)}
        return self._with(comparison=chosen)

    def seeded(self, seed: int) -> SearchBuilder:
        """Another seed."""
        return self._with(seed=seed)

    def wanted(self, state: str) -> SearchBuilder:
        """The desired state."""
        return self._with(desiredState=state)

    def having(self, **fields: Any) -> SearchBuilder:
        """Other fields of the spec, as in a manifest."""
        return self._with(**fields)

    def obj(self) -> GraphSearch:
        """The manifest."""
        head = {"apiVersion": "graphsearch.io/v1alpha1", "kind": "GraphSearch", "metadata": {"name": "s"}}
        return GraphSearch.model_validate(head | {"spec": copy.deepcopy(self.spec)})

    def settled(self) -> Settled:
        """The manifest, settled."""
        return settle(self.obj())


class HandPlayed:
    """A world in which nothing happens by itself: a test says what trials report and how they end."""

    def __init__(self, settled: Settled, ledger: Ledger | None = None) -> None:
        self.settled = settled
        self.ledger = ledger or Ledger(SearchFacts(uid="u", started_at=0.0))
        self.now = 0.0
        self.observed: dict[tuple[int, int], Observation] = {}
        self.reports: tuple[Report, ...] = ()
        self.started: list[int] = []
        """Indexes in the order of Start actions."""
        self.stopped: list[tuple[int, str]] = []
        """(index, why) in the order of Stop actions, each told once."""
        self.waits = False
        """Whether attempts that are asked for are made and do not run yet."""
        self.paused: list[str] = []
        """Messages of Pause actions."""

    def look(self, *reports: tuple[int, int, float]) -> HandPlayed:
        """Plan until nothing is left to do, with reports (index, evaluation, score) of the latest attempts."""
        latest = {index: attempt.number for index, attempt in self.ledger.running.items()}
        self.reports = tuple(Report(*report, attempt=latest.get(report[0], 1)) for report in reports)
        drive(self._snapshot, self._carry_out)
        drive(self._snapshot, self._carry_out)
        return self

    def end(self, index: int, code: int | None = 0, message: str = "", **seen: Any) -> HandPlayed:
        """The latest attempt of a trial ends; ``seen`` are other fields of what is observed."""
        self.observed[self._key(index)] = Ended(code, message=message, **seen)
        return self.look()

    def finish(self, index: int, score: float, **seen: Any) -> HandPlayed:
        """A trial reports its last evaluation and ends well."""
        self.look((index, self.settled.evaluations, score))
        return self.end(index, **seen)

    def change(self, search: SearchBuilder) -> HandPlayed:
        """The user applies a changed manifest."""
        self.settled = search.settled()
        return self.look()

    def wait(self, seconds: float) -> HandPlayed:
        """Time passes."""
        self.now += seconds
        return self.look()

    @property
    def running(self) -> list[int]:
        """Indexes of trials with an open attempt."""
        return sorted(self.ledger.running)

    def outcome(self, index: int) -> str | None:
        """How a trial ended."""
        return self.ledger.trials[index].status.outcome

    def of(self, purpose: Purpose) -> list[GraphTrial]:
        """Trials of a purpose, by index."""
        return of_purpose(self.ledger, purpose)

    def _key(self, index: int) -> tuple[int, int]:
        attempt = self.ledger.trials[index].attempt
        assert attempt is not None
        return index, attempt.number

    def _snapshot(self) -> Snapshot:
        self.now += 1e-6
        return Snapshot(self.settled, self.ledger, self.now, self.observed, self.reports)

    def _carry_out(self, action: Action) -> None:
        match action:
            case Record(trial):
                self.ledger.put(trial)
            case RecordSearch(facts):
                self.ledger.search = facts
            case Start(trial):
                self.started.append(trial.index)
                self.observed[self._key(trial.index)] = Running(
                    f"process {len(self.started)}", None if self.waits else self.now
                )
            case Pause(message):
                # The API server refuses it of a search that is to finish.
                assert self.settled.spec.desired_state is DesiredState.RUNNING
                self.paused.append(message)
                spec = self.settled.spec.model_copy(update={"desired_state": DesiredState.PAUSED})
                self.settled = replace(self.settled, spec=spec)
            case Stop(trial, why):
                if (told := (trial.index, str(why))) not in self.stopped:
                    self.stopped.append(told)


def of_purpose(ledger: Ledger, purpose: Purpose) -> list[GraphTrial]:
    """Trials of a purpose, by index."""
    return [trial for _, trial in sorted(ledger.trials.items()) if trial.spec.purpose is purpose]


def drawn_curve(seed: int) -> Callable[[GraphTrial, int], float]:
    """Scores that rise towards a drawn end, with noise; a function of the trial's own seed and the evaluation."""

    def curve(trial: GraphTrial, evaluation: int) -> float:
        end = random.Random(derive(seed, trial.spec.seed, "end")).random()
        noise = random.Random(derive(seed, trial.spec.seed, evaluation)).random()
        return round(end * evaluation / (evaluation + 1) + 0.2 * noise, 2)

    return curve


Decisions = dict[int, list[tuple[int, float, int | None, int, str]]]


def decisions(ledger: Ledger) -> Decisions:
    """(evaluation, score, rank, of, decision) of each recorded rung of the Search trials, by index."""
    return {
        trial.index: [(r.evaluation, r.score, r.rank, r.of, str(r.decision)) for r in trial.status.rungs]
        for trial in of_purpose(ledger, Purpose.SEARCH)
    }


def rebuilt(ledger: Ledger, order: random.Random | None = None) -> Ledger:
    """A fresh ledger from the recorded facts, put in any order."""
    fresh = Ledger(ledger.search)
    trials = list(ledger.trials.values())
    if order:
        order.shuffle(trials)
    for trial in trials:
        fresh.put(trial)
    return fresh
