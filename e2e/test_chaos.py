"""Real processes are killed and servers stopped; a trial's scores are those of its undisturbed run on this machine."""

from __future__ import annotations

import json
import random
import time
from datetime import datetime

import pytest
from tests.integration.cluster.installation import assert_sound, seed_of_chaos, wait_for

from e2e.installation import RELEASE, SYSTEM
from e2e.searches import SMALL, digits, judged, objects, run_here, start
from graphsearch.api import AttemptEnd, Outcome
from graphtrial.contract import ExitCode

_LONG = {"training": {"length": {"epochs": 300}}, "budget": {"maxTrials": 2}}
"""Trials that do not end by themselves while a test looks."""


@pytest.fixture(scope="module")
def undisturbed(cluster, tmp_path_factory):
    """What becomes of the six trials of SMALL where nothing happens to them."""
    return judged(run_here(digits(cluster, "undisturbed", SMALL), tmp_path_factory.mktemp("undisturbed")))


def running_pods(search):
    """Trainers whose container runs: (name, container ID)."""
    return [
        (pod["metadata"]["name"], state["containerID"].removeprefix("containerd://"))
        for pod in search.get("pods")["items"]
        for state in pod["status"].get("containerStatuses", ())
        if "running" in state["state"]
    ]


def has_scores(search, count=1):
    """Whether so many scores are recorded."""
    return sum(len(trial.status.rungs) for trial in search.trials) >= count


def reached(search, epoch):
    """Whether a running trial has reported this evaluation or a later one."""
    return any(trial.status.outcome is None and trial.status.rungs for trial in search.trials) and epoch


@pytest.mark.own_machines
def test_the_operator_is_killed_and_its_pod_deleted(cluster, namespace, undisturbed):
    """SIGKILL in its container and forced deletion by turns, at random moments: no trainer notices."""
    chance = random.Random(seed_of_chaos())
    search = start(cluster, namespace, digits(cluster, "s", SMALL))
    selector = f"--selector=app.kubernetes.io/instance={RELEASE}"
    for kill in (True, False, True, False):
        time.sleep(chance.uniform(0, 8))
        cluster.kubectl("rollout", "status", "-n", SYSTEM, f"deployment/{RELEASE}", "--timeout=120s")
        (pod,) = json.loads(cluster.kubectl("get", "pods", "-n", SYSTEM, selector, "-o", "json"))["items"]
        if kill:
            identity = pod["status"]["containerStatuses"][0]["containerID"]
            cluster.machines.node.kill(identity.removeprefix("containerd://"))
        else:
            cluster.kubectl("delete", "pod", "-n", SYSTEM, pod["metadata"]["name"], "--grace-period=0", "--force")
    search.wait(seconds=900)
    assert_sound(search)
    assert judged(search) == undisturbed
    assert [len(trial.status.attempts) for trial in search.trials] == [1] * len(search.trials)


@pytest.mark.own_machines
def test_trainers_are_killed_and_resume_from_s3(cluster, namespace, undisturbed):
    """SIGKILL after a checkpoint: the next attempt goes on from it, and every score is the undisturbed one."""
    search = start(cluster, namespace, digits(cluster, "s", SMALL))
    killed = set()
    while len(killed) < 3:
        wait_for(lambda: saved_and_running(cluster, search) - killed, search.describe)
        (name, identity) = min(saved_and_running(cluster, search) - killed)
        cluster.machines.node.kill(identity)
        killed.add((name, identity))
    search.wait(seconds=900)
    assert_sound(search)
    assert judged(search) == undisturbed
    crashed = [a for trial in search.trials for a in trial.status.attempts if a.end is AttemptEnd.CRASHED]
    assert [attempt.exit_code for attempt in crashed] == [137] * len(crashed)
    assert crashed
    assert any(attempt.progressed for attempt in crashed)


def saved_and_running(cluster, search):
    """Trainers that run and have left a checkpoint: (name, container ID)."""
    saved = objects(cluster, root_of(cluster, search)).keys()
    return {(name, i) for name, i in running_pods(search) if f"trials/{index_of(name)}/latest.json" in saved}


