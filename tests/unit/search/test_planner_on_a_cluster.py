"""What only a cluster makes the planner do: attempts that wait or never start, and the report as a last trial."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.searches import HandPlayed, a_search

from graphsearch.api import AttemptEnd, Outcome, Reason
from graphsearch.search.actions import Record, Report, Running, Stop
from graphsearch.search.planner import MAX_ATTEMPTS, plan
from graphsearch.search.status import summarise
from graphtrial.contract import ExitCode, Purpose


def waiting(search):
    """A world in which attempts are made and do not run yet."""
    world = HandPlayed(search.settled())
    world.waits = True
    return world.look()


def test_an_attempt_that_waits_is_recorded_again_when_it_runs():
    """Its Job's identity is a fact at once; its start, from which device time counts, when the pod runs."""
    world = waiting(a_search())
    assert (world.ledger.running[0].identity, world.ledger.running[0].started_at) == ("process 1", None)
    world.observed[0, 1] = Running("process 1", 7.0)
    world.look()
    assert world.ledger.running[0].started_at == 7.0


def test_three_attempts_that_cannot_start_for_one_reason_pause_the_search():
    """They are not charged to their trial, and nothing more is tried until somebody has looked."""
    world = waiting(a_search())
    for _ in range(3):
        assert world.paused == []
        world.wait(100).end(0, None, "ImageUnavailable: no such image", never_started="ImageUnavailable")
    message = "3 attempts in a row could not start; the last: ImageUnavailable: no such image"
    assert (world.paused, world.running, world.outcome(0)) == ([message], [], None)
    assert [attempt.end for attempt in world.ledger.trials[0].status.attempts] == [AttemptEnd.NOT_STARTED] * 3


def test_attempts_that_could_not_start_before_a_pause_are_not_held_against_it_again():
    """Resumed, a search tries three more times."""
    search = a_search()
    world = waiting(search)
    for _ in range(3):
        world.wait(100).end(0, None, "ImageUnavailable: a", never_started="ImageUnavailable")
    world.wait(100).change(search)
    assert (world.running, len(world.paused)) == ([0], 1)
    for _ in range(2):
        world.wait(100).end(0, None, "ImageUnavailable: a", never_started="ImageUnavailable")
    assert (world.running, len(world.paused)) == ([0], 1)
    world.wait(100).end(0, None, "ImageUnavailable: b", never_started="ImageUnavailable")
    assert (world.running, len(world.paused)) == ([], 2)


def test_a_pause_of_which_nothing_was_recorded_is_not_repeated():
    """The operator was killed between the act and the record: what came before is noted while the search is paused."""
    search = a_search()
    world = waiting(search.wanted("Paused"))
    world.change(search)
    for _ in range(2):
        world.wait(100).end(0, None, "ImageUnavailable: a", never_started="ImageUnavailable")
    world.settled = search.wanted("Paused").settled()
    world.end(0, None, "ImageUnavailable: a", never_started="ImageUnavailable")
    assert world.ledger.search.paused_at is not None
    world.wait(100).change(search)
    assert (world.running, world.paused) == ([0], [])


def test_attempts_that_cannot_start_for_different_reasons_are_tried_again():
    """A volume that is missing once and an image that is missing twice are not one fault."""
    world = waiting(a_search())
    for reason in ("ContainerRefused", "ImageUnavailable", "ImageUnavailable"):
        world.wait(100).end(0, None, f"{reason}: x", never_started=reason)
    assert (world.paused, world.running) == ([], [0])


def test_a_search_that_finishes_cannot_be_paused_and_goes_on_trying():
    """The API server would refuse it; what could not start is tried until somebody has mended it."""
    search = a_search().trials(9).compared(1, 1)
    world = HandPlayed(search.settled()).look().finish(0, 0.9).change(search.wanted("Finishing")).end(1, 143)
    [compared] = world.running
    for _ in range(7):
        world.wait(100).end(compared, None, "ImageUnavailable: a", never_started="ImageUnavailable")
    assert (world.paused, world.running) == ([], [compared])
    assert world.finish(compared, 0.9).ledger.search.reason is Reason.COMPLETED


DENIED = "s3://searches/s: access denied; check the credentials"


def test_storage_that_fails_for_several_trials_pauses_the_search():
    """As with credentials that have expired: no trial is failed for it, and mended it goes on where it was."""
    search = a_search().parallel(3)
    world = HandPlayed(search.settled()).look()
    for pauses in range(1, 4):  # twice it is resumed without being mended
        for index in range(3):
            world.wait(100).end(index, ExitCode.STORAGE, DENIED)
        assert world.paused == [f"the storage of 3 trials in a row failed; the last: {DENIED}"] * pauses
        for index in world.running:  # the next attempts, which are asked to stop
            world.end(index, ExitCode.STOPPED)
        assert (world.running, {world.outcome(index) for index in range(3)}) == ([], {None})
        world.wait(100).change(search)
    assert world.running == [0, 1, 2]
    assert world.finish(0, 0.9).outcome(0) is Outcome.SUCCEEDED


