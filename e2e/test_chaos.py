"""Real processes are killed and servers stopped; a trial's scores are those of its undisturbed run on this machine."""

from __future__ import annotations

import contextlib
import json
import random
import time
from datetime import datetime

import pytest
from tests.integration.cluster.installation import assert_sound, seed_of_chaos, wait_for

from e2e.cluster.processes import ClusterError
from e2e.installation import RELEASE, SYSTEM
from e2e.searches import (
    ENDLESS,
    LONGER,
    SMALL,
    container_of,
    digits,
    evaluations,
    judged,
    resumed_at,
    run_here,
    running_pods,
    saved_and_running,
    start,
    trained,
    waiting,
)
from graphsearch.api import AttemptEnd, Outcome
from graphsearch.api.reasons import TrialReason
from graphsearch.controller.lease import RENEW_WITHIN_SECONDS
from graphtrial.contract import ExitCode

AT_ONCE = ("--grace-period=0", "--force")


@pytest.fixture(scope="module")
def undisturbed(cluster, tmp_path_factory):
    """What becomes of the trials of SMALL where nothing happens to them, and of two more."""
    return judged(run_here(digits(cluster, "undisturbed", SMALL, LONGER), tmp_path_factory.mktemp("undisturbed")))


@pytest.mark.own_machines
def test_the_operator_is_killed_deleted_and_cut_off(cluster, namespace, undisturbed):
    """SIGKILL, forced deletion, connections that fall silent, at random moments: no trainer notices."""
    chance = random.Random(seed_of_chaos())
    search, node = start(cluster, namespace, digits(cluster, "s", SMALL, LONGER)), cluster.machines.node
    disturbances = (
        lambda pod: node.kill(container_of(pod)),
        lambda pod: cluster.kubectl("delete", "pod", "-n", SYSTEM, pod["metadata"]["name"], *AT_ONCE),
        lambda pod: node.silence(container_of(pod), 443),
    )
    for disturb in (*chance.sample(disturbances[:2] * 2, 4), disturbances[2]):
        time.sleep(chance.uniform(0, 8))
        cluster.kubectl("rollout", "status", "-n", SYSTEM, f"deployment/{RELEASE}", "--timeout=120s")

        def disturbed(disturb=disturb):
            """Whether its one pod had a container: what the last disturbance did may not show yet."""
            with contextlib.suppress(ClusterError, ValueError, KeyError):
                (pod,) = cluster.operator_pods().values()
                disturb(pod)
                return True
            return False

        wait_for(disturbed)
    search.wait(seconds=900)
    assert_sound(search)
    assert judged(search) == undisturbed
    assert [len(trial.status.attempts) for trial in search.trials] == [1] * len(search.trials)


@pytest.mark.own_machines
def test_trainers_are_killed_and_resume_from_s3(cluster, namespace, undisturbed):
    """SIGKILL after a checkpoint: the next attempt goes on from it, and every score is the undisturbed one."""
    search = start(cluster, namespace, digits(cluster, "s", SMALL))
    killed = set()

    def kill_another():
        """A trainer of a trial that none was killed of yet."""
        for index, container in saved_and_running(cluster, search).items():
            if index not in killed:
                cluster.machines.node.kill(container)
                killed.add(index)
        return len(killed) >= 3

    wait_for(kill_another, search.describe)
    search.wait(seconds=900)
    assert_sound(search)
    assert judged(search) == undisturbed[:4]
    crashed = [a for trial in search.trials for a in trial.status.attempts if a.end is AttemptEnd.CRASHED]
    assert [attempt.exit_code for attempt in crashed] == [137] * len(crashed)
    assert crashed
    again = [trial.index for trial in trained(search) if len(trial.status.attempts) > 1]
    assert all(resumed_at(cluster, search, index) > 0 for index in again)


