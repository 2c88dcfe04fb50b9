"""How an attempt ends and to whom it is charged, by its Job and pods as they were seen on a real cluster."""

from __future__ import annotations

import math

import pytest
from tests.unit.cluster.objects import EPOCH, SUSPENDED, WAITS, a_job, a_pod, end_of, look

from graphsearch.api import TrialReason
from graphsearch.cluster import pods
from graphsearch.search.actions import Ended, Running
from graphtrial.contract import Evaluation, RungScore, TrialResult

EVALUATION = Evaluation(number=2, step=8, score=0.5, nodes={"1": 0.5}, losses={"1": 1.0}, seconds=1.0)
RUNGS = (RungScore(rung=1, score=0.25), RungScore(rung=2, score=math.inf))
RESULT = TrialResult(attempt=1, rungs=RUNGS, steps=8, saved_at=8)


def last_words(**changes):
    """A trainer's termination message."""
    return RESULT.model_copy(update=changes).model_dump_json(by_alias=True, exclude_defaults=True)


def test_a_trainer_that_is_done_leaves_its_scores_and_nodes():
    """The termination message outlives pod and Prometheus alike."""
    words = last_words(evaluations=(EVALUATION,), exit_code=0)
    seen = look(a_job(), a_pod().scheduled().terminated(0, "Completed", words))
    assert end_of(seen) == Ended(0, 100.0, "", {"1": 0.5}, progressed=True)
    assert seen.reports == ((1, 0.25), (2, math.inf))


@pytest.mark.parametrize(
    ("pod", "asked", "expected"),
    [
        pytest.param(
            a_pod().terminated(143, message=last_words(exit_code=143)),
            True,
            Ended(143, 100.0, progressed=True),
            id="asked to stop, and saved",
        ),
        pytest.param(
            a_pod().terminated(143, message=last_words(exit_code=143)),
            False,
            Ended(None, 100.0, "stopped by a SIGTERM that the operator did not ask for", progressed=True),
            id="stopped by nobody knows whom",
        ),
        pytest.param(
            a_pod().terminated(143).deleted(100),
            False,
            Ended(None, 100.0, "stopped by somebody who deleted its pod"),
            id="pod deleted by somebody",
        ),
        pytest.param(
            a_pod().terminated(137).deleted(100),
            True,
            Ended(None, 100.0, "killed after its grace, before it had saved"),
            id="asked to stop, and too slow",
        ),
        pytest.param(
            a_pod().terminated(137, "OOMKilled"),
            False,
            Ended(
                137,
                100.0,
                "OOMKilled: it needed more than its memory limit of 1Gi; raise spec.trainer.resources.limits.memory",
            ),
            id="out of memory",
        ),
        pytest.param(
            a_pod().terminated(137).condition("DisruptionTarget", "TerminationByKubelet", "node was low on memory"),
            False,
            Ended(None, 100.0, "TerminationByKubelet: node was low on memory"),
            id="evicted",
        ),
        pytest.param(
            a_pod().terminated(143).condition("DisruptionTarget", "PreemptionByScheduler", "preempted by x"),
            False,
            Ended(None, 100.0, "PreemptionByScheduler: preempted by x"),
            id="preempted",
        ),
        pytest.param(
            a_pod().terminated(143).condition("DisruptionTarget", "EvictionByEvictionAPI", "drained"),
            True,
            Ended(143, 100.0),
            id="asked to stop while its node was drained",
        ),
        pytest.param(
            a_pod().terminated(137).condition("DisruptionTarget", "EvictionByEvictionAPI", "drained"),
            True,
            Ended(None, 100.0, "EvictionByEvictionAPI: drained"),
            id="asked to stop, and killed with its node",
        ),
        pytest.param(
            a_pod()
            .terminated(11, message=last_words(message="s3://data: 3 files are missing", exit_code=11, saved_at=0))
            .condition("DisruptionTarget", "EvictionByEvictionAPI", "drained"),
            False,
            Ended(11, 100.0, "s3://data: 3 files are missing"),
            id="bad data on a node that is drained",
        ),
        pytest.param(
            a_pod().terminated(137),
            False,
            Ended(137, 100.0, "ended by SIGKILL (exit code 137); see its log"),
            id="killed on its node",
        ),
        pytest.param(
            a_pod().terminated(137, message=last_words(message="resumed on another machine")),
            False,
            Ended(137, 100.0, "ended by SIGKILL (exit code 137); see its log", progressed=True),
            id="killed after it had got further",
        ),
        pytest.param(
            a_pod().terminated(137, message=last_words(resumed_at=8)),
            False,
            Ended(137, 100.0, "ended by SIGKILL (exit code 137); see its log"),
            id="killed before it had got further",
        ),
        pytest.param(
            a_pod().terminated(1, message=last_words(exit_code=1, message="RuntimeError: CUDA error", saved_at=0)),
            False,
            Ended(1, 100.0, "RuntimeError: CUDA error"),
            id="crash, told by itself",
        ),
        pytest.param(
            a_pod().terminated(1, message="Traceback:\n  line 1\nRuntimeError: CUDA error: device lost\n"),
            False,
            Ended(1, 100.0, "exit code 1: RuntimeError: CUDA error: device lost"),
            id="crash, told by its log",
        ),
        pytest.param(
            a_pod().terminated(13, message='{"attempt":1,"rungs":[{"ru'),
            False,
            Ended(13, 100.0, "ended by exit code 13; see its log"),
            id="last words that were cut",
        ),
        pytest.param(
            a_pod().terminated(137, "ContainerStatusUnknown", startedAt=None, finishedAt=None),
            False,
            Ended(None, None, "its node lost the container"),
            id="node restarted",
        ),
        pytest.param(
            a_pod().terminated(128, "StartError", 'exec: "python": not found', startedAt="1970-01-01T00:00:00Z"),
            False,
            Ended(None, message='ContainerRefused: exec: "python": not found', never_started="ContainerRefused"),
            id="image without a trainer",
        ),
    ],
)
def test_an_end_is_charged_to_whom_it_is_due(pod, asked, expected):
    """The trainer's own word stands; a disruption, a deletion and a lost node have no exit code."""
    assert end_of(look(a_job(), pod.scheduled(), asked=asked)) == expected


