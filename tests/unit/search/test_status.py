"""A search in numbers, as it is shown: counters, rungs, best, cost; and an audit of its recorded decisions."""

from __future__ import annotations

from tests.searches import HandPlayed, a_search

from graphsearch.api import Decision, Reason, SearchFacts
from graphsearch.search.ledger import Ledger
from graphsearch.search.replay import contradictions, doubt
from graphsearch.search.status import summarise


def test_a_running_search_in_numbers():
    """One trial ended well, one was stopped at the first rung, two run; seconds go to what became of them."""
    world = HandPlayed(a_search().trials(9).parallel(2).settled()).look().look((0, 1, 0.9), (1, 1, 0.1))
    world.end(1, 143, seconds=3).finish(0, 0.8, seconds=8)
    status = summarise(world.settled, world.ledger, world.now)
    counts = (status.created, status.running, status.succeeded, status.stopped, status.failed, status.max_trials)
    assert (status.reason, *counts) == (Reason.SEARCHING, 4, 2, 1, 1, 0, 9)
    assert (status.best.trial, status.best.score) == ("s-t0", 0.8)
    assert [(r.evaluation, r.reported, r.kept, r.cut) for r in status.rungs] == [
        (1, 2, 1, 0.9),
        (2, 1, 1, 0.8),
        (4, 1, 1, 0.8),
    ]
    assert (status.seconds.useful, status.seconds.stopped, status.seconds.lost) == (8, 3, 0)


def test_the_cut_is_the_lowest_score_that_would_go_on():
    """Of three and itself the best two go on, so 0.8 would."""
    world = HandPlayed(a_search().trials(9).parallel(3).settled()).look().look((0, 1, 0.9), (1, 1, 0.8), (2, 1, 0.5))
    status = summarise(world.settled, world.ledger, world.now)
    assert status.rungs[0].cut == 0.8
    world.end(2, 143).look((3, 1, 0.8))
    assert world.ledger.trials[3].status.rungs[0].decision is Decision.CONTINUE


def test_of_a_fixed_list_the_runs_are_counted():
    """Nothing is drawn: each graph has its repeats, and a baseline that equals it has none of its own."""
    edges = [{"source": "Label", "destination": "1", "loss": {"type": "CrossEntropy"}}]
    graph = {"nodes": [{"name": "1", "model": "resnet8"}], "edges": edges}
    comparison = {"repeats": 3, "baselines": ["Independent"]}
    world = HandPlayed(a_search().parallel(2).graphs(graph).having(comparison=comparison).settled()).look()
    world.look((0, 1, 0.5)).finish(0, 0.8)
    status = summarise(world.settled, world.ledger, world.now)
    assert (status.created, status.succeeded, status.max_trials) == (3, 1, 3)


def test_time_that_was_lost():
    """A crash and a vanished attempt of a trial that goes on, and all of a trial that failed."""
    world = HandPlayed(a_search().trials(1).settled()).look()
    world.end(0, 1, seconds=2).end(0, None, seconds=3).end(0, 143, seconds=5)
    status = summarise(world.settled, world.ledger, world.now)
    assert (status.seconds.lost, status.seconds.useful) == (5, 5)
    world.end(0, 10, seconds=1)
    assert summarise(world.settled, world.ledger, world.now).seconds.lost == 11


def test_what_a_search_is_doing():
    """Searching, paused, choosing, comparing, compressing, over."""
    search = a_search().with_nodes(2, "resnet8").never_stopping().trials(2).parallel(2).compared(2, 1)
    search = search.having(compression={"student": "resnet8", "lessons": ["EnsembleProbability"]})
    world = HandPlayed(search.settled()).look()

    def reason():
        return summarise(world.settled, world.ledger, world.now).reason

    seen = [reason()]
    world.change(search.wanted("Paused"))
    seen.append(reason())
    world.end(0, 143).end(1, 143).change(search)
    world.finish(0, 0.5).finish(1, 0.6)
    seen.append(reason())
    world.finish(2, 0.5).finish(3, 0.6)
    seen.append(reason())
    world.finish(4, 0.6)
    seen.append(reason())
    world.finish(5, 0.6).finish(6, 0.6)
    seen.append(reason())
    assert seen == [
        Reason.SEARCHING,
        Reason.PAUSED,
        Reason.CHOOSING,
        Reason.COMPARING,
        Reason.COMPRESSING,
        Reason.COMPLETED,
    ]


def test_a_decision_that_the_facts_do_not_explain_is_told():
    """A changed rank, and a decision against the rule."""
    world = HandPlayed(a_search().trials(2).parallel(2).settled()).look().look((0, 1, 0.9)).look((1, 1, 0.1))
    assert contradictions(world.settled, world.ledger.trials.values()) == []
    trial = world.ledger.trials[1]
    changed = trial.status.rungs[0].model_copy(update={"decision": Decision.CONTINUE})
    forged = trial.model_copy(update={"status": trial.status.model_copy(update={"rungs": (changed,)})})
    assert contradictions(world.settled, [world.ledger.trials[0], forged]) == [
        "s-t1 at evaluation 1: recorded rank 2 of 2, Continue; the facts before it give rank 2 of 2, Stop"
    ]


def test_a_record_that_was_deleted_leaves_a_hole_and_a_decision_unexplained():
    """The second trial was stopped because of the first; without it, both show in one line."""
    world = HandPlayed(a_search().trials(2).parallel(2).settled()).look().look((0, 1, 0.9)).look((1, 1, 0.1))
    assert doubt(world.settled, world.ledger) == ""
    rest = Ledger(world.ledger.search)
    rest.put(world.ledger.trials[1])
    assert doubt(world.settled, rest) == (
        "trials without a record: 0; decisions that the records do not explain: 1, first s-t1 at evaluation 1: "
        "recorded rank 2 of 2, Stop; the facts before it give rank 1 of 1, Continue"
    )


def test_a_winner_without_a_record_is_a_doubt():
    """Also where all records are gone."""
    world = HandPlayed(a_search().trials(1).settled()).look()
    facts = SearchFacts(uid="u", started_at=0.0, winner=1)
    assert doubt(world.settled, Ledger(facts)) == "trials without a record: 0, 1"


def test_many_holes_are_counted_and_not_listed():
    """The first five by number; that there were trials after the last one is known from the next index."""
    world = HandPlayed(a_search().trials(1).settled()).look()
    first = world.ledger.trials[0]
    ledger = Ledger(SearchFacts(uid="u", started_at=0.0, next_index=1300))
    for index in (0, 1200):
        ledger.put(first.model_copy(update={"spec": first.spec.model_copy(update={"index": index})}))
    assert doubt(world.settled, ledger) == "trials without a record: 1, 2, 3, 4, 5 and 1,293 more"
