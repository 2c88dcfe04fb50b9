"""What searches and trials show: conditions that kubectl waits for, one word for lists, writes only on change."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.searches import HandPlayed, a_search

from graphsearch.api import (
    BestStatus,
    ConditionStatus,
    ConditionType,
    GraphSearchStatus,
    GraphTrialObjectStatus,
    MetricsReason,
    Outcome,
    Reason,
    TrialReason,
    timestamp,
)
from graphsearch.api.wire import search_status_to_wire, trial_object_status, trial_status_to_wire
from graphsearch.cluster.pods import LivePod, Seen
from graphsearch.cluster.showing import changed, search_status, trial_status
from graphsearch.search.actions import Running
from graphsearch.search.settled import settle
from graphtrial.contract import ExitCode, Purpose

NOW = 1_800_000_000.0
RUNS = (ConditionStatus.TRUE, MetricsReason.PROMETHEUS, "")
POD = LivePod("s-t0-a1-x", "pod-uid", "10.0.0.7:8000", "node-1", "sha256:abc", NOW)
IS_RUNNING = Seen(Running("job-uid", NOW), pod=POD)


def on_a_cluster(search):
    """A hand-played world whose last trial is the report."""
    return HandPlayed(settle(search.obj(), reports=True))


def show(world, before=None, **changes):
    """The search's status after what was shown before."""
    given = {"metrics": RUNS, "remarks": {}, "root": "s3://b", "generation": 3, "now": NOW} | changes
    return search_status(world.settled, world.ledger, before or GraphSearchStatus(), **given)


def conditions(status):
    """(status, reason) by type."""
    return {str(found.type): (str(found.status), found.reason) for found in status.conditions}


def show_trial(trial, seen=None, before=None, **changes):
    """A trial's status after what was shown before."""
    given = {"evaluation": 0, "epochs": 2, "generation": 1, "now": NOW} | changes
    return trial_status(trial, seen, before or GraphTrialObjectStatus(), **given)


def played(search, trials=10):
    """A search whose trials all reach their end; trial i scores i / 10."""
    world = on_a_cluster(search)
    for index in range(trials):
        world.look()
        world.finish(index, index / 10)
    return world


def test_a_search_that_runs_shows_every_condition():
    """Succeeded is Unknown, so that who waits for it waits."""
    status = show(HandPlayed(a_search().settled()).look())
    assert conditions(status) == {
        "Accepted": ("True", "Accepted"),
        "Progressing": ("True", "Searching"),
        "MetricsAvailable": ("True", "Prometheus"),
        "Succeeded": ("Unknown", "Searching"),
    }
    assert (status.state, status.trials.created, status.trials.running, status.observed_generation) == (
        "Searching",
        1,
        1,
        3,
    )


def test_before_anything_ran_nobody_knows_whether_scores_can_be_read():
    """Which is no failure."""
    status = show(HandPlayed(a_search().settled()), metrics=None)
    assert conditions(status)["MetricsAvailable"] == ("Unknown", "NothingRuns")


def test_a_search_has_succeeded_only_when_its_report_is_built():
    """Until then it is Reporting, and who waits for Succeeded waits on."""
    world = played(a_search())
    status = show(world.look())
    assert world.ledger.search.reason is Reason.COMPLETED
    assert (status.state, conditions(status)["Succeeded"]) == ("Reporting", ("Unknown", "Reporting"))
    [report] = world.of(Purpose.REPORT)
    world.end(report.index)
    status = show(world)
    assert conditions(status) == {
        "Accepted": ("True", "Accepted"),
        "Progressing": ("False", "Completed"),
        "MetricsAvailable": ("Unknown", "NothingRuns"),
        "Succeeded": ("True", "Completed"),
    }
    assert (status.best.trial, status.best.checkpoint) == ("s-t9", "s3://b/trials/9")
    assert status.report == "s3://b/report/index.html"
    assert (status.trials.done, status.trials.succeeded) == (10, 10)


def test_a_search_whose_report_cannot_be_built_has_succeeded_and_says_so():
    """Its result is recorded, and the report can be built by hand."""
    world = played(a_search()).look()
    [report] = world.of(Purpose.REPORT)
    for _ in range(3):
        world.end(report.index, 1, "no plotting library")
    status = show(world)
    assert world.outcome(report.index) is Outcome.FAILED
    assert conditions(status)["Succeeded"] == ("True", "Completed")
    assert status.conditions[-1].message == "the report was not built; graphsearch report builds it"


@pytest.mark.parametrize(
    ("finished", "search", "reason", "succeeded"),
    [
        pytest.param(1, a_search().wanted("Cancelled"), "Cancelled", "True", id="cancelled with a winner"),
        pytest.param(0, a_search().wanted("Cancelled"), "Cancelled", "False", id="cancelled before anything ended"),
        pytest.param(1, a_search().budget(deadlineSeconds=1), "DeadlineExceeded", "True", id="out of time"),
    ],
)
def test_a_search_that_ends_on_the_way_has_succeeded_if_it_has_a_winner(finished, search, reason, succeeded):
    """As the exit code of ``graphsearch run`` says it."""
    world = HandPlayed(a_search().settled()).look()
    if finished:
        world.finish(0, 0.5)
    world.now += 10
    world.change(search)
    world.end(finished, 143)
    assert conditions(show(world))["Succeeded"] == (succeeded, reason)