@pytest.mark.own_machines
def test_s3_is_gone_for_a_while_and_nothing_is_lost(cluster, namespace, undisturbed):
    """Training goes on while the server is dead, and what it saved meanwhile arrives afterwards."""
    search = start(cluster, namespace, digits(cluster, "s", SMALL))
    wait_for(lambda: saved_and_running(cluster, search), search.describe)
    cluster.machines.store.stop()
    try:
        known = evaluations(cluster, search)
        wait_for(lambda: evaluations(cluster, search) >= known + 3, search.describe)
    finally:
        cluster.machines.store.start()
    search.wait(seconds=900)
    assert_sound(search)
    assert judged(search) == undisturbed[:4]
    assert {attempt.end for trial in search.trials for attempt in trial.status.attempts} == {AttemptEnd.DONE}


@pytest.mark.own_machines
def test_a_search_is_deleted_while_s3_is_gone(cluster, namespace):
    """It is gone at once, its trainers are asked to end, and they have ended once they could save."""
    search = start(cluster, namespace, digits(cluster, "s", SMALL, ENDLESS))
    wait_for(lambda: len(saved_and_running(cluster, search)) == 2, search.describe)
    cluster.machines.store.stop()
    try:
        search.kubectl("delete", "graphsearches", "s", "--timeout=30s")
        wait_for(lambda: len(asked_to_end(search)) == len(search.get("pods")["items"]))
    finally:
        cluster.machines.store.start()
    wait_for(lambda: search.get("pods,jobs,graphtrials")["items"] == [])


@pytest.mark.own_machines
def test_the_api_server_and_prometheus_are_gone_for_a_while(cluster, namespace, undisturbed):
    """Trainers train on through both; the operator, whose Lease is lost meanwhile, takes the search up again."""
    search = start(cluster, namespace, digits(cluster, "s", SMALL))
    wait_for(lambda: saved_and_running(cluster, search), search.describe)
    cluster.machines.prometheus.stop()
    try:
        wait_for(lambda: search.condition("MetricsAvailable") == ("True", "Direct"), search.describe)
        cluster.machines.plane.stop_api_server()
        time.sleep(2 * RENEW_WITHIN_SECONDS)
        cluster.machines.plane.start_api_server()
    finally:
        cluster.machines.prometheus.start()
    search.wait(seconds=900)
    assert_sound(search)
    assert judged(search) == undisturbed[:4]
    assert {attempt.end for trial in search.trials for attempt in trial.status.attempts} == {AttemptEnd.DONE}


@pytest.mark.own_machines
def test_two_operators_at_once_are_one(cluster, namespace, undisturbed):
    """One works, the other stands by and takes over when the first is killed with its pod; nothing is done twice."""
    deployment = ("-n", SYSTEM, f"deployment/{RELEASE}")
    cluster.kubectl("scale", *deployment, "--replicas=2")
    try:
        cluster.kubectl("wait", *deployment, "--for=jsonpath={.status.replicas}=2", "--timeout=60s")
        search = start(cluster, namespace, digits(cluster, "s", SMALL))
        for _ in range(2):
            done = len(search.trials)
            wait_for(lambda done=done: len(search.trials) > done, search.describe)
            before = holder(cluster)
            cluster.kubectl(
                "delete", "pod", "-n", SYSTEM, cluster.operator_pods()[before]["metadata"]["name"], *AT_ONCE
            )
            wait_for(lambda before=before: holder(cluster) not in ("", before), search.describe)
        search.wait(seconds=900)
    finally:
        cluster.kubectl("scale", *deployment, "--replicas=1")
        cluster.kubectl("rollout", "status", *deployment, "--timeout=120s")
    assert_sound(search)
    assert judged(search) == undisturbed[:4]
    assert [len(trial.status.attempts) for trial in search.trials] == [1] * len(search.trials)


def holder(cluster):
    """The uid of the operator's pod that works; empty while none does."""
    leases = json.loads(cluster.kubectl("get", "leases", "-n", SYSTEM, "-o", "json"))["items"]
    (lease,) = [lease for lease in leases if lease["metadata"]["name"].startswith(RELEASE)]
    return lease["spec"].get("holderIdentity", "")


