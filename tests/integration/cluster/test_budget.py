"""Stop means stop, and a budget that is changed while a search runs is followed up and down.

When pods were asked to stop is compared with what came before by times that the API server wrote; how many seconds
lay between is printed and not asserted, for the machine may be busy.
"""

from __future__ import annotations

import asyncio
import time

import pytest
from benchmarks.operator_costs.seeding import seed_finished
from e2e.cluster.processes import ClusterError
from e2e.cluster.simulated_node.faults import Fault
from tests.integration.cluster.installation import apply, assert_sound, wait_for
from tests.integration.cluster.stage import (
    a_stage,
    ends,
    quick,
    running_pods,
    server_time,
    wait_until_running,
    wait_until_terminating,
)

from graphsearch.api import AttemptEnd, Outcome
from graphsearch.cluster.client import SEARCHES, Client
from graphtrial.contract import Purpose

FINISHED = 1500
LIVE = 20
LONG = 1000
"""Evaluations that no test waits for."""


@pytest.fixture(scope="module")
def stage(kinds, tmp_path_factory):
    """Trainers save for a while, so that they can be seen to stop."""
    folder = tmp_path_factory.mktemp("budget")
    with a_stage(kinds, folder, gpus=64, pace=0.5, saving=3.0) as stage:
        yield stage


def endless():
    """Three trials at a time that never get to their end."""
    return quick().trials(9).parallel(3).evaluations(LONG)


def seconds_after(search, began, pods, what):
    """Print how long after ``began`` the pods were asked to stop, once they all were."""
    asked = wait_until_terminating(search, pods)
    latest = max(asked, default=began) - began
    print(f"{what}: {len(pods)} pods were asked to stop within {latest:+.0f} s (in whole seconds)")
    assert all(moment >= began - 1 for moment in asked)


@pytest.mark.parametrize("wanted", ["Cancelled", "Paused", "Finishing"])
def test_what_the_user_stops_stops(kinds, stage, wanted):
    """Every pod is asked to save and stop, none is left, and nothing new begins."""
    search = apply(kinds, stage.namespace, endless(), wanted.lower())
    pods = wait_until_running(search, 3)
    began = server_time(search)
    search.patch(desiredState=wanted)
    seconds_after(search, began, pods, wanted)
    wait_for(lambda: not open_attempts(search), search.describe)
    assert running_pods(search) == []
    searching = [trial for trial in search.trials if trial.spec.purpose is Purpose.SEARCH]
    assert {tuple(ends(trial)) for trial in searching} == {(AttemptEnd.SAVED,)}


def open_attempts(search):
    """Search trials with an attempt that has not ended."""
    found = [trial for trial in search.trials if trial.spec.purpose is Purpose.SEARCH]
    return [trial.name for trial in found if trial.attempt and trial.attempt.is_open]


def test_a_paused_search_can_be_cancelled(kinds, stage):
    """B23: it ends, and the trials that were saved are cancelled."""
    search = apply(kinds, stage.namespace, endless(), "paused-first")
    wait_until_running(search, 3)
    search.patch(desiredState="Paused")
    wait_for(lambda: not open_attempts(search), search.describe)
    search.patch(desiredState="Cancelled").wait()
    outcomes = {trial.status.outcome for trial in search.trials if trial.spec.purpose is Purpose.SEARCH}
    assert (outcomes, search.state) == ({Outcome.CANCELLED}, "Cancelled")


def test_a_search_past_its_deadline_stops(kinds, stage):
    """DeadlineExceeded, from the time that its status holds as its start."""
    search = apply(kinds, stage.namespace, endless(), "deadline")
    pods = wait_until_running(search, 3)
    started = search.object["status"]["facts"]["startedAt"]
    deadline = int(time.time() - started) + 5
    search.patch(budget={"deadlineSeconds": deadline})
    began = started + deadline
    seconds_after(search, began, pods, "deadline")
    assert search.wait().state == "DeadlineExceeded"