def index_of(pod):
    """Of the trial, from its pod's name such as ``s-t3-a1-x7k2p``."""
    return int(pod.split("-t")[1].split("-")[0])


def root_of(cluster, search):
    """Where the search's objects lie."""
    uid = search.object["metadata"]["uid"]
    return f"s3://{cluster.bucket}/{search.namespace}/{search.name}-{uid[:8]}"


@pytest.mark.own_machines
def test_s3_is_gone_for_a_while_and_nothing_is_lost(cluster, namespace, undisturbed):
    """Training goes on while the server is dead, and what it saved meanwhile arrives afterwards."""
    search = start(cluster, namespace, digits(cluster, "s", SMALL))
    wait_for(lambda: saved_and_running(cluster, search), search.describe)
    cluster.machines.store.stop()
    try:
        before = len([trial for trial in search.trials if trial.status.rungs])
        wait_for(lambda: len([trial for trial in search.trials if trial.status.rungs]) >= before, search.describe)
        time.sleep(20)
    finally:
        cluster.machines.store.start()
    search.wait(seconds=900)
    assert_sound(search)
    assert judged(search) == undisturbed
    assert {attempt.end for trial in search.trials for attempt in trial.status.attempts} == {AttemptEnd.DONE}


def test_a_drained_node_gives_its_trials_back(cluster, namespace, undisturbed):
    """Evicted trainers save; the trials wait, saying why, and go on when a node takes pods again. Nothing is charged."""
    search = start(cluster, namespace, digits(cluster, "s", SMALL))
    wait_for(lambda: saved_and_running(cluster, search), search.describe)
    (node,) = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    name = node["metadata"]["name"]
    trainers = f"--pod-selector=graphsearch.io/search={search.name}"
    try:
        drain = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s")
        cluster.kubectl("drain", name, trainers, *drain)
        wait_for(lambda: "Unschedulable" in reasons(search), search.describe)
    finally:
        cluster.kubectl("uncordon", name)
    search.wait(seconds=900)
    assert_sound(search)
    assert judged(search) == undisturbed
    ends = [attempt.end for trial in search.trials for attempt in trial.status.attempts]
    assert set(ends) <= {AttemptEnd.DONE, AttemptEnd.LOST}
    assert AttemptEnd.LOST in ends


def reasons(search):
    """Why trials without an outcome are as they are."""
    found = search.get("graphtrials")["items"]
    conditions = [condition for trial in found for condition in trial.get("status", {}).get("conditions", ())]
    return {condition["reason"] for condition in conditions if condition["type"] == "Progressing"}


def test_stopping_is_at_once_and_saves(cluster, namespace):
    """Cancelled: both pods are asked to end within five seconds, and leave a checkpoint and exit code 143."""
    search = start(cluster, namespace, digits(cluster, "s", SMALL, _LONG))
    wait_for(lambda: len(saved_and_running(cluster, search)) == 2, search.describe)
    cancelled_at = time.time()
    search.patch(desiredState="Cancelled")
    wait_for(lambda: len(asked_to_end(search)) == 2 or not running_pods(search), search.describe)
    seconds = max(moment - cancelled_at for moment in asked_to_end(search)) if asked_to_end(search) else 0.0
    print(f"terminating {seconds:.1f} s after the search was cancelled")
    search.wait()
    assert {trial.status.outcome for trial in search.trials} == {Outcome.CANCELLED}
    attempts = [attempt for trial in search.trials for attempt in trial.status.attempts]
    assert [(attempt.end, attempt.exit_code) for attempt in attempts] == [(AttemptEnd.SAVED, ExitCode.STOPPED)] * 2
    assert seconds <= 5


def asked_to_end(search):
    """When each pod that is going was asked to, in seconds since the epoch."""
    pods = [pod["metadata"] for pod in search.get("pods")["items"]]
    return [
        datetime.fromisoformat(pod["deletionTimestamp"]).timestamp() - pod["deletionGracePeriodSeconds"]
        for pod in pods
        if "deletionTimestamp" in pod
    ]
