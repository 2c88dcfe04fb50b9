"""What a Job and its pods say of an attempt: whether it waits, runs or has ended, and whom that is to be charged to.

A pure function of the objects. What the trainer itself says counts most: an exit code of its own (0, 10-12) stands
whatever happened around it. Any other end of a pod that was disrupted, deleted or lost is not the trial's fault and
has no exit code (design 4); out of memory and a crash are.

Of a pod that could not start, what it waits for decides: a queue, a quota and a full cluster may take as long as they
like, but an image, a Secret or a volume that is missing ends the attempt after ``startDeadlineSeconds``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from graphsearch.api import TrialReason
from graphsearch.api import names as n
from graphsearch.api.wire import Object
from graphsearch.search.actions import Ended, Observation, Running
from graphtrial.contract import ExitCode, TrialResult, ended_by

_LOST_SECONDS = 30.0
"""After its grace a pod that is still Terminating sits on a node that nobody hears of."""
_KILLED = 137
_OWN_CODES = frozenset({ExitCode.DONE, ExitCode.BAD_SPEC, ExitCode.BAD_DATA, ExitCode.DIVERGED})
"""What only the trainer itself says, and what counts however its pod ended."""
_SAVING_CODES = frozenset({ExitCode.DONE, ExitCode.STOPPED})
_MESSAGE_LENGTH = 240

_IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_CONTAINER_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_NEVER_RAN_REASONS = frozenset({"StartError", "ContainerCannotRun"})
_VOLUME_EVENTS = frozenset({"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"})
_MISSING_CLAIM = re.compile(r'persistentvolumeclaim "[^"]*" not found')
_PATIENT = frozenset({TrialReason.QUEUED, TrialReason.QUOTA_EXCEEDED, TrialReason.UNSCHEDULABLE})
"""What an attempt may wait for as long as it takes."""

Waiting = tuple[TrialReason, str]


@dataclass(frozen=True, slots=True)
class LivePod:
    """The pod in which an attempt runs now."""

    name: str
    uid: str
    address: str
    """Of its metrics, ``ip:port``, as Prometheus writes ``instance``."""
    node: str
    image_id: str
    started_at: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What is to be said of an attempt."""

    observation: Observation | None = None
    """None: nothing, for neither Job nor pod tells anything. ``Running.identity`` is empty where the Job is gone."""
    waiting: Waiting | None = None
    """Why it does not run, with a message."""
    pod: LivePod | None = None
    reports: tuple[tuple[int, float], ...] = ()
    """(evaluation, score) of every rung in the last words of a trainer that has ended."""


def look(
    job: Object | None,
    pods: Sequence[Object],
    *,
    events: Sequence[Object] = (),
    asked: bool,
    now: float,
    deadline: float,
    metrics_port: int,
) -> Seen:
    """What a Job and its pods say of an attempt.

    Args:
        job: As it was listed; None if it is gone.
        pods: Of the Job, or as they were last heard of (``gone``). The Job may have replaced one: the newest counts.
        events: Of the Job and its pods, where they may say why nothing runs.
        asked: Whether the attempt was asked to save and stop.
        now: Seconds since the epoch.
        deadline: Seconds in which an attempt that nothing but itself keeps waiting has to start.
        metrics_port: On which trainers expose their numbers.
    """
    pod = _newest(job, pods)
    container = _container(pod) if pod else {}
    terminated = container.get("state", {}).get("terminated")
    if pod is not None and terminated:
        return _terminated(job, pod, terminated, asked)
    started_at = time_of(container.get("state", {}).get("running", {}).get("startedAt"))
    if pod is None or pod.get("gone"):
        return _without_pod(job, events, now, deadline) if job else _gone(pod, started_at, now)
    if ended := _lost(pod, started_at, now):
        return Seen(ended)
    identity = "" if job is None else job["metadata"]["uid"]
    if "deletionTimestamp" in pod["metadata"]:
        return Seen(Running(identity, started_at), (TrialReason.STOPPING, "its pod saves and stops"))
    if started_at is not None:
        return Seen(Running(identity, started_at), pod=_live(pod, container, started_at, metrics_port))
    waiting = _waiting(pod, container, events)
    since = _scheduled_at(pod) or _created_at(pod)
    return Seen(too_late(waiting, since, now, deadline) or Running(identity, None), waiting)