def test_a_paused_search_past_its_deadline_ends_with_its_report(kinds, stage):
    """Once it has ended there is nothing left to pause."""
    search = apply(kinds, stage.namespace, endless(), "overslept")
    wait_until_running(search, 3)
    search.patch(desiredState="Paused")
    wait_for(lambda: search.state == "Paused" and not running_pods(search), search.describe)
    search.patch(budget={"deadlineSeconds": 1})
    assert search.wait().state == "DeadlineExceeded"
    [report] = [trial for trial in search.trials if trial.spec.purpose is Purpose.REPORT]
    assert report.status.outcome is Outcome.SUCCEEDED


def test_a_pod_whose_job_was_taken_away_stops_with_its_search(kinds, stage):
    """``kubectl delete job --cascade=orphan`` leaves it behind."""
    search = apply(kinds, stage.namespace, endless(), "orphans")
    pods = wait_until_running(search, 3)
    search.kubectl("delete", "jobs", "--cascade=orphan", "-l", "graphsearch.io/search=orphans")
    began = server_time(search)
    search.patch(desiredState="Cancelled")
    seconds_after(search, began, pods, "cancelled, without Jobs")
    search.wait()
    assert_sound(search)
    assert {trial.status.outcome for trial in search.trials if trial.index < 3} == {Outcome.CANCELLED}


def test_a_search_past_its_gpu_hours_stops(kinds, stage):
    """BudgetSpent, from the moment at which its trials together have used them."""
    search = apply(kinds, stage.namespace, endless(), "hours")
    pods = wait_until_running(search, 3)
    starts = [trial.attempt.started_at for trial in search.trials if trial.attempt]
    began = time.time() + 5
    search.patch(budget={"maxGpuHours": sum(began - start for start in starts) / 3600})
    seconds_after(search, began, pods, "maxGpuHours")
    assert search.wait().state == "BudgetSpent"


def test_a_deleted_search_frees_its_devices_however_much_it_leaves_behind(kinds, stage):
    """1,500 finished trials wait for the garbage collector; the pods of 20 that run do not."""
    manifest = quick().trials(FINISHED + LIVE).parallel(LIVE).evaluations(LONG)
    search = apply(kinds, stage.namespace, manifest.wanted("Paused"), "large")
    seed_finished(kinds, search, FINISHED)
    # What was made behind its back is known to an operator that starts.
    stage.operator.kill()
    stage.operator.start().wait_until_ready()
    # Also in its metrics, although there is nothing to write about it.
    wait_for(lambda: 'search="large"' in stage.operator.metrics(), search.describe)
    search.patch(desiredState="Running")
    wait_for(lambda: len(running_pods(search)) == LIVE, search.describe)
    pods = running_pods(search)
    began = asyncio.run(deleted_at(kinds, search))
    wait_for(lambda: not search.get("graphsearches", "", "--field-selector=metadata.name=large")["items"])
    asked = wait_until_terminating(search, pods)
    latest = max(asked, default=began) - began
    left = len(search.get("graphtrials", "", "--field-selector=status.outcome!=")["items"])
    print(f"deleted with {FINISHED} finished trials: {LIVE} pods were asked to stop within {latest:+.0f} s")
    assert left > 0, "the garbage collector was first, and the test shows nothing"


async def deleted_at(control_plane, search):
    """Delete it; when that was, by the clock that it shares with the API server."""
    async with Client.connect(str(control_plane.kubeconfig)) as client:
        now = time.time()
        await client.delete(SEARCHES, search.namespace, search.name)
    return now