def test_a_pod_that_its_queue_preempts_is_not_charged():
    """Kueue suspends the Job, and the Job deletes its pod."""
    ended = look(SUSPENDED, a_pod().scheduled().terminated(143).deleted(100)).observation
    assert (ended.exit_code, ended.message) == (None, "stopped by its queue, which suspended its Job")


def test_last_words_count_after_the_pod_is_gone():
    """They are what the watch heard last."""
    assert look(None, a_pod().terminated(0, message=last_words()).gone()).observation.exit_code == 0


@pytest.mark.parametrize(
    ("pod", "now", "expected"),
    [
        pytest.param(
            a_pod().ended(reason="UnexpectedAdmissionError", message="no GPU left"),
            60,
            Ended(None, message="UnexpectedAdmissionError: no GPU left", never_started="UnexpectedAdmissionError"),
            id="refused by its node",
        ),
        pytest.param(
            a_pod().ended().condition("DisruptionTarget", "PreemptionByScheduler", "preempted"),
            60,
            Ended(None, 0.0, "PreemptionByScheduler: preempted"),
            id="preempted before it ran",
        ),
        pytest.param(
            a_pod().running().ended().condition("DisruptionTarget", "DeletionByPodGC", "node is gone"),
            60,
            Ended(None, 40.0, "DeletionByPodGC: node is gone"),
            id="node object deleted",
        ),
        pytest.param(
            a_pod().running().deleted(100), 130, Running("job-uid", EPOCH + 20), id="still within thirty seconds"
        ),
        pytest.param(
            a_pod().running().deleted(100).condition("DisruptionTarget", "DeletionByTaintManager", "unreachable"),
            131,
            Ended(
                None,
                111.0,
                "DeletionByTaintManager: unreachable; node node-1 does not say that its pod has ended",
            ),
            id="thirty seconds after its grace",
        ),
    ],
)
def test_a_pod_that_does_not_tell_its_end_is_lost(pod, now, expected):
    """What it left lies in storage; the next attempt goes on from there."""
    assert end_of(look(a_job(), pod.scheduled(), now=now)) == expected


def test_a_pod_that_is_deleted_is_not_read_any_more():
    """Its last words bring what it still reports."""
    seen = look(a_job(), a_pod().scheduled().running().deleted(100))
    assert (seen.pod, seen.waiting) == (None, (TrialReason.STOPPING, "its pod saves and stops"))


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        pytest.param(
            a_job().condition("Failed", "PodFailurePolicy", "Pod a/b has condition DisruptionTarget"),
            Ended(None, 10.0, "its pod is gone: PodFailurePolicy: Pod a/b has condition DisruptionTarget"),
            id="failed",
        ),
        pytest.param(a_job().condition("Complete"), Ended(0, 60.0), id="complete"),
        pytest.param(a_job(), WAITS, id="its controller has not noticed"),
        pytest.param(SUSPENDED, WAITS, id="suspended, to be admitted again"),
    ],
)
def test_a_job_tells_the_end_of_a_pod_that_left_no_word(job, expected):
    """The objects of pods go without a trace; a Job's conditions stay."""
    assert end_of(look(job, a_pod().scheduled().running().gone())) == expected
    assert look(job).observation == expected


def test_job_and_pod_deleted_together_lose_the_attempt():
    """It ran until a moment ago, and nobody says how it ended."""
    seen = look(None, a_pod().scheduled().running().gone())
    assert seen.observation.started_at == EPOCH + 20
    assert end_of(seen) == Ended(None, 40.0, "its Job and pod were deleted")


@pytest.mark.parametrize(
    ("pod", "told"),
    [
        (a_pod().scheduled(), False),
        (a_pod().scheduled().running().gone(), False),
        (a_pod().scheduled().terminated(143).gone(), True),
        (a_pod().scheduled().terminated(137), True),
    ],
    ids=["it waits", "gone while it ran", "it told, and is gone", "it told"],
)
def test_a_pod_has_told_its_end_once_its_container_has_terminated(pod, told):
    """Of one that was asked to save and told nothing, nobody knows that it did not: it counts as stopped."""
    assert pods.has_told([pod.obj()]) is told
