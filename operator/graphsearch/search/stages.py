"""What a search does next as a whole: draw graphs, pretrain teachers, train finalists, compare, compress, end.

A stage is read off the facts; none is stored. Small pure functions, each one question.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable

from graphsearch.api import DesiredState, GraphTrial, GraphTrialSpec, GraphTrialStatus, Outcome, Reason, SearchFacts
from graphsearch.search.compression import compression_failure, next_compression, taught_keys
from graphsearch.search.contenders import contenders, found_name
from graphsearch.search.ledger import Ledger
from graphsearch.search.settled import Settled, seed_of
from graphsearch.search.space import draw
from graphsearch.search.teachers import pretrain_spec, published_keys, teacher_keys
from graphtrial.contract import ExitCode, Purpose, ScoreOf, Split, graph_digest, scored_nodes

_ALIKE = 3

Ending = tuple[Reason, str]
"""Why a search ends, with a message."""


def is_paused(settled: Settled, ledger: Ledger) -> bool:
    """Whether nothing shall run for now; of a search that has ended nothing but its report is left to run."""
    return settled.spec.desired_state is DesiredState.PAUSED and ledger.search.ended_at is None


def is_finishing(settled: Settled) -> bool:
    """Whether no Search trial shall run any more."""
    return settled.spec.desired_state is DesiredState.FINISHING


def ending(settled: Settled, ledger: Ledger, now: float) -> Ending | None:
    """Why the search ends before its comparison, with a message; None if it goes on."""
    budget = settled.spec.budget
    if settled.spec.desired_state is DesiredState.CANCELLED:
        return Reason.CANCELLED, "desiredState is Cancelled"
    if refused := _refused(ledger):
        return refused
    failed = sum(ledger.outcomes[purpose, Outcome.FAILED] for purpose in Purpose) if ledger.last_failed else 0
    if failed > budget.max_failed_trials:
        message = ledger.trials[ledger.last_failed[1]].status.message if ledger.last_failed else ""
        limit = budget.max_failed_trials
        return Reason.TOO_MANY_FAILED_TRIALS, f"{failed} trials failed (maxFailedTrials: {limit}); the last: {message}"
    if budget.deadline_seconds is not None and now - ledger.search.started_at >= budget.deadline_seconds:
        return Reason.DEADLINE_EXCEEDED, f"{budget.deadline_seconds} s passed since the start"
    if budget.max_gpu_hours is not None and device_seconds(ledger, now) >= budget.max_gpu_hours * 3600:
        return Reason.BUDGET_SPENT, f"maxGpuHours: {budget.max_gpu_hours:g} are spent"
    return None


def _refused(ledger: Ledger) -> Ending | None:
    """Data are every trial's; a specification is taken for wrong as a whole only before any trial has reported."""
    if not ledger.refused:
        return None
    if (index := ledger.refused.get(ExitCode.BAD_DATA)) is not None:
        return Reason.BAD_DATA, ledger.trials[index].status.message
    reported = any(map(len, ledger.rungs.values()))
    succeeded = any(outcome is Outcome.SUCCEEDED for _, outcome in ledger.outcomes)
    if (index := ledger.refused.get(ExitCode.BAD_SPEC)) is not None and not reported and not succeeded:
        return Reason.BAD_SPEC, f"{ledger.trials[index].name}: {ledger.trials[index].status.message}"
    return None


def device_seconds(ledger: Ledger, now: float) -> float:
    """Device time of ended attempts and, so far, of running ones."""
    running = (attempt.started_at for attempt in ledger.running.values())
    return ledger.seconds + sum(now - started_at for started_at in running if started_at is not None)


def hindrance(ledger: Ledger) -> str:
    """Why nothing gets on; empty if something may.

    The last three attempts could not start, and for one reason; or the storage of three trials failed, for one may have
    an object of its own that is damaged, or a slot on a node whose disk is full. What lies before the last start or
    progress, or before the last pause for such a reason, is not held against it.
    """
    paused_at = ledger.search.paused_at or 0.0
    since = max(ledger.last_start, paused_at)
    unstarted = [message for time, message in ledger.unstarted if time > since][-_ALIKE:]
    if len(unstarted) == _ALIKE and len({message.partition(":")[0] for message in unstarted}) == 1:
        return f"{_ALIKE} attempts in a row could not start; the last: {unstarted[-1]}"
    since = max(ledger.last_progress, paused_at)
    unstored = [(index, message) for time, index, message in ledger.unstored if time > since]
    if len({index for index, _ in unstored}) >= _ALIKE:
        return f"the storage of {_ALIKE} trials in a row failed; the last: {unstored[-1][1]}"
    return ""


