"""What holds of every search, whatever its manifest, its scores and its faults: played in the simulated world."""

from __future__ import annotations

import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.searches import HandPlayed, a_search, drawn_curve, of_purpose, rebuilt

from graphsearch.api import AttemptEnd, DesiredState, Outcome
from graphsearch.search.actions import Report, Snapshot
from graphsearch.search.planner import plan
from graphsearch.search.replay import contradictions
from graphsearch.search.simulator import Simulation
from graphsearch.search.space import draw
from graphsearch.search.specs import Place, trial_spec
from graphtrial.contract import NodeKind, Purpose, ScoreOf, derive, needed_nodes, score_violations

ENOUGH = 20_000
"""Events after which a small search that has not ended never will."""

BASELINES = ("Independent", "MutualLearning", "Distillation", "AllThrough")


@st.composite
def searches(draw_from, workers=range(1, 9), modes=("Stopping", "Promotion")):
    """Searches of up to 25 small graphs, some with frozen teachers, a comparison and a compression."""
    search = (
        a_search()
        .with_nodes(draw_from(st.integers(1, 3)), "resnet8", "resnet14", gates=("Through", "Cutoff", "Linear"))
        .trials(draw_from(st.integers(1, 25)))
        .parallel(draw_from(st.sampled_from(workers)))
        .evaluations(draw_from(st.sampled_from([1, 3, 8])))
        .halving(draw_from(st.integers(2, 4)), mode=draw_from(st.sampled_from(modes)))
        .in_space(isolatedNodes=draw_from(st.sampled_from(["Pretrained", "Random"])))
        .scored_by(draw_from(st.sampled_from(["TargetNode", "Ensemble", "BestNode"])))
        .seeded(draw_from(st.integers(0, 100)))
    )
    if draw_from(st.booleans()):
        baselines = draw_from(st.lists(st.sampled_from(BASELINES), unique=True))
        search = search.compared(draw_from(st.integers(1, 3)), draw_from(st.integers(1, 2)), baselines)
    if draw_from(st.booleans()):
        search = search.having(compression={"student": "resnet8", "temperatures": [1, 5]})
    return search


def drawn_faults(seed, rate=0.1):
    """Ends of attempts: crashes, kills, losses and divergence, a function of (trial, attempt, evaluation)."""

    def fault(trial, evaluation):
        draw = random.Random(derive(seed, trial.name, trial.attempt.number, evaluation))
        return draw.choice([1, 1, 13, 137, -1, -1, 143, 12]) if draw.random() < rate else None

    return fault


def wild(curve, seed, rate=0.05):
    """The curve with some scores that are not finite."""

    def score(trial, evaluation):
        draw = random.Random(derive(seed, trial.name, evaluation))
        return draw.choice([math.nan, math.inf, -math.inf]) if draw.random() < rate else curve(trial, evaluation)

    return score


def a_world(search, seed, *, faulty):
    """A simulated world whose trials take different times."""
    curve = drawn_curve(seed)
    world = {"duration": lambda trial: 1 + random.Random(derive(seed, trial.index)).random()}
    if faulty:
        return Simulation(search.settled(), wild(curve, seed), fault=drawn_faults(seed), **world)
    return Simulation(search.settled(), curve, **world)


def play(world):
    """The ledger of a search that must end."""
    world.look()
    for _ in range(ENOUGH):
        if world.ledger.search.ended_at is not None:
            return world.ledger
        world.step()
    raise AssertionError("the search never ends")


seeds = st.integers(0, 10_000)
few = settings(deadline=None, max_examples=40, derandomize=True)


