"""Jobs and pods as the API server gives them, as short sentences: ``a_pod().scheduled().running().obj()``.

Times are seconds after ``EPOCH``, so that tests can count on them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphsearch.api import timestamp
from graphsearch.cluster import pods
from graphsearch.cluster.pods import Seen
from graphsearch.search.actions import Ended, Observation, Running

EPOCH = 1_800_000_000.0
Object = dict[str, Any]
WAITS = Running("job-uid", None)
"""What is seen of an attempt whose pod does not run yet."""


def at(seconds: float) -> str:
    """A time of the API server."""
    return timestamp(EPOCH + seconds)


def a_job() -> ObjectBuilder:
    """The Job of the first attempt at trial 3, just made."""
    return ObjectBuilder(
        {
            "metadata": {"name": "s-t3-a1", "uid": "job-uid", "creationTimestamp": at(0), "labels": {}},
            "spec": {},
            "status": {"startTime": at(0)},
        }
    )


def a_pod() -> ObjectBuilder:
    """Its pod, just made."""
    owner = {"kind": "Job", "name": "s-t3-a1", "uid": "job-uid", "controller": True}
    return ObjectBuilder(
        {
            "metadata": {
                "name": "s-t3-a1-x",
                "uid": "pod-uid",
                "creationTimestamp": at(0),
                "ownerReferences": [owner],
            },
            "spec": {
                "containers": [
                    {"name": "injected-proxy"},
                    {"name": "trainer", "resources": {"limits": {"memory": "1Gi"}}},
                ]
            },
            "status": {"phase": "Pending"},
        }
    )


def an_event(reason: str, message: str, seconds: float = 0) -> Object:
    """What was announced of a Job or pod."""
    return {"reason": reason, "message": message, "lastTimestamp": at(seconds)}


@dataclass(frozen=True)
class ObjectBuilder:
    """An object in the making; every call gives a new one."""

    fields: Object

    def _with(self, part: str, **values: Any) -> ObjectBuilder:
        fields = copy.deepcopy(self.fields)
        fields.setdefault(part, {}).update(values)
        return replace(self, fields=fields)

    def named(self, name: str, **metadata: Any) -> ObjectBuilder:
        """Other metadata."""
        return self._with("metadata", name=name, **metadata)

    def suspended(self, **labels: str) -> ObjectBuilder:
        """A Job that waits for its queue."""
        return self._with("spec", suspend=True)._with("metadata", labels=labels)

    def condition(self, kind: str, reason: str = "", message: str = "", *, holds: bool = True) -> ObjectBuilder:
        """One more condition, ten seconds after the beginning."""
        found = {"type": kind, "status": str(holds), "reason": reason, "message": message, "lastTransitionTime": at(10)}
        return self._with("status", conditions=[*self.fields["status"].get("conditions", ()), found])

    def scheduled(self) -> ObjectBuilder:
        """A pod that is bound to a node."""
        return self._with("spec", nodeName="node-1").condition("PodScheduled")

    def container(self, **state: Any) -> ObjectBuilder:
        """The state of its container."""
        status = {"name": "trainer", "state": state, "imageID": "sha256:abc", "image": "trainer:1"}
        proxy = {"name": "injected-proxy", "state": {"running": {"startedAt": at(5)}}}
        return self._with("status", containerStatuses=[proxy, status])

    def waiting(self, reason: str, message: str = "") -> ObjectBuilder:
        """Its container does not run yet."""
        return self.container(waiting={"reason": reason, "message": message})

    def running(self, since: float = 20, ip: str = "10.0.0.7") -> ObjectBuilder:
        """Its container runs."""
        return self.container(running={"startedAt": at(since)})._with("status", phase="Running", podIP=ip)

    def terminated(self, code: int, reason: str = "Error", message: str = "", **times: str) -> ObjectBuilder:
        """Its container has ended after a hundred seconds."""
        times = {"startedAt": at(20), "finishedAt": at(120)} | times
        return self.container(terminated={"exitCode": code, "reason": reason, "message": message, **times})

    def deleted(self, seconds: float) -> ObjectBuilder:
        """It is to be gone at that time, its grace included."""
        return self._with("metadata", deletionTimestamp=at(seconds))

    def gone(self) -> ObjectBuilder:
        """It is not there any more."""
        return replace(self, fields=self.fields | {"gone": True})

    def ended(self, phase: str = "Failed", **status: str) -> ObjectBuilder:
        """A pod in its last phase."""
        return self._with("status", phase=phase, **status)

    def obj(self) -> Object:
        """The object."""
        return copy.deepcopy(self.fields)


SUSPENDED = a_job().suspended(**{"kueue.x-k8s.io/queue-name": "research"})
"""By Kueue, which has no room yet."""


def look(
    job: ObjectBuilder | None,
    *its_pods: ObjectBuilder,
    events: Sequence[Object] = (),
    asked: bool = False,
    now: float = 60.0,
    deadline: float = 3600.0,
) -> Seen:
    """``pods.look`` at objects in the making, some seconds after the beginning."""
    found = [pod.obj() for pod in its_pods]
    made = job.obj() if job else None
    return pods.look(made, found, events=events, asked=asked, now=EPOCH + now, deadline=deadline, metrics_port=8000)


def end_of(seen: Seen) -> Observation | None:
    """What is observed; of an end all but when it began."""
    known = seen.observation
    return replace(known, started_at=None) if isinstance(known, Ended) else known
