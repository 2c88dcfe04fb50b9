"""What a Job and its pods say of an attempt, object by object as they were seen on a real cluster."""

from __future__ import annotations

import pytest
from tests.unit.cluster.objects import EPOCH, SUSPENDED, WAITS, a_job, a_pod, an_event, at, look

from graphsearch.api import TrialReason
from graphsearch.cluster.pods import LivePod, Seen
from graphsearch.search.actions import Ended, Running


def test_an_attempt_without_job_and_pod_says_nothing():
    """Only the caller knows whether it was ever made."""
    assert look(None) == Seen()


def test_a_pod_that_runs_is_read_at_its_address():
    """Its start counts, and where its scores are exposed."""
    live = LivePod("s-t3-a1-x", "pod-uid", "10.0.0.7:8000", "node-1", "sha256:abc", EPOCH + 20)
    assert look(a_job(), a_pod().scheduled().running()) == Seen(Running("job-uid", EPOCH + 20), pod=live)


def test_an_address_of_version_six_is_written_in_brackets():
    """As Prometheus writes it."""
    seen = look(a_job(), a_pod().scheduled().running(ip="fd00::7"))
    assert seen.pod.address == "[fd00::7]:8000"


def test_a_pod_whose_job_is_gone_runs_without_identity():
    """It saves and stops; whose it is, the caller knows."""
    assert look(None, a_pod().scheduled().running()).observation == Running("", EPOCH + 20)


@pytest.mark.parametrize(
    ("job", "its_pods", "events", "reason", "message"),
    [
        pytest.param(a_job(), [], [], "Starting", "its Job is made and has no pod yet", id="just made"),
        pytest.param(SUSPENDED, [], [], "Queued", "waits for queue research", id="suspended by Kueue"),
        pytest.param(
            SUSPENDED,
            [],
            [an_event("Pending", "insufficient unused quota for nvidia.com/gpu in flavor default, 1 more needed")],
            "Queued",
            "insufficient unused quota for nvidia.com/gpu in flavor default, 1 more needed",
            id="Kueue says why",
        ),
        pytest.param(a_job().suspended(), [], [], "Queued", "its Job is suspended", id="suspended by somebody"),
        pytest.param(
            a_job(),
            [],
            [
                an_event("FailedCreate", 'pods "a" is forbidden: violates PodSecurity "restricted"', 1),
                an_event("FailedCreate", 'pods "b" is forbidden: exceeded quota: gpus, requested: 1, used: 4', 2),
            ],
            "QuotaExceeded",
            'pods "b" is forbidden: exceeded quota: gpus, requested: 1, used: 4',
            id="quota, which is the latest word",
        ),
        pytest.param(
            a_job(),
            [],
            [an_event("FailedCreate", 'pods "s-" is forbidden: error looking up service account a/b: not found')],
            "PodRefused",
            'pods "s-" is forbidden: error looking up service account a/b: not found',
            id="refused for another reason",
        ),
        pytest.param(
            a_job(),
            [a_pod().condition("PodScheduled", "Unschedulable", "0/3 nodes: Insufficient nvidia.com/gpu", holds=False)],
            [],
            "Unschedulable",
            "0/3 nodes: Insufficient nvidia.com/gpu",
            id="no node",
        ),
        pytest.param(
            a_job(),
            [a_pod().condition("PodScheduled", "SchedulingGated", "1 gate", holds=False)],
            [],
            "Queued",
            "1 gate",
            id="gated",
        ),
        pytest.param(
            a_job(),
            [
                a_pod().condition(
                    "PodScheduled", "Unschedulable", '0/1 nodes: persistentvolumeclaim "data" not found', holds=False
                )
            ],
            [],
            "ContainerRefused",
            '0/1 nodes: persistentvolumeclaim "data" not found',
            id="missing claim",
        ),
        pytest.param(
            a_job(),
            [a_pod().scheduled().waiting("ImagePullBackOff", 'Back-off pulling image "trainer:2"')],
            [],
            "ImageUnavailable",
            'Back-off pulling image "trainer:2"',
            id="image",
        ),
        pytest.param(
            a_job(),
            [a_pod().scheduled().waiting("InvalidImageName")],
            [],
            "ImageUnavailable",
            "InvalidImageName: trainer:1",
            id="image without a message",
        ),
        pytest.param(
            a_job(),
            [a_pod().scheduled().waiting("CreateContainerConfigError", 'secret "s3" not found')],
            [],
            "ContainerRefused",
            'secret "s3" not found',
            id="secret",
        ),
        pytest.param(
            a_job(),
            [a_pod().scheduled().waiting("ContainerCreating")],
            [an_event("FailedMount", 'MountVolume.SetUp failed for volume "c": configmap "c" not found')],
            "ContainerRefused",
            'MountVolume.SetUp failed for volume "c": configmap "c" not found',
            id="volume",
        ),
        pytest.param(
            a_job(),
            [a_pod().scheduled().waiting("ContainerCreating")],
            [],
            "Starting",
            "its container is being made",
            id="container is being made",
        ),
        pytest.param(a_job(), [a_pod()], [], "Starting", "its pod is made", id="pod is made"),
        pytest.param(a_job().deleted(50), [], [], "Stopping", "its Job is being deleted", id="Job goes"),
    ],
)
def test_an_attempt_waits_and_says_for_what(job, its_pods, events, reason, message):
    """It counts as made, no device time runs up, and nothing can be read."""
    assert look(job, *its_pods, events=events) == Seen(WAITS, (TrialReason(reason), message))