def could_start(settled, ledger):
    """Trials that could run now, told from the facts alone: idle with their teachers there, or promotable."""
    succeeded = {
        key
        for trial in ledger.trials.values()
        if trial.status.outcome is Outcome.SUCCEEDED
        for key in trial.spec.publishes.values()
    }
    found = []
    for trial in ledger.trials.values():
        if trial.is_ended or (trial.attempt and trial.attempt.is_open):
            continue
        last = trial.status.rungs[-1] if trial.status.rungs else None
        if last and last.decision == "Pause" and trial.attempt.until == last.evaluation:
            standing = sorted(
                (-rung.score, other.index)
                for other in ledger.trials.values()
                if other.status.outcome not in (Outcome.FAILED, Outcome.DIVERGED)
                for rung in other.status.rungs
                if rung.evaluation == last.evaluation and math.isfinite(rung.score)
            )
            kept = standing[: len(standing) // settled.asha.reduction_factor]
            found += [trial.index] if (-last.score, trial.index) in kept else []
        elif set(trial.spec.teachers.values()) <= succeeded:
            found.append(trial.index)
    return found


@few
@given(searches(), seeds, st.booleans())
def test_no_slot_is_idle_while_work_is_allowed(search, seed, faulty):
    """After each look all slots are taken, or nothing can start and no further graph may be drawn."""
    world = a_world(search, seed, faulty=faulty)
    budget = world.settled.spec.budget
    world.look()
    while world.ledger.search.ended_at is None:
        running = len(world.ledger.running)
        assert running <= budget.parallel_trials
        if running < budget.parallel_trials:
            assert could_start(world.settled, world.ledger) == []
            assert len(of_purpose(world.ledger, Purpose.SEARCH)) == budget.max_trials
        world.step()


@few
@given(searches(), seeds)
def test_never_more_than_the_allowed_trials_run(search, seed):
    """The attempts' recorded times overlap at most parallelTrials-fold, at every moment."""
    ledger = play(a_world(search, seed, faulty=True))
    attempts = [attempt for trial in ledger.trials.values() for attempt in trial.status.attempts]
    changes = sorted(
        change
        for attempt in attempts
        if attempt.started_at is not None
        for change in ((attempt.started_at, 1), (attempt.ended_at, -1))
    )
    running = 0
    for _, change in changes:
        running += change
        assert running <= search.settled().spec.budget.parallel_trials


@few
@given(searches(), seeds)
def test_every_search_ends_with_every_trial_accounted_for(search, seed):
    """Whatever fails: all trials have an outcome, attempts are numbered 1, 2, ..., evaluations are recorded once."""
    ledger = play(a_world(search, seed, faulty=True))
    assert sorted(ledger.trials) == list(range(len(ledger.trials)))
    for trial in ledger.trials.values():
        assert trial.is_ended
        assert [attempt.number for attempt in trial.status.attempts] == list(range(1, len(trial.status.attempts) + 1))
        evaluations = [rung.evaluation for rung in trial.status.rungs]
        assert evaluations == sorted(set(evaluations))


def as_of(trial, time):
    """A trial's recorded facts at a time."""
    status = trial.status
    rungs = tuple(rung for rung in status.rungs if rung.time <= time)
    ended = status.ended_at is not None and status.ended_at <= time
    known = {"rungs": rungs} if ended else {"rungs": rungs, "outcome": None, "ended_at": None}
    return trial.model_copy(update={"status": status.model_copy(update=known)})


@few
@given(searches(), seeds, st.data())
def test_any_prefix_of_the_facts_gives_the_recorded_decisions(search, seed, data):
    """A ledger rebuilt from the facts before a rung was recorded judges it as it was judged."""
    settled = search.settled()
    ledger = play(a_world(search, seed, faulty=True))
    assert contradictions(settled, ledger.trials.values()) == []
    recorded = [
        (rung.time, rung.evaluation, trial.index, rung)
        for trial in of_purpose(ledger, Purpose.SEARCH)
        for rung in trial.status.rungs
        if rung.evaluation in settled.rungs
    ]
    if not recorded:
        return
    time, evaluation, index, rung = data.draw(st.sampled_from(sorted(recorded, key=lambda item: item[:3])))
    prefix = type(ledger)(ledger.search)
    for trial in ledger.trials.values():
        prefix.put(as_of(trial, math.nextafter(time, 0)))
    beside = [
        other.score
        for at, level, i, other in recorded
        if (at, level) == (time, evaluation) and i < index and math.isfinite(other.score)
    ]
    verdict = prefix.rungs[evaluation].judge(rung.score, settled.asha.reduction_factor, beside)
    assert (verdict.rank, verdict.of) == (rung.rank, rung.of)
    goes_on = rung.decision == "Continue" if settled.asha.mode == "Stopping" else verdict.goes_on
    assert verdict.goes_on == goes_on


@few
@given(searches(), seeds)
def test_a_ledger_is_the_same_whatever_order_it_is_filled_in(search, seed):
    """The facts alone make the ledger: shuffled, they give the same indexes and the same next actions."""
    world = a_world(search, seed, faulty=True)
    world.look()
    for _ in range(seed % 30):
        if world.ledger.search.ended_at is None:
            world.step()
    ledger, fresh = world.ledger, rebuilt(world.ledger, random.Random(seed))
    for name in ("open", "running", "doomed", "idle", "next_index", "created", "outcomes", "published", "best"):
        assert getattr(fresh, name) == getattr(ledger, name), name
    assert math.isclose(fresh.seconds, ledger.seconds, abs_tol=1e-6)
    now = world.now + 1
    assert plan(Snapshot(world.settled, fresh, now)) == plan(Snapshot(world.settled, ledger, now))


@few
@given(searches(modes=["Stopping"]), seeds)
def test_a_score_that_is_not_finite_never_beats_a_number(search, seed):
    """It never ranks, never counts for others and always stops its trial."""
    settled = search.settled()
    ledger = play(a_world(search, seed, faulty=True))
    for trial in of_purpose(ledger, Purpose.SEARCH):
        for rung in trial.status.rungs:
            if math.isfinite(rung.score):
                continue
            assert (rung.rank, rung.decision) == (None, "Stop")
            assert rung == trial.status.rungs[-1]
            assert trial.status.outcome is Outcome.DIVERGED
    best = ledger.best
    assert best is None or math.isfinite(best[0])
    for evaluation in settled.rungs:
        rungs = [r for t in ledger.trials.values() for r in t.status.rungs if r.evaluation == evaluation]
        assert max((rung.of for rung in rungs), default=0) <= sum(math.isfinite(rung.score) for rung in rungs)


scores = st.floats(0, 1).map(lambda score: round(score, 1)) | st.sampled_from([math.nan, math.inf])


@few
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 8), scores), max_size=20),
    st.randoms(use_true_random=False),
    st.sampled_from(["Stopping", "Promotion"]),
)
def test_the_order_of_simultaneous_reports_changes_nothing(reports, order, mode):
    """Reports of one snapshot, shuffled, unequal ones among them, leave the same facts."""
    shuffled = list(reports)
    order.shuffle(shuffled)
    search = a_search().trials(6).parallel(6).halving(mode=mode).settled()
    one, other = (HandPlayed(search).look().look(*some).ledger for some in (reports, shuffled))
    assert {i: t.model_dump_json() for i, t in one.trials.items()} == {
        i: t.model_dump_json() for i, t in other.trials.items()
    }