def test_a_search_in_which_nothing_ended_well_has_not_succeeded():
    """Too many failed trials leave nothing to choose from."""
    world = HandPlayed(a_search().budget(maxFailedTrials=0).settled()).look()
    world.end(0, 10, "no such model")
    status = show(world)
    assert conditions(status)["Succeeded"] == ("False", "BadSpec")
    assert status.conditions[-1].message == "s-t0: no such model"


def test_a_paused_search_does_not_progress_and_says_why_it_was_paused():
    """What could not start, and what to do."""
    world = HandPlayed(a_search().settled())
    world.waits = True
    world.look()
    for _ in range(3):
        world.wait(100).end(0, None, "ImageUnavailable: no such image", never_started="ImageUnavailable")
    progressing = show(world).conditions[1]
    assert (progressing.status, progressing.reason) == (ConditionStatus.FALSE, Reason.PAUSED)
    assert progressing.message == (
        "attempts could not start; the last: ImageUnavailable: no such image; mend it and set desiredState to Running"
    )


def test_a_search_that_was_paused_for_its_storage_says_so():
    """With the last trainer's own words."""
    world = HandPlayed(a_search().parallel(3).settled()).look()
    for index in range(3):
        world.wait(100).end(index, ExitCode.STORAGE, "s3://searches/s: access denied")
    assert show(world).conditions[1].message == (
        "storage failed; the last: s3://searches/s: access denied; mend it and set desiredState to Running"
    )


def test_a_search_paused_by_its_user_needs_no_message():
    """They know why; that attempts could not start long ago is no reason any more."""
    world = HandPlayed(a_search().settled())
    world.waits = True
    world.look()
    for _ in range(3):
        world.wait(100).end(0, None, "ImageUnavailable: no such image", never_started="ImageUnavailable")
    world.waits = False
    world.wait(100).change(a_search())
    assert world.running == [0]
    world.wait(100).change(a_search().wanted("Paused"))
    assert show(world).conditions[1].message == ""


def test_the_comparison_is_shown_once_it_is_over():
    """With means, paired differences and verdicts, and computed once."""
    world = on_a_cluster(
        a_search().trials(1).compared(repeats=2, baselines=["Independent", "MutualLearning"]).with_nodes(2)
    )
    world.look().finish(0, 0.9)
    while world.ledger.search.ended_at is None:
        assert show(world).comparison == ()
        [index] = world.running
        trial = world.ledger.trials[index]
        found = "Found" in trial.spec.contenders
        world.finish(index, (0.8 if found else 0.7) + (trial.spec.repeat or 0) / (100 if found else 50))
    status = show(world)
    assert status.comparison[0].names == ("Found",)
    assert [row.repeats for row in status.comparison] == [2] * len(status.comparison)
    assert {row.verdict for row in status.comparison} == {"", "better"}
    known = status.model_copy(update={"comparison": status.comparison[:1]})
    assert show(world, known).comparison == known.comparison


def test_the_network_that_all_were_distilled_into_is_shown_once_it_is_there():
    """With its score on the test images and where its objects lie; not those of ways that were only tried."""
    choice = {"student": "resnet8", "lessons": ["EnsembleProbability"]}
    world = on_a_cluster(a_search().trials(1).having(compression=choice)).look()
    for index, score in enumerate((0.5, 0.5, 0.6, 0.5)):
        world.finish(index, score)
        assert show(world).compressed is None
    world.finish(4, 0.7)
    assert show(world).compressed == BestStatus(trial="s-t4", score=0.7, checkpoint="s3://b/trials/4")


def test_a_status_is_written_only_on_change():
    """Device time that runs up on each running trial is a change every half minute; nothing else waits."""
    world = HandPlayed(a_search().parallel(2).settled()).look()
    first = show(world)
    assert not changed(first, show(world, first))
    assert not changed(first, show(world, first, now=NOW + 29))
    assert changed(first, show(world, first, now=NOW + 31))
    assert changed(first, show(world.look((0, 1, 0.5)), first))
    assert changed(first, show(world, first, generation=4))


def test_a_condition_keeps_the_time_of_its_last_flip():
    """So that an unchanged status is written once."""
    world = HandPlayed(a_search().settled()).look()
    first = show(world)
    later = show(world, first, now=NOW + 60, metrics=(ConditionStatus.FALSE, MetricsReason.NO_ANSWER, "why"))
    times = {found.type: found.last_transition_time for found in later.conditions}
    assert times[ConditionType.PROGRESSING] == timestamp(NOW)
    assert times[ConditionType.METRICS_AVAILABLE] == timestamp(NOW + 60)