def test_lowered_parallelism_stops_the_trials_with_least_progress(kinds, stage):
    """B5: they save, wait for a slot and go on; raised again, more run; the one that got furthest is never touched."""
    stage.node.fail(Fault(pods="parallel-t0-*", holds_at=2))
    stage.node.fail(Fault(pods="parallel-t[123]-a1-*", holds_at=1, times=None))
    manifest = quick().trials(4).parallel(1).evaluations(4).halving()
    search = apply(kinds, stage.namespace, manifest, "parallel")
    wait_for(lambda: search.trials and search.trials[0].status.rungs, search.describe)
    search.patch(budget={"parallelTrials": 4})
    wait_until_running(search, 4)
    search.patch(budget={"parallelTrials": 1})
    wait_for(lambda: len(open_attempts(search)) == 1, search.describe)
    assert open_attempts(search) == ["parallel-t0"]
    search.patch(budget={"parallelTrials": 4})
    stage.node.let_go_on("parallel-t0-*")
    search.wait()
    assert_sound(search)
    furthest, *others = [trial for trial in search.trials if trial.spec.purpose is Purpose.SEARCH]
    assert (furthest.status.outcome, ends(furthest)) == (Outcome.SUCCEEDED, [AttemptEnd.DONE])
    assert {trial.status.outcome for trial in others} <= {Outcome.SUCCEEDED, Outcome.STOPPED}
    assert [(len(ends(trial)), ends(trial)[0]) for trial in others] == [(2, AttemptEnd.SAVED)] * 3


def test_max_trials_below_what_has_run_means_finish_now(kinds, stage):
    """B4: running trials beyond it are stopped, those that have ended stay, and the search is complete."""
    stage.node.fail(Fault(pods="lowered-t[234]-*", holds_at=1, times=None))
    search = apply(kinds, stage.namespace, quick().trials(9).parallel(3), "lowered")
    wait_for(lambda: done(search) == {0, 1} and len(open_attempts(search)) == 3, search.describe)
    search.patch(budget={"maxTrials": 2})
    search.wait()
    outcomes = {t.index: t.status.outcome for t in search.trials if t.spec.purpose is Purpose.SEARCH}
    assert outcomes == dict.fromkeys((0, 1), Outcome.SUCCEEDED) | dict.fromkeys((2, 3, 4), Outcome.CANCELLED)
    assert search.state == "Completed"
    assert_sound(search)


def test_raised_max_trials_draw_more(kinds, stage):
    """While it runs: the trials that were drawn stay as they are."""
    stage.node.fail(Fault(pods="raised-t1-*", holds_at=1))
    search = apply(kinds, stage.namespace, quick().parallel(1), "raised")
    wait_for(lambda: done(search) == {0} and len(open_attempts(search)) == 1, search.describe)
    wait_until_running(search, 1)
    search.patch(budget={"maxTrials": 4})
    stage.node.let_go_on("raised-t1-*")
    search.wait()
    assert_sound(search)
    assert done(search) == {0, 1, 2, 3}


def done(search):
    """Indexes of the Search trials that reached their end."""
    found = [trial for trial in search.trials if trial.spec.purpose is Purpose.SEARCH]
    return {trial.index for trial in found if trial.status.outcome is Outcome.SUCCEEDED}


def test_the_budget_of_an_ended_search_cannot_be_raised(kinds, stage):
    """B1, B3: a search ends once; the message says what to do instead, and nothing begins again."""
    search = apply(kinds, stage.namespace, quick(), "over").wait()
    with pytest.raises(ClusterError, match=r"spec.budget.*the search has ended.*apply a search of another name"):
        search.patch(budget={"maxTrials": 99})
    assert len(done(search)) == 2


def test_no_graph_is_drawn_once_the_goal_is_reached(kinds, stage):
    """Running trials go on to their ends, nothing begins after them, and no pod is left."""
    manifest = quick().trials(40).parallel(2).scored_by("TargetNode", goal=0.01)
    search = apply(kinds, stage.namespace, manifest, "goal").wait()
    searching = [trial for trial in search.trials if trial.spec.purpose is Purpose.SEARCH]
    assert len(searching) <= 4
    assert {trial.status.outcome for trial in searching} == {Outcome.SUCCEEDED}
    assert running_pods(search) == []
    assert search.state == "Completed"