def test_storage_that_fails_for_one_trial_alone_is_charged_to_it():
    """It may be an object of its own that is damaged; the search goes on without it, also where the next one fails."""
    world = HandPlayed(a_search().settled()).look()
    for _ in range(3):
        world.wait(100).end(0, ExitCode.STORAGE, "s3://searches/s/trials/0/1-2-3.pt is corrupt")
    world.wait(100).end(1, ExitCode.STORAGE, "no space left on the cache's disk")
    assert (world.outcome(0), world.paused, world.running) == (Outcome.FAILED, [], [1])


def test_storage_that_fails_for_one_trial_after_the_other_pauses_the_search():
    """Where they run one at a time, the third trial shows that it is nobody's own matter."""
    world = HandPlayed(a_search().settled()).look()
    for index in (0, 0, 0, 1, 1, 1):
        assert world.paused == []
        world.wait(100).end(index, ExitCode.STORAGE, DENIED)
    world.wait(100).end(2, ExitCode.STORAGE, DENIED)
    assert (len(world.paused), world.running, world.outcome(2)) == (1, [], None)


def test_storage_that_fails_as_a_search_finishes_is_charged():
    """It cannot be paused any more."""
    search = a_search().trials(9).compared(1, 3)
    world = (
        HandPlayed(search.parallel(3).settled()).look().finish(0, 0.9).change(search.parallel(3).wanted("Finishing"))
    )
    for index in (1, 2, 3):
        world.end(index, ExitCode.STOPPED)
    compared = world.running
    for index in compared * 3:
        if index in world.running:
            world.wait(100).end(index, ExitCode.STORAGE, DENIED)
    assert (world.paused, world.ledger.search.reason) == ([], Reason.COMPARISON_FAILED)


def test_storage_that_fails_now_and_then_pauses_nothing():
    """Some trial gets further in between."""
    world = HandPlayed(a_search().parallel(2).settled()).look()
    for evaluation in range(1, 4):
        world.wait(100).end(0, ExitCode.STORAGE, DENIED, progressed=True)
        world.wait(100).end(1, ExitCode.STORAGE, DENIED, progressed=True)
        world.wait(100).look((0, evaluation, 0.5))
    assert (world.paused, world.running) == ([], [0, 1])


def test_an_attempt_that_starts_in_between_forgives_those_before_it():
    """What could start is no reason to pause."""
    world = waiting(a_search())
    for _ in range(2):
        world.wait(100).end(0, None, "ImageUnavailable: x", never_started="ImageUnavailable")
    world.observed[0, 3] = Running("process 3", world.now)
    world.look().wait(100).end(0, None)
    world.wait(100).end(0, None, "ImageUnavailable: x", never_started="ImageUnavailable")
    assert (world.paused, world.running) == ([], [0])


def test_a_trial_whose_attempts_never_get_anywhere_fails_in_the_end():
    """Disruptions are not charged, but what is recorded of a trial has to end somewhere."""
    world = HandPlayed(a_search().trials(1).settled()).look()
    for _ in range(MAX_ATTEMPTS):
        assert world.outcome(0) is None
        world.wait(1).end(0, None, "its node is gone")
    message = f"did not get to its end in {MAX_ATTEMPTS} attempts; the last: its node is gone"
    assert (world.outcome(0), world.ledger.trials[0].status.message) == (Outcome.FAILED, message)


def test_the_report_of_an_ended_search_is_its_last_trial():
    """The search's facts stand; a Report trial of the winner's graph is made and runs."""
    settled = replace(a_search().trials(2).settled(), reports=True)
    world = HandPlayed(settled).look().finish(0, 0.4).finish(1, 0.6)
    (report,) = world.of(Purpose.REPORT)
    assert (world.ledger.search.reason, world.running) == (Reason.COMPLETED, [2])
    assert report.spec.graph == world.ledger.trials[1].spec.graph
    world.end(2)
    assert (world.outcome(2), world.running) == (Outcome.SUCCEEDED, [])


def test_a_report_that_crashes_is_tried_three_times():
    """A search whose report cannot be built has ended all the same."""
    settled = replace(a_search().trials(1).settled(), reports=True)
    world = HandPlayed(settled).look().finish(0, 0.4)
    for _ in range(3):
        world.end(1, 1, "no space")
    assert (world.outcome(1), world.ledger.search.reason) == (Outcome.FAILED, Reason.COMPLETED)
    assert world.ledger.trials[1].status.message == "crashed 3 times: no space"


