"""Why a trial waits is shown, and attempts that cannot start end and pause the search."""

from __future__ import annotations

import json
import time
from datetime import datetime

import pytest
from e2e.cluster.simulated_node.faults import Fault
from tests.integration.cluster.installation import apply, assert_sound, wait_for
from tests.integration.cluster.stage import a_stage, ends, events, progressing, quick, running_pods, wait_until_running

from graphsearch.api import AttemptEnd, Outcome, TrialReason
from graphtrial.contract import ExitCode


@pytest.fixture(scope="module")
def stage(kinds, tmp_path_factory):
    """A quick node."""
    with a_stage(kinds, tmp_path_factory.mktemp("waiting"), pace=0.2) as stage:
        yield stage


def one(**trainer):
    """One trial that asks for a GPU, with further fields of its trainer."""
    resources = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
    return quick().trials(1).having(trainer=resources | trainer)


def shows(search, reason, *words):
    """Whether its first trial shows that it waits for this reason, with these words; how soon is printed."""
    shown, message = progressing(search, 0)
    if shown != reason or not all(word in message for word in words):
        return False
    created = min(job["metadata"]["creationTimestamp"] for job in search.get("jobs")["items"])
    seconds = time.time() - datetime.fromisoformat(created).timestamp()
    print(f"{reason}: shown at most {seconds:.1f} s after the Job was made (which is known in whole seconds)")
    return True


def test_an_image_that_cannot_be_pulled_shows(kinds, stage):
    """ImageUnavailable, with the image's name."""
    stage.node.fail(Fault(pods="image-*", image_pull_fails=True, times=None))
    search = apply(kinds, stage.namespace, one(image="trainer:nowhere"), "image")
    wait_for(lambda: shows(search, TrialReason.IMAGE_UNAVAILABLE, "trainer:nowhere"), search.describe)
    search.kubectl("delete", "graphsearches", search.name)


def test_a_pod_that_fits_on_no_node_shows(kinds, stage):
    """Unschedulable, with the scheduler's own words."""
    search = apply(kinds, stage.namespace, one(nodeSelector={"disk": "golden"}), "selector")
    wait_for(lambda: shows(search, TrialReason.UNSCHEDULABLE, "didn't match Pod's node affinity"), search.describe)
    search.kubectl("delete", "graphsearches", search.name)


def apply_quota(kinds, stage, name, kind, amount):
    """A ResourceQuota; quotas are counted by the controller manager, which has seen this one."""
    head = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name, "namespace": stage.namespace}}
    kinds.kubectl("apply", "-f", "-", input=json.dumps(head | {"spec": {"hard": {kind: amount}}}))
    used = f"{{.status.used['{kind.replace('.', chr(92) + '.')}']}}"
    wait_for(lambda: kinds.kubectl("get", "-n", stage.namespace, "resourcequota", name, f"-o=jsonpath={used}"))


def test_an_exceeded_quota_shows_and_waiting_for_it_has_no_end(kinds, stage):
    """QuotaExceeded; startDeadlineSeconds does not count, and the trial runs once the quota has room."""
    apply_quota(kinds, stage, "gpus", "requests.nvidia.com/gpu", 4)
    resources = {"limits": {"nvidia.com/gpu": 5}}
    search = apply(kinds, stage.namespace, one(resources=resources, startDeadlineSeconds=1), "quota")
    wait_for(lambda: shows(search, TrialReason.QUOTA_EXCEEDED, "exceeded quota: gpus"), search.describe)
    kinds.kubectl("delete", "-n", stage.namespace, "resourcequota", "gpus")
    search.wait()
    [trial] = [trial for trial in search.trials if trial.index == 0]
    assert (trial.status.outcome, ends(trial)) == (Outcome.SUCCEEDED, [AttemptEnd.DONE])