@pytest.mark.parametrize(
    "its_pods",
    [
        pytest.param([], id="suspended"),
        pytest.param([a_pod().condition("PodScheduled", "Unschedulable", "0/3 nodes", holds=False)], id="no node"),
    ],
)
def test_a_queue_and_a_full_cluster_may_take_as_long_as_they_like(its_pods):
    """Nothing is wrong with the attempt."""
    job = a_job() if its_pods else SUSPENDED
    assert look(job, *its_pods, now=1e6, deadline=10).observation == WAITS


def test_a_quota_may_take_as_long_as_it_likes():
    """Others will free what they use."""
    events = [an_event("FailedCreate", "exceeded quota: gpus")]
    assert look(a_job(), events=events, now=1e6, deadline=10).observation == WAITS


@pytest.mark.parametrize(
    ("its_pods", "events", "reason", "message"),
    [
        pytest.param(
            [a_pod().scheduled().waiting("ErrImagePull", "not found")],
            [],
            "ImageUnavailable",
            "ImageUnavailable: not found",
            id="image",
        ),
        pytest.param(
            [a_pod().condition("PodScheduled", "x", 'persistentvolumeclaim "data" not found', holds=False)],
            [],
            "ContainerRefused",
            'ContainerRefused: persistentvolumeclaim "data" not found',
            id="claim",
        ),
        pytest.param(
            [a_pod().scheduled().waiting("ContainerCreating")],
            [],
            "Starting",
            "Starting: its container is being made",
            id="no word",
        ),
        pytest.param(
            [], [an_event("FailedCreate", "forbidden")], "PodRefused", "PodRefused: forbidden", id="refused pod"
        ),
    ],
)
def test_what_is_missing_ends_an_attempt_after_its_deadline(its_pods, events, reason, message):
    """Not charged; counted from the node's assignment on, ten seconds after the beginning, or from the Job's start."""
    begin = 10 if its_pods and its_pods[0].obj()["spec"].get("nodeName") else 0
    assert look(a_job(), *its_pods, events=events, now=begin + 100, deadline=100).observation == WAITS
    ended = look(a_job(), *its_pods, events=events, now=begin + 101, deadline=100).observation
    assert ended == Ended(None, message=message, never_started=reason)


def test_a_pod_of_somebody_else_does_not_count():
    """Labels can be copied; the owner's uid cannot."""
    stranger = {"kind": "Job", "name": "s-t3-a1", "uid": "another", "controller": True}
    pod = a_pod().scheduled().running().named("s-t3-a1-y", ownerReferences=[stranger])
    assert look(a_job(), pod).observation == WAITS


def test_the_newest_pod_counts():
    """A Job may start its program twice; what is there counts before what is gone."""
    first = a_pod().scheduled().terminated(143)
    second = a_pod().scheduled().running().named("s-t3-a1-z", creationTimestamp=at(30))
    assert look(a_job(), second, first).pod.name == "s-t3-a1-z"
    assert look(a_job(), first.named("s-t3-a1-x", creationTimestamp=at(40)).gone(), second).pod.name == "s-t3-a1-z"


def test_a_message_is_one_short_line():
    """A trial may have forty attempts, and its object stays small."""
    seen = look(a_job(), a_pod().scheduled().waiting("ErrImagePull", "a\nb  " + "c" * 500))
    assert (seen.waiting[1][:5], len(seen.waiting[1])) == ("a b c", 240)