def wants_more(settled: Settled, ledger: Ledger, ending: Ending | None) -> bool:
    """Whether further graphs shall be drawn."""
    is_drawing = settled.spec.space is not None and ledger.search.winner is None
    if not is_drawing or settled.spec.desired_state is not DesiredState.RUNNING:
        return False
    goal = settled.spec.objective.goal
    reached = goal is not None and ledger.best is not None and ledger.best[0] >= goal
    # Those that a lowered budget has cancelled are drawn anew, as others, when it is raised again.
    drawn = ledger.created[Purpose.SEARCH] - ledger.outcomes[Purpose.SEARCH, Outcome.CANCELLED]
    more = drawn < settled.spec.budget.max_trials
    return more and not reached and ending is None


def search_trial(settled: Settled, index: int) -> GraphTrial:
    """The Search trial of an index: its graph depends on nothing but the search's seed and the index."""
    assert settled.spec.space is not None
    graph = draw(settled.spec.space, settled.spec.objective.score_of, settled.spec.seed, index)
    # Without validation: the graph was checked as it was drawn, and checking dominates simulated searches.
    spec = GraphTrialSpec.model_construct(
        search_ref=settled.name,
        index=index,
        purpose=Purpose.SEARCH,
        graph=graph,
        seed=seed_of(settled.spec.seed, "trial", index),
        teachers=teacher_keys(settled, graph, Split.SEARCH, settled.spec.seed),
        publishes={},
    )
    return _trial(settled, spec)


def missing_teachers(settled: Settled, ledger: Ledger) -> list[GraphTrial]:
    """Pretrain trials to create for teachers that an idle trial waits for."""
    missing: dict[str, GraphTrial] = {}
    for _, trial in sorted(ledger.idle.items()):
        for node, key in trial.spec.teachers.items():
            publisher = ledger.published.get(key)
            known = publisher is not None and ledger.publishers[publisher] is not Outcome.CANCELLED
            weights = trial.spec.graph.node(node).weights
            if known or key in missing or weights is None or weights.pretrained is None:
                continue
            index = ledger.next_index + len(missing)
            missing[key] = _trial(settled, pretrain_spec(settled, trial.spec, node, key, index))
    return list(missing.values())


def has_teachers(ledger: Ledger, trial: GraphTrial) -> bool:
    """Whether all weights that a trial starts from are there."""
    publishers = (ledger.published.get(key, -1) for key in trial.spec.teachers.values())
    return all(ledger.publishers.get(index) is Outcome.SUCCEEDED for index in publishers)


def failed_teacher(ledger: Ledger, trial: GraphTrial) -> GraphTrial | None:
    """The publisher of weights that will never be there, if there is one; a cancelled Pretrain trial is made anew."""
    for key in trial.spec.teachers.values():
        outcome = ledger.publishers.get(ledger.published.get(key, -1))
        if outcome in (None, Outcome.SUCCEEDED):
            continue
        publisher = ledger.trials[ledger.published[key]]
        if outcome is not Outcome.CANCELLED or publisher.spec.purpose is not Purpose.PRETRAIN:
            return publisher
    return None


def is_awaited(ledger: Ledger, trial: GraphTrial) -> bool:
    """Whether an idle trial waits for the weights that this one publishes."""
    keys = set(trial.spec.publishes.values())
    return any(not keys.isdisjoint(other.spec.teachers.values()) for other in ledger.idle.values())


