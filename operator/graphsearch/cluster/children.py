"""A search's Jobs and pods as they were last listed, and the last words of pods that are gone.

Events only say that something has moved: what counts is the list. But a pod that is deleted takes its times and its
exit code with it, and the watch's last event of it is all that is left, so that one is kept as a supplement.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Iterator

from graphsearch.api import names as n
from graphsearch.api.wire import Object
from graphsearch.cluster.client import EVENTS, JOBS, PODS, Client
from graphsearch.cluster.pods import time_of

_RELIST_SECONDS = 30.0
"""After which everything is listed anew even if nothing was heard."""
_RELIST_WAITING_SECONDS = 2.0
"""The same while a Job has not come to run: why it waits is not always heard."""
_PATIENCE_SECONDS = 2.0
"""Before anybody asks why a Job does not run: most just start."""
_DELETED_AT_A_TIME = 8
"""Jobs of a search that is gone."""
_ASKED_AT_A_TIME = 20
"""Jobs; where more wait, they wait for the same."""


class Children:
    """Jobs by name, and the pods of each."""

    def __init__(self, client: Client, namespace: str, search_uid: str) -> None:
        self.jobs: dict[str, Object] = {}
        self._client = client
        self._namespace = namespace
        self._selector = f"{n.SEARCH_UID_LABEL}={search_uid}"
        self._pods: dict[str, list[Object]] = {}
        self._last_words: dict[str, Object] = {}
        self._moved = True
        self._listed_at = -math.inf

    def hear(self, kind: str, obj: Object) -> None:
        """Something about a Job or pod has moved."""
        self._moved = True
        if kind == "Pod":
            self._last_words[obj["metadata"]["uid"]] = obj

    def expect(self, job: Object) -> None:
        """A Job was just made: it counts before it is listed."""
        self.jobs[job["metadata"]["name"]] = job
        self._moved = True

    async def refresh(self, now: float) -> bool:
        """List anew if anything was heard or enough time has passed; whether it was."""
        after = _RELIST_WAITING_SECONDS if any(self._waiting()) else _RELIST_SECONDS
        if not self._moved and now - self._listed_at < after:
            return False
        # Cleared first: what is heard while the lists travel is listed next time.
        self._moved, self._listed_at = False, now
        jobs, _ = await self._client.list(JOBS, self._namespace, labels=self._selector)
        pods, _ = await self._client.list(PODS, self._namespace, labels=self._selector)
        self.jobs = {job["metadata"]["name"]: job for job in jobs}
        there = {pod["metadata"]["uid"] for pod in pods}
        gone = [pod | {"gone": True} for uid, pod in self._last_words.items() if uid not in there]
        self._pods = {}
        for pod in [*pods, *gone]:
            self._pods.setdefault(_job_of(pod), []).append(pod)
        return True

    def pods(self, job: str) -> list[Object]:
        """The pods of a Job, and with ``gone`` those that are not there any more, as they were last heard of."""
        return self._pods.get(job, [])

    def settling(self, job: Object) -> bool:
        """Whether its pod has ended and the Job controller has yet to write whether it failed."""
        phases = {pod.get("status", {}).get("phase") for pod in self._pods.get(job["metadata"]["name"], ())}
        return bool(phases) and phases <= {"Failed", "Succeeded"} and not _is_over(job)

    def forget(self, job: str) -> None:
        """An attempt is recorded as ended: what its pods have said is not needed any more."""
        for pod in self._pods.get(job, ()):
            self._last_words.pop(pod["metadata"]["uid"], None)

    async def announcements(self, now: float) -> dict[str, list[Object]]:
        """What was announced of Jobs that have not come to run, by their names: a quota, a volume, a queue."""
        found: dict[str, list[Object]] = {}
        for job in itertools.islice(self._waiting(), _ASKED_AT_A_TIME):
            metadata = job["metadata"]
            if now - (time_of(metadata.get("creationTimestamp")) or now) < _PATIENCE_SECONDS:
                continue
            name = metadata["name"]
            events = found[name] = []
            if job["spec"].get("suspend"):
                said = await self._events("involvedObject.kind=Workload")
                events += [each for each in said if each["involvedObject"]["name"].startswith(f"job-{name}-")]
            for obj in (job, *self._pods.get(name, ())):
                events += await self._events(f"involvedObject.uid={obj['metadata']['uid']}")
        return found

    async def _events(self, selector: str) -> list[Object]:
        found, _ = await self._client.list(EVENTS, self._namespace, fields=selector)
        return found

    def _waiting(self) -> Iterator[Object]:
        """Jobs of which no container has begun."""
        for name, job in self.jobs.items():
            status = job.get("status", {})
            ended = any(status.get(count) for count in ("succeeded", "failed")) or status.get("conditions")
            if "deletionTimestamp" in job["metadata"] or (ended and not job["spec"].get("suspend")):
                continue
            if not any(_has_begun(pod) for pod in self._pods.get(name, ())):
                yield job

    async def delete(self, job: Object) -> None:
        """Have a Job's pods save and stop, and the Job go.

        The pods are deleted as well: the garbage collector takes about 20 objects a second and would leave devices
        busy for minutes behind a large search.
        """
        metadata = job["metadata"]
        await self._client.delete(JOBS, self._namespace, metadata["name"], uid=metadata["uid"])
        for pod in self.pods(metadata["name"]):
            if not pod.get("gone") and "deletionTimestamp" not in pod["metadata"]:
                await self._client.delete(PODS, self._namespace, pod["metadata"]["name"], uid=pod["metadata"]["uid"])
        self._moved = True

    async def delete_all(self) -> None:
        """Have everything save and stop."""
        await self.refresh(math.inf)
        places = asyncio.Semaphore(_DELETED_AT_A_TIME)

        async def delete(job: Object) -> None:
            async with places:
                await self.delete(job)

        await asyncio.gather(*(delete(job) for job in self.jobs.values()))


def _is_over(job: Object) -> bool:
    conditions = job.get("status", {}).get("conditions", ())
    return any(each["type"] in ("Complete", "Failed") and each["status"] == "True" for each in conditions)


def _has_begun(pod: Object) -> bool:
    states = (container.get("state", {}) for container in pod.get("status", {}).get("containerStatuses", ()))
    return any("waiting" not in state and state for state in states)


def _job_of(pod: Object) -> str:
    labels = pod["metadata"].get("labels", {})
    return f"{labels.get(n.TRIAL_LABEL, '')}-a{labels.get(n.ATTEMPT_LABEL, '')}"