def time_of(text: str | None) -> float | None:
    """A time of the API server in seconds since the epoch; None where there is none, or it is the zero time."""
    seconds = datetime.fromisoformat(text).timestamp() if text else 0.0
    return seconds if seconds > 0 else None


def _newest(job: Object | None, pods: Sequence[Object]) -> Object | None:
    """The newest pod that this Job has made; those that are there before those that are gone."""
    own = [pod for pod in pods if job is None or _owner_uid(pod) == job["metadata"]["uid"]]
    return max(own, key=lambda pod: (not pod.get("gone"), _created_at(pod), pod["metadata"]["name"]), default=None)


def _owner_uid(pod: Object) -> str | None:
    owners = pod["metadata"].get("ownerReferences", ())
    return next((owner["uid"] for owner in owners if owner.get("controller")), None)


def _without_pod(job: Object, events: Sequence[Object], now: float, deadline: float) -> Seen:
    identity, status = job["metadata"]["uid"], job.get("status", {})
    conditions = _conditions(status)
    began = time_of(status.get("startTime"))
    for kind in ("Failed", "FailureTarget"):
        if failed := conditions.get(kind):
            seconds = max(0.0, (time_of(failed.get("lastTransitionTime")) or now) - (began or now))
            return Seen(Ended(None, seconds, _short(f"its pod is gone: {_said(failed)}")))
    if "Complete" in conditions or "SuccessCriteriaMet" in conditions:
        done = time_of(status.get("completionTime")) or now
        return Seen(Ended(ExitCode.DONE, max(0.0, done - (began or done))))
    if "deletionTimestamp" in job["metadata"]:
        return Seen(Running(identity, None), (TrialReason.STOPPING, "its Job is being deleted"))
    if job["spec"].get("suspend"):
        return Seen(Running(identity, None), (TrialReason.QUEUED, _queue_message(job, events)))
    waiting = _refused(events) or (TrialReason.STARTING, "its Job is made and has no pod yet")
    since = began or time_of(job["metadata"].get("creationTimestamp")) or now
    ended = too_late(waiting, since, now, deadline) if waiting[0] is TrialReason.POD_REFUSED else None
    return Seen(ended or Running(identity, None), waiting)


def _queue_message(job: Object, events: Sequence[Object]) -> str:
    """What Kueue says of the Job or its Workload, or else which queue is waited for."""
    queue = job["metadata"].get("labels", {}).get(n.QUEUE_LABEL, "")
    pending = _latest(events, frozenset({"Pending", "Preempted", "Evicted"}))
    return pending or (f"waits for queue {queue}" if queue else "its Job is suspended")


def _refused(events: Sequence[Object]) -> Waiting | None:
    message = _latest(events, frozenset({"FailedCreate"}))
    return refusal(message) if message else None


def refusal(message: str) -> Waiting:
    """Why the API server lets a Job or its pod not be made; a quota may free itself."""
    return (TrialReason.QUOTA_EXCEEDED if "exceeded quota" in message else TrialReason.POD_REFUSED), _short(message)


def _latest(events: Sequence[Object], reasons: frozenset[str]) -> str:
    """The message of the latest event with one of these reasons; empty without one."""
    found = [event for event in events if event.get("reason") in reasons]
    latest = max(found, key=_event_time, default={})
    return _short(latest.get("message", ""))


def _event_time(event: Object) -> float:
    times = (event.get("eventTime"), event.get("lastTimestamp"), event.get("firstTimestamp"))
    return max(time_of(time) or 0.0 for time in times)