class _Echoing(Simulation):
    """A world that repeats what it told: late, doubled, with other scores, of trials long gone or never there."""

    def snapshot(self):
        snapshot = super().snapshot()
        echo = random.Random(derive(1, round(self.now * 1e6)))
        reports = list(snapshot.reports) * 2
        for trial in snapshot.ledger.trials.values():
            rungs = trial.status.rungs
            if rungs and echo.random() < 0.5:
                reports.append(Report(trial.index, echo.choice(rungs).evaluation, echo.random()))
            if trial.is_ended or (rungs and rungs[-1].decision == "Stop"):
                reports.append(Report(trial.index, self.settled.evaluations, echo.random()))
        reports += [Report(10_000, 1, 1.0), Report(0, self.settled.evaluations + 1, 1.0)]
        echo.shuffle(reports)
        return Snapshot(snapshot.settled, snapshot.ledger, snapshot.now, snapshot.observed, tuple(reports))


@few
@given(searches(), seeds)
def test_doubled_late_and_unequal_reports_change_nothing(search, seed):
    """The first recorded report of an evaluation wins, and after a stop nothing is recorded."""
    quiet = play(Simulation(search.settled(), drawn_curve(seed)))
    loud = play(_Echoing(search.settled(), drawn_curve(seed)))
    assert {i: t.status.rungs for i, t in loud.trials.items()} == {i: t.status.rungs for i, t in quiet.trials.items()}