def next_stage(settled: Settled, ledger: Ledger, now: float) -> list[GraphTrial | SearchFacts]:
    """What to record when a stage is over: the next stage's trials, the winner, or the end; empty while it is not."""
    if ledger.open or wants_more(settled, ledger, None):
        return []
    comparison = settled.spec.comparison
    if settled.spec.space is None:
        return _last_stages(settled, ledger, now)
    if ledger.best is None:
        message = "no graph reached its last evaluation"
        return [end(settled, ledger, Reason.NO_TRIAL_COMPLETED, message, now)]
    if ledger.search.winner is None:
        if comparison and (missing := _finalists(settled, ledger)):
            return list(missing)
        return [_choose(settled, ledger)]
    return _last_stages(settled, ledger, now)


def _last_stages(settled: Settled, ledger: Ledger, now: float) -> list[GraphTrial | SearchFacts]:
    """The comparison, which a fixed list always has; then the compression; then the end."""
    compares = settled.spec.comparison is not None or settled.spec.space is None
    compared = _comparison(settled, ledger) if compares else []
    return [*(compared or _numbered(settled, ledger, next_compression(settled, ledger)))] or [
        _over(settled, ledger, now)
    ]


def end(settled: Settled, ledger: Ledger, reason: Reason, message: str, now: float) -> SearchFacts:
    """The facts of a search that ends; the best trial so far is its winner if none was chosen."""
    facts = ledger.search
    if facts.winner is None and ledger.best is not None:
        facts = _with_winner(settled, ledger, -ledger.best[1])
    return facts.model_copy(update={"ended_at": now, "reason": reason, "message": message})


def _over(settled: Settled, ledger: Ledger, now: float) -> SearchFacts:
    compared = ledger.of(Purpose.COMPARE)
    failed = [trial for trial in compared if trial.status.outcome is not Outcome.SUCCEEDED]
    if failed:
        message = f"{len(failed)} of {len(compared)} trials did not end well; first {failed[0].name}: "
        return end(settled, ledger, Reason.COMPARISON_FAILED, message + failed[0].status.message, now)
    if message := compression_failure(settled, ledger):
        return end(settled, ledger, Reason.COMPRESSION_FAILED, message, now)
    return end(settled, ledger, Reason.COMPLETED, "", now)


def finalists(settled: Settled, ledger: Ledger) -> list[GraphTrial]:
    """The best Search trials with distinct graphs, best first; the older first among equals."""
    comparison = settled.spec.comparison
    best: dict[str, GraphTrial] = {}
    for trial in sorted(_succeeded(ledger, Purpose.SEARCH), key=lambda trial: (-_score(trial), trial.index)):
        if len(best) < (comparison.finalists if comparison else 1):
            best.setdefault(graph_digest(trial.spec.graph), trial)
    return list(best.values())


def _finalists(settled: Settled, ledger: Ledger) -> list[GraphTrial]:
    comparison = settled.spec.comparison
    chosen = finalists(settled, ledger)
    if comparison is None or (len(chosen) == 1 and settled.spec.objective.score_of is not ScoreOf.BEST_NODE):
        return []
    known = {(t.spec.origin, t.spec.repeat) for t in ledger.of(Purpose.FINALIST)}
    specs = [
        _finalist(settled, trial, repeat)
        for trial in chosen
        for repeat in range(comparison.repeats)
        if (trial.index, repeat) not in known
    ]
    return _numbered(settled, ledger, specs)


def _finalist(settled: Settled, trial: GraphTrial, repeat: int) -> GraphTrialSpec:
    seed, spec = seed_of(settled.spec.seed, "finalist", repeat), trial.spec
    score_of = settled.spec.objective.score_of
    changes = {
        "purpose": Purpose.FINALIST,
        "origin": trial.index,
        "repeat": repeat,
        "seed": seed,
        "publishes": taught_keys(settled, spec.graph, score_of, spec.teachers, Split.SEARCH, seed),
    }
    return spec.model_copy(update=changes)


def mean_scores(ledger: Ledger) -> dict[int, float]:
    """Mean validation score of each finalist over its repeats that succeeded, by the index of its Search trial."""
    scores: dict[int, list[float]] = {}
    for trial in _succeeded(ledger, Purpose.FINALIST):
        assert trial.spec.origin is not None
        scores.setdefault(trial.spec.origin, []).append(_score(trial))
    return {index: statistics.fmean(values) for index, values in scores.items()}