def _terminated(job: Object | None, pod: Object, terminated: Object, asked: bool) -> Seen:
    began, ended = time_of(terminated.get("startedAt")), time_of(terminated.get("finishedAt"))
    seconds = max(0.0, ended - began) if began and ended else None
    code, why = int(terminated["exitCode"]), terminated.get("reason", "")
    if why in _NEVER_RAN_REASONS:
        message = _short(f"{TrialReason.CONTAINER_REFUSED}: {terminated.get('message') or why}")
        return Seen(Ended(None, message=message, never_started=TrialReason.CONTAINER_REFUSED))
    result = _result(terminated.get("message", ""))
    reports = tuple((rung.rung, rung.score) for rung in result.rungs) if result else ()
    progressed = result is not None and result.saved_at > result.resumed_at
    if code not in _OWN_CODES and (cause := _cause(job, pod, code, why, asked)):
        return Seen(Ended(None, seconds, cause, progressed=progressed, started_at=began), reports=reports)
    nodes = result.evaluations[-1].nodes if result and result.evaluations else {}
    message = "" if code in _SAVING_CODES else _message(pod, terminated, code, why, result)
    return Seen(Ended(code, seconds, message, nodes, progressed=progressed, started_at=began), reports=reports)


def _cause(job: Object | None, pod: Object, code: int, why: str, asked: bool) -> str:
    """What ended a trainer that neither failed nor was asked to stop; empty if it did, or was."""
    if why == "OOMKilled":
        return ""
    if disruption := _conditions(pod.get("status", {})).get("DisruptionTarget"):
        return "" if asked and code == ExitCode.STOPPED else _short(_said(disruption))
    if why == "ContainerStatusUnknown":
        return "its node lost the container"
    if code not in (ExitCode.STOPPED, _KILLED) or (asked and code == ExitCode.STOPPED):
        return ""
    killed = "killed after its grace, " if code == _KILLED else ""
    if asked:
        return f"{killed}before it had saved"
    if job is not None and job["spec"].get("suspend"):
        return f"{killed}stopped by its queue, which suspended its Job"
    if job is not None and "deletionTimestamp" in job["metadata"]:
        return f"{killed}stopped by somebody who deleted its Job"
    if "deletionTimestamp" in pod["metadata"]:
        return f"{killed}stopped by somebody who deleted its pod"
    return "" if killed else "stopped by a SIGTERM that the operator did not ask for"


def _message(pod: Object, terminated: Object, code: int, why: str, result: TrialResult | None) -> str:
    """Why a trainer failed, in one line."""
    if why == "OOMKilled":
        [own] = [found for found in pod["spec"]["containers"] if found["name"] == n.CONTAINER]
        limit = own.get("resources", {}).get("limits", {}).get("memory")
        of = f" of {limit}; raise spec.trainer.resources.limits.memory" if limit else "; its node had no more"
        return f"OOMKilled: it needed more than its memory limit{of}"
    if result and result.exit_code is not None and result.message:
        return _short(result.message)
    words = terminated.get("message", "").strip()
    last = "" if result or words.startswith("{") else words.rpartition("\n")[2]
    return _short(f"{ended_by(code)}: {last}" if last else f"ended by {ended_by(code)}; see its log")


def _result(text: str) -> TrialResult | None:
    """What a trainer wrote as its last words; None if they are the end of its log, or cut."""
    try:
        return TrialResult.model_validate_json(text)
    except ValidationError:
        return None


def _gone(pod: Object | None, started_at: float | None, now: float) -> Seen:
    """Neither Job nor pod is there, and the pod has not told how its container ended."""
    if pod is None:
        return Seen()
    disruption = _conditions(pod.get("status", {})).get("DisruptionTarget")
    cause = _said(disruption) if disruption else "its Job and pod were deleted"
    return Seen(Ended(None, _seconds(started_at, now), _short(cause), started_at=started_at))


