"""What a failure makes of its trial and its search; they run side by side, each with a fault of its own.

The cases B7, B9, B11, B12, B19 and B21 are those that users of other tuning services on Kubernetes meet.
"""

from __future__ import annotations

import json

import pytest
from e2e.cluster.simulated_node.faults import Fault
from tests.integration.cluster.installation import apply, assert_sound, scores, wait_for
from tests.integration.cluster.stage import a_stage, ends, events, quick, trial_status, wait_until_running

from graphsearch.api import AttemptEnd, Outcome

FAULTS = {
    "crash": Fault(pods="crash-t0-*", exit_code=1, times=None),
    "memory": Fault(pods="memory-t0-*", out_of_memory=True, times=None),
    "data": Fault(pods="data-t0-*", exit_code=11, times=None),
    "nan": Fault(pods="nan-t0-*", nan_at=2, times=None),
    "silent": Fault(pods="silent-t0-*", exit_code=0, times=None),
    "once": Fault(pods="once-t0-*", exit_code=137, at_evaluation=2, times=2),
    "strict": Fault(pods="strict-t0-*", exit_code=1, times=None),
    "sound": Fault(pods="nobody"),
}
"""By the name of the search that meets it."""


@pytest.fixture(scope="module")
def stage(kinds, tmp_path_factory):
    """A quick node."""
    with a_stage(kinds, tmp_path_factory.mktemp("behaviours"), pace=0.3) as stage:
        yield stage


@pytest.fixture(scope="module")
def ended(kinds, stage):
    """One search for each fault, ended."""
    searches = {}
    for name, fault in FAULTS.items():
        stage.node.fail(fault)
        search = quick().budget(maxFailedTrials=0) if name == "strict" else quick()
        searches[name] = apply(kinds, stage.namespace, search, name)
    for search in searches.values():
        search.wait()
        assert_sound(search)
    return searches


def first(search):
    """(outcome, message, ends of its attempts) of the trial that met the fault."""
    trial = search.trials[0]
    return trial.status.outcome, trial.status.message, ends(trial)


def test_a_trial_that_crashes_on_every_attempt_has_failed(ended):
    """B9: the third crash is the last, the message names the exit code, and an Event warns."""
    message = "crashed 3 times: ended by exit code 1; see its log"
    assert first(ended["crash"]) == (Outcome.FAILED, message, [AttemptEnd.CRASHED] * 3)
    assert ("Warning", "Failed", message) in events(ended["crash"], "crash-t0")
    assert ended["crash"].trials[1].status.outcome is Outcome.SUCCEEDED


def test_out_of_memory_is_named_and_retried_no_more_than_a_crash(ended):
    """B19: more memory on another node may help, so it is tried three times, as every crash is."""
    outcome, message, found = first(ended["memory"])
    assert (outcome, found) == (Outcome.FAILED, [AttemptEnd.CRASHED] * 3)
    assert message.startswith("crashed 3 times: OOMKilled: it needed more than its memory limit")


def test_bad_data_end_the_search_at_once(ended):
    """Exit code 11 is not retried: every other trial would meet the same."""
    outcome, _, found = first(ended["data"])
    assert (outcome, found) == (Outcome.FAILED, [AttemptEnd.REFUSED])
    assert (ended["data"].condition("Succeeded"), ended["data"].state) == (("False", "BadData"), "BadData")


def test_a_score_that_is_not_finite_ends_its_trial(ended):
    """B12: NaN is no score; the trial has diverged and is not retried, and the search goes on."""
    outcome, message, found = first(ended["nan"])
    assert (outcome, found) == (Outcome.DIVERGED, [AttemptEnd.DIVERGED])
    assert "not finite at evaluation 2" in message or message == "score nan at evaluation 2"
    assert ended["nan"].state == "Completed"


def test_a_trainer_that_ends_well_without_its_scores_fails_after_three_tries(ended):
    """B11: a reason of its own, and an end."""
    message = "crashed 3 times: its last evaluation was never reported"
    assert first(ended["silent"]) == (Outcome.FAILED, message, [AttemptEnd.DONE] * 3)


def test_a_crash_costs_no_more_than_the_way_from_the_last_checkpoint(ended):
    """The next attempt resumes, and the score is the one that the trial would have had."""
    outcome, _, found = first(ended["once"])
    assert (outcome, found) == (Outcome.SUCCEEDED, [AttemptEnd.CRASHED] * 2 + [AttemptEnd.DONE])
    assert scores(ended["once"]) == scores(ended["sound"])