def test_jobs_beyond_a_quota_follow_one_another(kinds, stage):
    """The API server lets one Job be made at a time: the others wait, say so, and have their turn."""
    stage.node.fail(Fault(pods="turns-*", holds_at=1))
    apply_quota(kinds, stage, "jobs", "count/jobs.batch", 1)
    search = apply(kinds, stage.namespace, quick().trials(3).parallel(2), "turns")

    def refused():
        return [name for name in range(2) if progressing(search, name)[0] == TrialReason.QUOTA_EXCEEDED]

    wait_for(lambda: len(refused()) == 1, search.describe)
    assert "exceeded quota: jobs" in progressing(search, refused()[0])[1]
    wait_until_running(search, 1)
    stage.node.let_go_on("turns-*")
    search.wait()
    kinds.kubectl("delete", "-n", stage.namespace, "resourcequota", "jobs")
    assert_sound(search)
    assert {(trial.status.outcome, *ends(trial)) for trial in search.trials} == {(Outcome.SUCCEEDED, AttemptEnd.DONE)}


def test_trials_beyond_a_quota_wait_and_hold_nothing_up(kinds, stage):
    """No further GraphTrial may be made: those that are there run, the search and an Event say why, and it goes on."""
    there = len(kinds.kubectl("get", "-n", stage.namespace, "graphtrials", "-o", "name").split())
    apply_quota(kinds, stage, "trials", "count/graphtrials.graphsearch.io", there + 1)
    search = apply(kinds, stage.namespace, quick().trials(2), "many")
    wait_for(lambda: [t.status.outcome for t in search.trials] == [Outcome.SUCCEEDED], search.describe)

    def said():
        """With the search's Progressing condition."""
        found = {each["type"]: each for each in search.object["status"]["conditions"]}
        return found["Progressing"]["status"], found["Progressing"].get("message", "")

    wait_for(lambda: "exceeded quota: trials" in said()[1], search.describe)
    assert said()[0] == "True"
    assert [message for kind, reason, message in events(search) if (kind, reason) == ("Warning", "TrialRefused")] == [
        said()[1]
    ]
    kinds.kubectl("delete", "-n", stage.namespace, "resourcequota", "trials")
    search.wait()
    assert_sound(search)
    assert {trial.status.outcome for trial in search.trials} == {Outcome.SUCCEEDED}
    assert said()[1] == ""


def test_a_job_that_the_api_server_refuses_shows_while_it_waits(kinds, stage):
    """PodRefused with its words, as long as startDeadlineSeconds lasts."""
    trainer = {"nodeSelector": {"disk": "fast and large"}, "startDeadlineSeconds": 600}
    search = apply(kinds, stage.namespace, quick().trials(1).having(trainer=trainer), "tried")
    wait_for(lambda: progressing(search, 0)[0] == TrialReason.POD_REFUSED, search.describe)
    assert "nodeSelector" in progressing(search, 0)[1]
    kinds.kubectl("delete", "-n", stage.namespace, "graphsearch/tried")


def test_a_job_that_the_api_server_refuses_pauses_the_search(kinds, stage):
    """After startDeadlineSeconds its attempt ends as PodRefused with its words, and three alike pause."""
    trainer = {"nodeSelector": {"disk": "fast and large"}, "startDeadlineSeconds": 2}
    refused = quick().trials(3).parallel(3).having(trainer=trainer)
    search = apply(kinds, stage.namespace, refused, "refused")
    wait_for(lambda: search.state == "Paused", search.describe)
    attempts = [attempt for trial in search.trials for attempt in trial.status.attempts]
    said = [attempt.message for attempt in attempts if attempt.end is AttemptEnd.NOT_STARTED]
    assert len(said) >= 3
    assert all(message.startswith(f"{TrialReason.POD_REFUSED}: ") for message in said)
    conditions = {each["type"]: each for each in search.object["status"]["conditions"]}
    assert "nodeSelector" in conditions["Progressing"]["message"]
    assert search.get("jobs", "", "-l", "graphsearch.io/search=refused")["items"] == []
    search.kubectl("delete", "graphsearches", search.name)


def test_a_missing_secret_shows(kinds, stage):
    """ContainerRefused, with the kubelet's message."""
    stage.node.fail(Fault(pods="secret-*", refused='secret "s3" not found', times=None))
    search = apply(
        kinds,
        stage.namespace,
        one().having(checkpoint={"uri": "s3://searches", "credentialsSecretRef": {"name": "s3"}}),
        "secret",
    )
    wait_for(lambda: shows(search, TrialReason.CONTAINER_REFUSED, 'secret "s3" not found'), search.describe)
    search.kubectl("delete", "graphsearches", search.name)