@few
@given(searches(workers=[1]), seeds)
def test_searches_with_one_worker_are_equal(search, seed):
    """The same seed gives the same facts, times included."""
    one, other = (play(a_world(search, seed, faulty=True)) for _ in range(2))
    assert {i: t.model_dump_json() for i, t in one.trials.items()} == {
        i: t.model_dump_json() for i, t in other.trials.items()
    }


@few
@given(searches(), seeds)
def test_a_graph_is_a_function_of_seed_and_index(search, seed):
    """B13: however trials interleave, each index gets one graph, the one drawn for it; none is missing or too many."""
    settled = search.settled()
    for trial in of_purpose(play(a_world(search, seed, faulty=True)), Purpose.SEARCH):
        space, score_of = settled.spec.space, ScoreOf(settled.spec.objective.score_of)
        assert trial.spec.graph == draw(space, score_of, settled.spec.seed, trial.index)


@few
@given(searches(), seeds)
def test_teachers_are_trained_once_and_before_their_students(search, seed):
    """One Pretrain trial per key succeeds, and no student starts before it has ended."""
    ledger = play(a_world(search, seed, faulty=False))
    made = [trial for trial in of_purpose(ledger, Purpose.PRETRAIN) if trial.status.outcome is Outcome.SUCCEEDED]
    keys = [key for trial in made for key in trial.spec.publishes.values()]
    assert len(keys) == len(set(keys))
    ready = {
        key: trial.status.ended_at
        for trial in ledger.trials.values()
        if trial.status.outcome is Outcome.SUCCEEDED
        for key in trial.spec.publishes.values()
    }
    for trial in ledger.trials.values():
        frozen = {node.name for node in trial.spec.graph.nodes if node.kind is NodeKind.FROZEN}
        assert set(trial.spec.teachers) == frozen
        if trial.status.attempts:
            assert all(ready[key] < trial.status.attempts[0].started_at for key in trial.spec.teachers.values())


@few
@given(searches(modes=["Stopping"]), seeds, st.sampled_from(["Paused", "Finishing", "Cancelled"]))
def test_a_changed_wish_is_followed_at_any_moment(search, seed, state):
    """Paused: nothing runs; Finishing: no Search trial does; Cancelled: the search is over."""
    world = a_world(search, seed, faulty=False)
    world.look()
    for _ in range(seed % 40):
        if world.ledger.search.ended_at is None:
            world.step()
    if world.ledger.search.ended_at is not None:
        return
    world.settled = search.wanted(state).settled()
    world.look()
    running = [world.ledger.trials[index] for index in world.ledger.running]
    if state == DesiredState.FINISHING:
        assert all(trial.spec.purpose is not Purpose.SEARCH for trial in running)
    else:
        assert running == []
    assert (world.ledger.search.ended_at is not None) or state != DesiredState.CANCELLED
    world.settled = search.settled() if state == DesiredState.PAUSED else world.settled
    ledger = play(world)
    ends = {attempt.end for trial in ledger.trials.values() for attempt in trial.status.attempts}
    assert ends <= {AttemptEnd.DONE, AttemptEnd.SAVED, AttemptEnd.LOST}


@few
@given(searches(), seeds, st.booleans())
def test_every_trial_is_told_what_its_trainer_can_do(search, seed, chooses_node):
    """What it publishes it trains, what is scored learns, and whoever starts from weights is told where they lie."""
    if chooses_node:
        search = search.scored_by("BestNode").having(compression={"student": "resnet8", "temperatures": [1]})
    ledger, settled = play(a_world(search, seed, faulty=False)), search.settled()
    for trial in ledger.trials.values():
        spec = trial_spec(settled, ledger.search, trial, Place(root="r", teachers="w"))
        needed = needed_nodes(spec.graph, spec.objective.score_of)
        assert score_violations(spec.graph, spec.objective.score_of) == []
        assert needed.issuperset(spec.publish)
        assert {node.name for node in spec.graph.nodes if node.weights} == set(spec.teachers)