def test_a_long_message_is_cut():
    """An object's size is bounded."""
    long = (ConditionStatus.FALSE, MetricsReason.NO_ANSWER, "x" * 5000)
    status = show(HandPlayed(a_search().settled()).look(), metrics=long)
    assert max(len(found["message"]) for found in search_status_to_wire(status)["conditions"]) == 1024


@pytest.mark.parametrize(
    ("seen", "reason", "message"),
    [
        pytest.param(None, "Starting", "attempt 1", id="nothing seen yet"),
        pytest.param(Seen(Running("job-uid", None)), "Starting", "attempt 1", id="made"),
        pytest.param(IS_RUNNING, "Running", "attempt 1", id="runs"),
        pytest.param(
            Seen(Running("job-uid", None), (TrialReason.UNSCHEDULABLE, "0/3 nodes")),
            "Unschedulable",
            "0/3 nodes",
            id="waits",
        ),
    ],
)
def test_a_trial_under_way_says_what_it_does_or_waits_for(seen, reason, message):
    """Progressing, with Succeeded open."""
    world = HandPlayed(a_search().settled())
    world.waits = True
    status = show_trial(world.look().ledger.trials[0], seen)
    assert conditions(status) == {
        "Accepted": ("True", "Accepted"),
        "Progressing": ("True", reason),
        "Succeeded": ("Unknown", reason),
    }
    assert (status.state, status.conditions[1].message) == (reason, message)


def test_a_trial_that_a_rung_stopped_is_stopping_until_it_has_saved():
    """Whatever its pod does meanwhile."""
    world = HandPlayed(a_search().parallel(2).settled()).look()
    world.look((0, 1, 0.9)).look((1, 1, 0.1))
    status = show_trial(world.ledger.trials[1], IS_RUNNING)
    assert (status.state, status.evaluation) == ("Stopping", 1)


@pytest.mark.parametrize(
    ("code", "words", "outcome", "succeeded"),
    [
        pytest.param(0, "", "Succeeded", "True", id="reached its end"),
        pytest.param(10, "no such model", "Failed", "False", id="refused"),
        pytest.param(12, "loss is nan", "Diverged", "False", id="diverged"),
    ],
)
def test_an_outcome_is_the_reason_of_every_open_condition(code, words, outcome, succeeded):
    """``kubectl wait --for=condition=Succeeded`` returns for the one, and its False for the others."""
    world = HandPlayed(a_search().settled()).look()
    if code == 0:
        world.look((0, 8, 0.5))
    world.end(0, code, words, seconds=90.0)
    status = show_trial(world.ledger.trials[0])
    assert conditions(status) == {
        "Accepted": ("True", "Accepted"),
        "Progressing": ("False", outcome),
        "Succeeded": (succeeded, outcome),
    }
    assert (status.conditions[-1].message, status.gpu_seconds) == (words, 90.0)


def test_an_idle_trial_waits_for_a_slot_for_its_teacher_or_for_promotion():
    """Nothing is wrong with it."""
    world = HandPlayed(a_search().halving(mode="Promotion").settled()).look()
    trial = world.ledger.trials[0]
    world.look((0, 1, 0.5)).end(0)
    waiting = show_trial(world.ledger.trials[0])
    fresh = trial.model_copy(update={"status": trial.status.model_copy(update={"attempts": ()})})
    pupil = fresh.model_copy(update={"spec": fresh.spec.model_copy(update={"teachers": {"2": "key"}})})
    assert (waiting.state, waiting.conditions[1].message) == (
        "WaitingForSlot",
        "saved at evaluation 1, may be promoted",
    )
    assert show_trial(fresh).state == "WaitingForSlot"
    assert show_trial(pupil).state == "WaitingForTeacher"


def test_what_a_trial_shows_never_overwrites_its_facts():
    """It is written beside them: on the wire it holds none."""
    world = HandPlayed(a_search().settled()).look().finish(0, 0.5, seconds=3.0)
    status = show_trial(world.ledger.trials[0], evaluation=8)
    wire = status.to_json()
    assert set(wire).isdisjoint(trial_status_to_wire(world.ledger.trials[0].status))
    assert (wire["evaluation"], wire["epoch"], wire["rung"], wire["attempt"]) == (8, 16, 8, 1)
    obj = {"metadata": {"name": "s-t0"}, "status": wire}
    assert trial_object_status(obj) == status


def test_the_image_of_the_first_pod_is_kept():
    """After that pod is gone, and when a later one runs another."""
    world = HandPlayed(a_search().settled()).look()
    running = show_trial(world.ledger.trials[0], IS_RUNNING, evaluation=5)
    later = show_trial(world.ledger.trials[0], None, running)
    assert (later.image_id, later.evaluation) == ("sha256:abc", 5)
    assert IS_RUNNING.pod is not None
    other = replace(IS_RUNNING, pod=replace(IS_RUNNING.pod, image_id="sha256:def"))
    assert show_trial(world.ledger.trials[0], other, later).image_id == "sha256:abc"