def test_with_no_failure_allowed_the_first_one_ends_the_search(ended):
    """B7: maxFailedTrials: 0."""
    search = ended["strict"]
    assert (search.condition("Succeeded"), search.state) == (
        ("False", "TooManyFailedTrials"),
        "TooManyFailedTrials",
    )
    assert search.object["status"]["facts"]["message"].startswith("1 trials failed (maxFailedTrials: 0); the last: ")


def test_jobs_of_failed_attempts_are_kept_for_a_look(ended):
    """Those of recorded successes are gone."""
    search = ended["crash"]

    def jobs():
        found = search.get("jobs", "", "-l", "graphsearch.io/search=crash")["items"]
        return {job["metadata"]["name"] for job in found}

    wait_for(lambda: jobs() == {f"crash-t0-a{number}" for number in (1, 2, 3)}, search.describe)


def test_what_attempts_took_outlives_their_pods(kinds, stage, ended):
    """Times and device seconds are recorded facts; deleted pods and Jobs take nothing with them."""
    search = ended["once"]
    before = [trial.status.attempts for trial in search.trials]
    kinds.kubectl("delete", "-n", stage.namespace, "jobs,pods", "-l", "graphsearch.io/search=once")
    assert [trial.status.attempts for trial in search.trials] == before
    attempts = [attempt for trial in search.trials[:2] for attempt in trial.status.attempts]
    assert all(attempt.started_at and attempt.ended_at for attempt in attempts)
    cost = search.object["status"]["gpuSeconds"]
    counted = sum(attempt.seconds for trial in search.trials for attempt in trial.status.attempts)
    assert cost["useful"] + cost["stopped"] + cost["lost"] == pytest.approx(counted)


@pytest.mark.parametrize("kind", ["job", "pod"])
def test_what_somebody_deletes_by_hand_is_not_charged(kinds, stage, ended, kind):
    """B21: the next attempt resumes from the checkpoint, and the score is the undisturbed one."""
    stage.node.fail(Fault(pods=f"by-hand-{kind}-t0-a1-*", holds_at=2))
    manifest = quick().budget(maxFailedTrials=0).evaluations(3)
    search = apply(kinds, stage.namespace, manifest, f"by-hand-{kind}")
    wait_for(lambda: evaluations(stage, f"by-hand-{kind}-t0-a1-") >= 1, search.describe)
    of_trial = f"graphsearch.io/trial=by-hand-{kind}-t0"
    kinds.kubectl("delete", kind, "-n", stage.namespace, "-l", of_trial, "--wait=false")
    search.wait()
    assert_sound(search)
    trial = search.trials[0]
    assert (trial.status.outcome, ends(trial)) == (Outcome.SUCCEEDED, [AttemptEnd.LOST, AttemptEnd.DONE])
    assert "somebody" in trial.status.attempts[0].message
    known = dict(scores(ended["sound"])[0])
    assert {e: score for e, score in scores(search)[0] if e in known}.items() <= known.items()


def evaluations(stage, pods):
    """How far the first pod of these names is."""
    return max((pod["evaluations"] for pod in stage.node.pods() if pod["name"].startswith(pods)), default=0)


def test_a_trial_deleted_while_it_runs_is_made_again(kinds, stage):
    """B6: of the same name, specification and facts; it resumes from its checkpoint."""
    stage.node.fail(Fault(pods="again-t0-a1-*", holds_at=3))
    search = apply(kinds, stage.namespace, quick().trials(1).evaluations(3).halving(), "again")
    wait_until_running(search, 1)
    wait_for(lambda: search.trials[0].status.rungs, search.describe)
    before, uid = search.trials[0], search.get("graphtrial", "again-t0")["metadata"]["uid"]
    search.kubectl("delete", "graphtrial", "again-t0")
    search.wait()
    assert_sound(search)
    after = search.trials[0]
    assert search.get("graphtrial", "again-t0")["metadata"]["uid"] != uid
    assert (after.name, after.spec) == (before.name, before.spec)
    assert after.status.rungs[: len(before.status.rungs)] == before.status.rungs
    assert after.status.attempts[0].identity == before.status.attempts[0].identity
    assert ends(after)[-1] is AttemptEnd.DONE


