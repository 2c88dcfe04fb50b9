"""A search's Jobs and pods as they were last listed, and the last words of pods that are gone.

Events only say that something has moved: what counts is the list. But a pod that is deleted takes its times and its
exit code with it, and the watch's last event of it is all that is left, so that one is kept as a supplement.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from graphsearch.api import names as n
from graphsearch.api.wire import Object
from graphsearch.cluster.client import EVENTS, JOBS, PODS, Client

_RELIST_SECONDS = 30.0
"""After which everything is listed anew even if nothing was heard."""


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
        if not self._moved and now - self._listed_at < _RELIST_SECONDS:
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

    def forget(self, job: str) -> None:
        """An attempt is recorded as ended: what its pods have said is not needed any more."""
        for pod in self._pods.get(job, ()):
            self._last_words.pop(pod["metadata"]["uid"], None)

    def without_pod(self) -> Iterator[Object]:
        """Jobs that ought to have a pod and have none."""
        for name, job in self.jobs.items():
            status = job.get("status", {})
            ended = any(status.get(count) for count in ("succeeded", "failed")) or status.get("conditions")
            if not self._pods.get(name) and not ended and not job["spec"].get("suspend"):
                yield job

    async def events_of(self, job: Object) -> list[Object]:
        """What was announced of a Job, such as why its pod is refused."""
        selector = f"involvedObject.uid={job['metadata']['uid']}"
        found, _ = await self._client.list(EVENTS, self._namespace, fields=selector)
        return found

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
        for job in list(self.jobs.values()):
            await self.delete(job)


def _job_of(pod: Object) -> str:
    labels = pod["metadata"].get("labels", {})
    return f"{labels.get(n.TRIAL_LABEL, '')}-a{labels.get(n.ATTEMPT_LABEL, '')}"