def _lost(pod: Object, started_at: float | None, now: float) -> Ended | None:
    """The end of a pod that does not tell how its container ended; None while it may."""
    status, seconds = pod.get("status", {}), _seconds(started_at, now)
    disruption = _conditions(status).get("DisruptionTarget")
    if status.get("phase") in ("Failed", "Succeeded"):
        said = f"{status.get('reason') or 'Failed'}: {status.get('message') or 'it ended without a word'}"
        if disruption or started_at:
            return Ended(None, seconds, _short(_said(disruption) if disruption else said), started_at=started_at)
        return Ended(None, message=_short(said), never_started=status.get("reason") or "Failed")
    deleted_at = time_of(pod["metadata"].get("deletionTimestamp"))
    if deleted_at is not None and now > deleted_at + _LOST_SECONDS:
        node = pod["spec"].get("nodeName", "")
        cause = f"{_said(disruption)}; " if disruption else ""
        said = _short(f"{cause}node {node} does not say that its pod has ended")
        return Ended(None, seconds, said, started_at=started_at)
    return None


def _seconds(started_at: float | None, now: float) -> float:
    return max(0.0, now - started_at) if started_at else 0.0


def _live(pod: Object, container: Object, started_at: float, metrics_port: int) -> LivePod | None:
    """Where a running container can be read; None before its address is known."""
    address = pod["status"].get("podIP", "")
    if not address:
        return None
    host = f"[{address}]" if ":" in address else address
    return LivePod(
        name=pod["metadata"]["name"],
        uid=pod["metadata"]["uid"],
        address=f"{host}:{metrics_port}",
        node=pod["spec"].get("nodeName", ""),
        image_id=container.get("imageID", ""),
        started_at=started_at,
    )


def _waiting(pod: Object, container: Object, events: Sequence[Object]) -> Waiting:
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        message = _short(scheduled.get("message") or scheduled.get("reason", ""))
        if scheduled.get("reason") == "SchedulingGated":
            return TrialReason.QUEUED, message
        missing = _MISSING_CLAIM.search(message)
        return (TrialReason.CONTAINER_REFUSED if missing else TrialReason.UNSCHEDULABLE), message
    state = container.get("state", {}).get("waiting", {})
    reason, message = state.get("reason", ""), state.get("message", "")
    if reason in _IMAGE_REASONS:
        return TrialReason.IMAGE_UNAVAILABLE, _short(message or f"{reason}: {container.get('image', '')}")
    if reason in _CONTAINER_REASONS:
        return TrialReason.CONTAINER_REFUSED, _short(message or reason)
    if words := _latest(events, _VOLUME_EVENTS):
        return TrialReason.CONTAINER_REFUSED, words
    return TrialReason.STARTING, "its container is being made" if scheduled else "its pod is made"


def too_late(waiting: Waiting, since: float, now: float, deadline: float) -> Ended | None:
    """The end of an attempt that has had its time to start."""
    reason, message = waiting
    if reason in _PATIENT or now - since <= deadline:
        return None
    said = f"{reason}: {message}"
    return Ended(None, message=_short(said), never_started=reason)


def has_told(pods: Sequence[Object]) -> bool:
    """Whether one of these has said how its container ended."""
    return any("terminated" in _container(pod).get("state", {}) for pod in pods)


def _scheduled_at(pod: Object) -> float | None:
    scheduled = _condition(pod, "PodScheduled")
    return time_of(scheduled.get("lastTransitionTime")) if scheduled.get("status") == "True" else None


def _created_at(pod: Object) -> float:
    return time_of(pod["metadata"].get("creationTimestamp")) or math.inf


def _container(pod: Object) -> Object:
    """The status of the trainer's container; empty before there is one."""
    statuses = pod.get("status", {}).get("containerStatuses", ())
    return next((status for status in statuses if status["name"] == n.CONTAINER), {})


def _condition(pod: Object, kind: str) -> Object:
    """A condition whatever its status; empty where it is not there."""
    return next((found for found in pod.get("status", {}).get("conditions", ()) if found["type"] == kind), {})


def _conditions(status: Mapping[str, object]) -> dict[str, Object]:
    """Those that are true, by type."""
    found = status.get("conditions", ())
    assert isinstance(found, Sequence)
    return {condition["type"]: condition for condition in found if condition["status"] == "True"}


def _said(condition: Object) -> str:
    reason, message = condition.get("reason", ""), condition.get("message", "")
    return ": ".join(part for part in (reason, message) if part)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MESSAGE_LENGTH else line[: _MESSAGE_LENGTH - 3] + "..."