def test_a_volume_that_cannot_be_mounted_shows(kinds, stage):
    """ContainerRefused, with the words of the Event, which is all that a kubelet says of it."""
    stage.node.fail(Fault(pods="volume-*", never_starts=True, times=None))
    trainer = {
        "volumes": [{"name": "labels", "configMap": {"name": "labels"}}],
        "volumeMounts": [{"name": "labels", "mountPath": "/labels"}],
    }
    search = apply(kinds, stage.namespace, one(**trainer), "volume")
    pods = ("pods", "", "-l", "graphsearch.io/search=volume")
    wait_for(lambda: search.get(*pods)["items"], search.describe)
    [pod] = search.get(*pods)["items"]
    said = 'MountVolume.SetUp failed for volume "labels" : configmap "labels" not found'
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "mount", "namespace": stage.namespace},
        "involvedObject": {"kind": "Pod", "namespace": stage.namespace}
        | {key: pod["metadata"][key] for key in ("name", "uid")},
        "type": "Warning",
        "reason": "FailedMount",
        "message": said,
        "lastTimestamp": pod["metadata"]["creationTimestamp"],
    }
    kinds.kubectl("apply", "-f", "-", input=json.dumps(event))
    wait_for(lambda: shows(search, TrialReason.CONTAINER_REFUSED, said), search.describe)
    search.kubectl("delete", "graphsearches", search.name)


def why_paused(search):
    """Wait until it is, with nothing left to run: the message in its conditions, and those of its Events."""
    wait_for(lambda: search.state == "Paused" and not running_pods(search), search.describe)
    wait_for(lambda: all(not t.attempt or not t.attempt.is_open for t in search.trials), search.describe)
    conditions = {each["type"]: each for each in search.object["status"]["conditions"]}
    announced = [event[2] for event in events(search) if event[:2] == ("Warning", "Paused")]
    return conditions["Progressing"]["message"], announced


def assert_goes_on(stage, search):
    """Mended and resumed, every trial reaches its end."""
    stage.node.heal()
    search.patch(desiredState="Running").wait()
    assert_sound(search)
    assert {trial.status.outcome for trial in search.trials} == {Outcome.SUCCEEDED}


def test_three_attempts_that_cannot_start_pause_the_search_until_somebody_has_mended_it(kinds, stage):
    """Attempts end as NotStarted with their reason; the search says why it is paused, and resumes when told to."""
    stage.node.fail(Fault(pods="late-*", image_pull_fails=True, times=None))
    trials = quick().trials(3).parallel(3)
    late = {"resources": {"limits": {"nvidia.com/gpu": 1}}, "startDeadlineSeconds": 2}
    search = apply(kinds, stage.namespace, trials.having(trainer=late), "late")
    shown, [announced] = why_paused(search)
    assert "ImageUnavailable" in shown
    assert "3 attempts in a row could not start" in announced
    known = {end for trial in search.trials for end in ends(trial)}
    assert known <= {AttemptEnd.NOT_STARTED, AttemptEnd.LOST, AttemptEnd.SAVED}
    assert sum(ends(trial).count(AttemptEnd.NOT_STARTED) for trial in search.trials) >= 3
    assert_goes_on(stage, search)


def test_storage_that_fails_for_several_trials_pauses_the_search_until_somebody_has_mended_it(kinds, stage):
    """No trial is failed for it; all of them reach their end once it is mended."""
    stage.node.fail(Fault(pods="store-*", exit_code=ExitCode.STORAGE, times=None))
    search = apply(kinds, stage.namespace, quick().trials(3).parallel(3), "store")
    shown, [announced] = why_paused(search)
    assert shown.startswith("storage failed; the last: ")
    assert "the storage of 3 trials in a row failed" in announced
    assert {trial.status.outcome for trial in search.trials} == {None}
    assert_goes_on(stage, search)