def test_a_copy_of_a_trial_is_not_that_trial(kinds, stage):
    """Made by hand with its owner and index: what is recorded stays, and what runs goes on."""
    stage.node.fail(Fault(pods="twin-t0-a1-*", holds_at=3))
    search = apply(kinds, stage.namespace, quick().trials(1).evaluations(3).halving(), "twin")
    wait_until_running(search, 1)
    wait_for(lambda: search.trials[0].status.rungs, search.describe)
    before, copied = search.trials[0], search.get("graphtrial", "twin-t0")
    head = {"name": "another", **{key: copied["metadata"][key] for key in ("labels", "namespace", "ownerReferences")}}
    fresh = {key: copied[key] for key in ("apiVersion", "kind", "spec")}
    search.kubectl("create", "-f", "-", input=json.dumps(fresh | {"metadata": head}))
    stage.node.let_go_on("twin-t0-*")
    search.wait()
    after = {trial.name: trial for trial in search.trials}
    assert after["another"].status.attempts == ()
    assert after["twin-t0"].status.rungs[: len(before.status.rungs)] == before.status.rungs
    assert ends(after["twin-t0"]) == [AttemptEnd.DONE]
    search.kubectl("delete", "graphtrial", "another")
    assert_sound(search)


def test_another_image_under_the_same_tag_is_told(kinds, stage):
    """The first pod's imageId is recorded and kept; the next attempt, which runs another one, has an Event."""
    # An image is known of pods that run.
    stage.node.fail(Fault(pods="pushed-t0-a1-*", exit_code=1, at_evaluation=2, holds_at=2))
    stage.node.fail(Fault(pods="pushed-t0-a2-*", image_id="simulated://anew", holds_at=3))
    search = apply(kinds, stage.namespace, quick().trials(1).evaluations(3), "pushed")
    wait_for(lambda: trial_status(search, 0).get("imageId"), search.describe)
    stage.node.let_go_on("pushed-t0-a1-*")
    said = "attempt 2 runs image simulated://anew, the trial's first pod ran simulated://trainer:1"
    announced = ("Warning", "ImageChanged", f"{said}; name images by digest")
    wait_for(lambda: announced in events(search, "pushed-t0"), search.describe)
    stage.node.let_go_on("pushed-t0-*")
    search.wait()
    assert_sound(search)
    assert trial_status(search, 0)["imageId"] == "simulated://trainer:1"
    found = search.get("events", "", "--field-selector", "involvedObject.name=pushed-t0,reason=ImageChanged")["items"]
    assert [event["count"] for event in found] == [1]


def test_how_far_a_trial_is_shows_without_a_rung(kinds, stage):
    """Where no rung stops trials nothing is recorded of one before its end; its status moves all the same."""
    stage.node.fail(Fault(pods="far-t0-*", holds_at=2))
    search = apply(kinds, stage.namespace, quick().trials(1).evaluations(3).never_stopping(), "far")
    wait_for(lambda: trial_status(search, 0).get("evaluation") == 1, search.describe)
    shown = trial_status(search, 0)
    assert (shown["epoch"], "rung" in shown, "outcome" in shown) == (1, False, False)
    stage.node.let_go_on("far-t0-*")
    search.wait()
    assert_sound(search)


def test_a_finished_trial_that_is_deleted_changes_nothing_that_runs(kinds, stage):
    """B6: it is not made again, and no other trial is touched."""
    stage.node.fail(Fault(pods="clean-t1-*", holds_at=2))
    search = apply(kinds, stage.namespace, quick().trials(3), "clean")
    wait_for(lambda: search.trials and search.trials[0].is_ended, search.describe)
    search.kubectl("delete", "graphtrial", "clean-t0")
    stage.node.let_go_on("clean-t1-*")
    search.wait()
    left = {trial.index: (trial.status.outcome, ends(trial)) for trial in search.trials if trial.index < 3}
    assert left == {index: (Outcome.SUCCEEDED, [AttemptEnd.DONE]) for index in (1, 2)}
    assert search.object["status"]["trials"]["succeeded"] == 3


def test_no_more_than_twenty_failed_jobs_are_kept(kinds, stage):
    """The newest of a search; the others go with their pods."""
    stage.node.fail(Fault(pods="many-*", exit_code=1, times=None))
    search = apply(kinds, stage.namespace, quick().trials(8).parallel(8).budget(maxFailedTrials=8), "many")
    search.wait()
    jobs = ("jobs", "", "-l", "graphsearch.io/search=many")
    wait_for(lambda: len(search.get(*jobs)["items"]) <= 20, search.describe)
    assert sum(len(trial.status.attempts) for trial in search.trials) >= 24
    assert len(json.dumps(search.object)) < 16_384