def _choose(settled: Settled, ledger: Ledger) -> SearchFacts:
    """The finalist with the highest mean; one that diverged under some seed comes after those that did not."""
    assert ledger.best is not None
    means = mean_scores(ledger)
    diverged = Counter(
        trial.spec.origin for trial in ledger.of(Purpose.FINALIST) if trial.status.outcome is Outcome.DIVERGED
    )
    winner = min(means, key=lambda index: (diverged[index], -means[index], index), default=-ledger.best[1])
    return _with_winner(settled, ledger, winner)


def _with_winner(settled: Settled, ledger: Ledger, winner: int) -> SearchFacts:
    node = _best_node(ledger, winner) if settled.spec.objective.score_of is ScoreOf.BEST_NODE else ""
    return ledger.search.model_copy(update={"winner": winner, "winner_node": node})


def _best_node(ledger: Ledger, winner: int) -> str:
    """The node with the highest mean over the winner's repeats; where none has one, the target if it learns."""
    runs = [t for t in _succeeded(ledger, Purpose.FINALIST) if t.spec.origin == winner] or [ledger.trials[winner]]
    graph = ledger.trials[winner].spec.graph
    learners = scored_nodes(graph, ScoreOf.BEST_NODE)
    means = {
        name: statistics.fmean(run.status.nodes[name] for run in runs)
        for name in learners
        if all(math.isfinite(run.status.nodes.get(name, math.nan)) for run in runs)
    }
    some = graph.target_name if graph.target_name in learners else learners[0]
    return max(means, key=lambda name: means[name], default=some)


def _comparison(settled: Settled, ledger: Ledger) -> list[GraphTrial]:
    """Compare trials that are not there yet: every contender, every repeat, on the full training set."""
    known = {(t.spec.contenders, t.spec.repeat) for t in ledger.of(Purpose.COMPARE)}
    found = found_name(settled)
    missing: list[GraphTrialSpec] = []
    for repeat in range(settled.repeats):
        seed = seed_of(settled.spec.seed, "repeat", repeat)
        for names, graph in contenders(settled, ledger):
            if (names, repeat) in known:
                continue
            teachers = teacher_keys(settled, graph, Split.FULL, seed)
            publishes = published_keys(settled, graph, Split.FULL, seed)
            if found in names:
                publishes |= taught_keys(settled, graph, settled.final_score_of, teachers, Split.FULL, seed)
            spec = GraphTrialSpec(
                search_ref=settled.name,
                index=0,
                purpose=Purpose.COMPARE,
                graph=graph,
                seed=seed,
                split=Split.FULL,
                contenders=names,
                repeat=repeat,
                teachers=teachers,
                publishes=publishes,
            )
            missing.append(spec)
    return _numbered(settled, ledger, missing)


def missing_report(settled: Settled, ledger: Ledger) -> GraphTrial | None:
    """The trial that builds the report of an ended search, if it is not there yet and there is anything to report."""
    if ledger.created[Purpose.REPORT] or not ledger.trials:
        return None
    about = ledger.search.winner if ledger.search.winner is not None else next(iter(ledger.trials))
    spec = GraphTrialSpec(
        search_ref=settled.name,
        index=ledger.next_index,
        purpose=Purpose.REPORT,
        graph=ledger.trials[about].spec.graph,
        origin=about,
    )
    return _trial(settled, spec)


def _succeeded(ledger: Ledger, purpose: Purpose) -> list[GraphTrial]:
    return [ledger.trials[index] for index in sorted(ledger.successes[purpose])]


def _score(trial: GraphTrial) -> float:
    assert trial.status.score is not None
    return trial.status.score


def _numbered(settled: Settled, ledger: Ledger, specs: Iterable[GraphTrialSpec]) -> list[GraphTrial]:
    """Trials with the next free indexes."""
    return [
        _trial(settled, spec.model_copy(update={"index": index}))
        for index, spec in enumerate(specs, start=ledger.next_index)
    ]


def _trial(settled: Settled, spec: GraphTrialSpec) -> GraphTrial:
    return GraphTrial(name=f"{settled.name}-t{spec.index}", spec=spec, status=GraphTrialStatus())
