"""Kueue, built from its module and installed with its own chart: trials queue, are preempted and resume."""

from __future__ import annotations

import json

import pytest
from tests.integration.cluster.installation import assert_sound, wait_for

from e2e.cluster.binaries import binary, source
from e2e.cluster.images import program_image
from e2e.searches import SMALL, container_of, digits, judged, run_here, saved_and_running, start, waiting
from graphsearch.api import AttemptEnd, Outcome
from graphsearch.api.reasons import TrialReason

pytestmark = pytest.mark.own_machines

_NAMESPACE = "kueue-system"
_GROUP = {"apiVersion": "kueue.x-k8s.io/v1beta2"}
_ONE_TRAINER = {"cpu": "100m", "memory": "768Mi"}


def _objects(namespace):
    """A queue with room for one trainer, in which what is urgent displaces what is not."""
    flavor = {"name": "default", "resources": [{"name": n, "nominalQuota": q} for n, q in _ONE_TRAINER.items()]}
    return [
        _GROUP | {"kind": "ResourceFlavor", "metadata": {"name": "default"}},
        _GROUP
        | {
            "kind": "ClusterQueue",
            "metadata": {"name": "one"},
            "spec": {
                "namespaceSelector": {},
                "preemption": {"withinClusterQueue": "LowerPriority"},
                "resourceGroups": [{"coveredResources": [*_ONE_TRAINER], "flavors": [flavor]}],
            },
        },
        _GROUP
        | {
            "kind": "LocalQueue",
            "metadata": {"name": "trials", "namespace": namespace},
            "spec": {"clusterQueue": "one"},
        },
        _GROUP | {"kind": "WorkloadPriorityClass", "metadata": {"name": "urgent"}, "value": 1000},
    ]


@pytest.fixture(scope="module")
def kueue(cluster):
    """Installed, and gone afterwards: without it, its webhooks would refuse every pod."""
    image = program_image(cluster.machines.registry, "kueue", binary("kueue"), path="/manager")
    repository, _, tag = image.rpartition(":")
    manager = "controllerManager.manager"
    values = {
        f"{manager}.image.repository": repository,
        f"{manager}.image.tag": tag,
        f"{manager}.image.pullPolicy": "IfNotPresent",
        f"{manager}.resources.requests.cpu": "100m",
    }
    flags = [f"--set={name}={value}" for name, value in values.items()]
    place = ("--namespace", _NAMESPACE)
    chart = source("programs", "sigs.k8s.io/kueue") / "charts/kueue"
    cluster.helm("install", "kueue", chart, *place, "--create-namespace", "--wait", "--timeout=5m", *flags)
    yield cluster
    cluster.helm("uninstall", "kueue", *place, "--wait")


@pytest.fixture
def queue(kueue, namespace):
    """In the test's namespace. The webhooks refuse for a few seconds more once Kueue is ready."""
    objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": _objects(namespace)})
    refusals = []

    def applied():
        refusals.append(kueue.kubectl("apply", "-f", "-", input=objects, check=False))
        return "rror" not in refusals[-1]

    wait_for(applied, lambda: refusals[-1])
    yield "trials"
    kueue.kubectl("delete", "jobs,graphsearches", "--all", "-n", namespace)
    kueue.kubectl("delete", "-f", "-", input=objects)


def _urgent_job(cluster, namespace):
    """What displaces a trainer, until it is deleted."""
    container = {
        "name": "c",
        "image": cluster.machines.node.pause_image,
        "resources": {"requests": _ONE_TRAINER},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "restartPolicy": "Never",
        "containers": [container],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    labels = {"kueue.x-k8s.io/queue-name": "trials", "kueue.x-k8s.io/priority-class": "urgent"}
    metadata = {"name": "urgent", "namespace": namespace, "labels": labels}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": {"spec": pod}}}


def test_trials_queue_and_a_preempted_one_resumes(kueue, namespace, queue, tmp_path):
    """The second trial waits and says why; an urgent Job displaces the first, which goes on later, uncharged.

    B18: nor does it matter that the operator is killed while both wait.
    """
    two = {"budget": {"maxTrials": 2}, "trainer": {"queueName": queue}}
    manifest = digits(kueue, "s", SMALL, two)
    search = start(kueue, namespace, manifest)
    wait_for(lambda: any("quota" in message for message in queued(search)), search.describe)
    wait_for(lambda: saved_and_running(kueue, search), search.describe)
    kueue.kubectl("apply", "-f", "-", input=json.dumps(_urgent_job(kueue, namespace)))
    wait_for(lambda: AttemptEnd.LOST in ends(search), search.describe)
    wait_for(lambda: len(queued(search)) == 2, search.describe)
    [operator] = kueue.operator_pods().values()
    kueue.machines.node.kill(container_of(operator))
    kueue.kubectl("delete", "job", "urgent", "-n", namespace)
    search.wait(seconds=900)
    assert_sound(search)
    assert [trial.status.outcome for trial in search.trials[:2]] == [Outcome.SUCCEEDED] * 2
    assert sorted(ends(search)) == sorted([AttemptEnd.LOST, *[AttemptEnd.DONE] * len(search.trials)])
    assert judged(search) == judged(run_here(manifest, tmp_path))


def queued(search):
    """What Kueue says of trials that wait for it."""
    return [message for reason, message in waiting(search) if reason == TrialReason.QUEUED]


def ends(search):
    """How attempts ended that have."""
    return [attempt.end for trial in search.trials for attempt in trial.status.attempts if attempt.end]