def test_nothing_is_reported_of_a_search_without_trials():
    """Cancelled before its first trial, a search just ends."""
    settled = replace(a_search().wanted("Cancelled").settled(), reports=True)
    assert HandPlayed(settled).look().ledger.trials == {}


def test_a_stopped_trial_whose_end_nobody_saw_was_not_lost():
    """Its Job was deleted on purpose; only its last words are missing."""
    world = HandPlayed(a_search().trials(2).parallel(2).settled()).look().look((0, 1, 0.9), (1, 1, 0.1))
    world.end(1, None, seconds=12.0)
    cost = summarise(world.settled, world.ledger, world.now).seconds
    assert (cost.stopped, cost.lost) == (12.0, 0.0)


def test_a_lowered_max_trials_stops_those_with_least_progress():
    """What has ended stays; the youngest goes first among equals, and is cancelled once it has saved."""
    search = a_search().trials(9).parallel(3)
    world = HandPlayed(search.settled()).look().finish(0, 0.9).look((1, 1, 0.95))
    assert world.running == [1, 2, 3]
    world.change(search.trials(2))
    assert world.stopped == [(2, "Unwanted"), (3, "Unwanted")]
    world.end(2, 143).end(3, 143)
    assert [world.outcome(index) for index in (0, 1, 2, 3)] == ["Succeeded", None, "Cancelled", "Cancelled"]
    assert world.finish(1, 0.95).ledger.search.reason == "Completed"


def test_a_max_trials_that_is_raised_again_draws_as_many_as_were_cancelled():
    """Others, with numbers of their own."""
    search = a_search().trials(3).parallel(3)
    world = HandPlayed(search.settled()).look().change(search.trials(1)).end(1, 143).end(2, 143)
    assert (world.running, world.outcome(1), world.outcome(2)) == ([0], "Cancelled", "Cancelled")
    assert world.change(search).running == [0, 3, 4]


def test_a_max_trials_that_is_raised_once_a_graph_is_chosen_changes_nothing():
    """What is drawn then could not win any more."""
    search = a_search().trials(2).parallel(2).compared(1, 1)
    world = HandPlayed(search.settled()).look().change(search.trials(1)).end(1, 143).finish(0, 0.9)
    [compared] = world.running
    assert world.change(search).running == [compared]


def test_a_lowered_max_trials_leaves_one_trial_that_may_reach_its_end():
    """As many have been stopped already; without it the search would have no result."""
    search = a_search().trials(9).parallel(2)
    world = HandPlayed(search.settled()).look().look((0, 1, 0.9), (1, 1, 0.1)).end(1, 143).look((2, 1, 0.2)).end(2, 143)
    assert world.running == [0, 3]
    world.change(search.trials(2)).end(3, 143)
    assert [world.outcome(index) for index in range(4)] == [None, "Stopped", "Stopped", "Cancelled"]
    assert world.finish(0, 0.9).ledger.search.reason is Reason.COMPLETED


def test_an_attempt_of_which_nobody_knows_how_long_it_ran_counts_from_its_start():
    """Its node has forgotten it; the budget has not."""
    world = HandPlayed(a_search().settled()).look().wait(3600).end(0, None, "its node lost the container", seconds=None)
    assert world.ledger.trials[0].status.attempts[0].seconds == pytest.approx(3600, abs=1)


def test_a_lowered_max_trials_cancels_those_that_wait_at_a_rung():
    """Promotion: the ones that got least far; the others are still promoted."""
    search = a_search().trials(3).parallel(3).halving(mode="Promotion").evaluations(2)
    world = HandPlayed(search.settled()).look()
    for index, score in enumerate((0.9, 0.1, 0.2)):
        world.look((index, 1, score)).end(index)
    assert [world.outcome(index) for index in range(3)] == [None, None, None]
    world.change(search.trials(1))
    assert [world.outcome(index) for index in range(3)] == [None, "Cancelled", "Cancelled"]
    assert world.running == [0]


def test_a_report_that_cannot_begin_is_given_up():
    """After the end of a search nothing is left to pause."""
    world = HandPlayed(replace(a_search().trials(1).settled(), reports=True)).look().finish(0, 0.9)
    world.end(1, None, "ImageUnavailable: no such image", never_started="ImageUnavailable")
    assert world.outcome(1) == "Failed"


def test_while_a_name_is_taken_what_is_there_goes_on():
    """No trial is made, and a stop that was decided is carried out."""
    world = HandPlayed(a_search().trials(3).parallel(2).settled()).look().look((0, 1, 0.9))
    world.reports = (Report(1, 1, 0.1),)
    recorded = plan(replace(world._snapshot(), may_create=False))
    assert [type(action) for action in recorded] == [Record]
    world._carry_out(recorded[0])
    assert [type(action) for action in plan(replace(world._snapshot(), may_create=False))] == [Stop]