def test_a_drained_node_gives_its_trials_back(cluster, namespace, undisturbed):
    """Evicted trainers save; their trials wait, say why, and go on when a node takes pods again; nothing is charged."""
    search = start(cluster, namespace, digits(cluster, "s", SMALL))
    wait_for(lambda: saved_and_running(cluster, search), search.describe)
    (node,) = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    name = node["metadata"]["name"]
    trainers = f"--pod-selector=graphsearch.io/search={search.name}"
    try:
        drain = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s")
        cluster.kubectl("drain", name, trainers, *drain)
        wait_for(lambda: TrialReason.UNSCHEDULABLE in [reason for reason, _ in waiting(search)], search.describe)
    finally:
        cluster.kubectl("uncordon", name)
    search.wait(seconds=900)
    assert_sound(search)
    assert judged(search) == undisturbed[:4]
    ends = [attempt.end for trial in search.trials for attempt in trial.status.attempts]
    assert set(ends) <= {AttemptEnd.DONE, AttemptEnd.LOST}
    assert AttemptEnd.LOST in ends


@pytest.mark.own_machines
def test_a_node_is_gone_with_everything_on_it(cluster, namespace, undisturbed):
    """Power off, Node object deleted: once there is a node again trials go on from their checkpoints, uncharged."""
    node = cluster.machines.node
    search = start(cluster, namespace, digits(cluster, "s", SMALL))
    wait_for(lambda: len(saved_and_running(cluster, search)) == 2, search.describe)
    cut_off = saved_and_running(cluster, search)
    node.lose_power()
    try:
        cluster.kubectl("delete", "node", node.name)
        wait_for(lambda: not running_pods(search), search.describe)
    finally:
        node.start()
    search.wait(seconds=900)
    assert_sound(search)
    assert judged(search) == undisturbed[:4]
    ends = {trial.index: [attempt.end for attempt in trial.status.attempts] for trial in trained(search)}
    again = [AttemptEnd.LOST, AttemptEnd.DONE]
    assert ends == {index: again if index in cut_off else [AttemptEnd.DONE] for index in ends}
    assert all(resumed_at(cluster, search, index) > 0 for index in cut_off)


def test_stopping_is_at_once_and_saves(cluster, namespace):
    """Cancelled: both pods, whose logs a user can read, are asked to end and save (143); how soon is printed."""
    search = start(cluster, namespace, digits(cluster, "s", SMALL, ENDLESS))
    wait_for(lambda: len(saved_and_running(cluster, search)) == 2, search.describe)
    assert "evaluation 1 of 100000" in cluster.graphsearch("logs", "s", "-n", namespace)
    cancelled_at = time.time()
    search.patch(desiredState="Cancelled")
    asked = []

    def stopping():
        asked[:] = asked_to_end(search)
        return len(asked) == 2 or not running_pods(search)

    wait_for(stopping, search.describe)
    seconds = max((moment - cancelled_at for moment in asked), default=0.0)
    print(f"terminating {seconds:.1f} s after the search was cancelled")
    search.wait()
    assert {trial.status.outcome for trial in trained(search)} == {Outcome.CANCELLED}
    attempts = [attempt for trial in trained(search) for attempt in trial.status.attempts]
    assert [(attempt.end, attempt.exit_code) for attempt in attempts] == [(AttemptEnd.SAVED, ExitCode.STOPPED)] * 2


def asked_to_end(search):
    """When each pod that is going was asked to, in seconds since the epoch."""
    pods = [pod["metadata"] for pod in search.get("pods")["items"]]
    return [
        datetime.fromisoformat(pod["deletionTimestamp"]).timestamp() - pod["deletionGracePeriodSeconds"]
        for pod in pods
        if "deletionTimestamp" in pod
    ]
