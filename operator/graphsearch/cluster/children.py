"""A search's Jobs and pods, as the watch tells of them and lists confirm it.

What is heard of an object is the object; a list now and then corrects what was not heard: every 30 s, and every 5 s
while a Job that has yet to run, or a pod that is to go, is not heard of. Whatever comes, the newer resourceVersion
counts. A pod that is deleted takes its times and its exit code with it, so what was last heard of it is kept.

Decided against: a list at every look, which with 200 running trials took longer than everything else in it.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence

from graphsearch.api import names as n
from graphsearch.api.wire import Object
from graphsearch.cluster.client import EVENTS, JOBS, PODS, Client
from graphsearch.cluster.pods import time_of

_RELIST_SECONDS = 30.0
"""After which everything is listed anew, for what may not have been heard."""
_RELIST_MOVING_SECONDS = 5.0
"""The same while something should move and is not heard of."""
_PATIENCE_SECONDS = 2.0
"""Before anybody asks why a Job does not run: most just start."""
_DELETED_AT_A_TIME = 8
"""Jobs of a search that is gone."""
_ASKED_EVERY_SECONDS = 2.0
_OVER = ("Complete", "Failed")
_ENDINGS = (*_OVER, "SuccessCriteriaMet", "FailureTarget")
"""Conditions of a Job that will not run any more; one that Kueue let go keeps ``Suspended``, which is False then."""
_PAGE = 100
"""Objects that are in memory whole at a time."""


class Children:
    """Jobs by name, and the pods of each."""

    def __init__(self, client: Client, namespace: str, search_uid: str) -> None:
        self.jobs: dict[str, Object] = {}
        self.announced: dict[str, list[Object]] = {}
        """Events that may say why a Job does not run, by its name."""
        self._client = client
        self._namespace = namespace
        self._selector = f"{n.SEARCH_UID_LABEL}={search_uid}"
        self._pods: dict[str, dict[str, Object]] = {}
        """By Job, by uid."""
        self._moved: set[str] = set()
        """Names of Jobs of which something was heard since the last look."""
        self._moved_at: dict[str, float] = {}
        self._deleted: set[str] = set()
        """Uids of what was heard to be deleted since the last list was asked for."""
        self._listed_at = -math.inf
        self._asked_at = -math.inf

    def hear(self, kind: str, event: str | None, obj: Object) -> None:
        """Take what a watch says of a Job or a pod."""
        obj = _essence(obj)
        metadata = obj["metadata"]
        is_deleted = event == "DELETED"
        if is_deleted:
            self._deleted.add(metadata["uid"])
        if kind == "Pod":
            name = _job_of(obj)
            known = self._pods.setdefault(name, {})
            known[metadata["uid"]] = obj | {"gone": True} if is_deleted else _newer(known.get(metadata["uid"]), obj)
        else:
            name = metadata["name"]
            before = self.jobs.get(name)
            if is_deleted and before is not None and before["metadata"]["uid"] == metadata["uid"]:
                del self.jobs[name]
            elif not is_deleted:
                self.jobs[name] = _newer(before, obj)
        self._moved.add(name)

    def expect(self, job: Object) -> None:
        """A Job was just made: it counts before it is heard of."""
        self.hear("Job", None, job)

    async def refresh(self, now: float) -> set[str]:
        """List anew if it is time to; names of the Jobs of which something has moved since the last look."""
        elapsed = now - self._listed_at
        if elapsed >= _RELIST_SECONDS or (elapsed >= _RELIST_MOVING_SECONDS and self._is_overdue(now)):
            await self._list(now)
        moved, self._moved = self._moved, set()
        self._moved_at |= dict.fromkeys(moved, now)
        return moved

    def _is_overdue(self, now: float) -> bool:
        """Whether something should have moved, and nothing was heard of it."""
        names = itertools.chain((job["metadata"]["name"] for job in self._waiting()), self._going())
        silent = (name for name in names if name not in self._moved)
        return any(now - self._moved_at.get(name, now) >= _PATIENCE_SECONDS for name in silent)

    def _going(self) -> Iterator[str]:
        """Names of Jobs that are to go, or of which a pod is."""
        yield from (name for name, job in self.jobs.items() if "deletionTimestamp" in job["metadata"])
        for name, pods in self._pods.items():
            if any("deletionTimestamp" in pod["metadata"] and not pod.get("gone") for pod in pods.values()):
                yield name

    async def _list(self, now: float) -> None:
        # First: what is heard while the lists travel is newer than they are.
        self._deleted.clear()
        jobs, version = await self._client.list(
            JOBS, self._namespace, labels=self._selector, limit=_PAGE, keep=_essence
        )
        known = {job["metadata"]["uid"]: job for job in self.jobs.values()}
        there, lost = self._confirm(known, jobs, version)
        self.jobs = {job["metadata"]["name"]: job for job in there.values()}
        self._moved |= {job["metadata"]["name"] for job in lost}
        pods, version = await self._client.list(
            PODS, self._namespace, labels=self._selector, limit=_PAGE, keep=_essence
        )
        known = {uid: pod for of_job in self._pods.values() for uid, pod in of_job.items()}
        there, lost = self._confirm(known, pods, version)
        self._pods = {}
        for pod in [*there.values(), *(pod | {"gone": True} for pod in lost)]:
            self._pods.setdefault(_job_of(pod), {})[pod["metadata"]["uid"]] = pod
        self._moved |= {_job_of(pod) for pod in lost if not pod.get("gone")}
        self._moved_at = {name: at for name, at in self._moved_at.items() if name in self.jobs or name in self._pods}
        # Last: where one of the lists failed, both are asked for again at the next look.
        self._listed_at = now

    def _confirm(
        self, known: Mapping[str, Object], listed: Sequence[Object], version: str
    ) -> tuple[dict[str, Object], list[Object]]:
        """What is there, by uid, and what is not any more; a list is older than what was heard since."""
        there: dict[str, Object] = {}
        for obj in listed:
            metadata = obj["metadata"]
            uid = metadata["uid"]
            if uid in self._deleted:
                continue
            there[uid] = _newer(known.get(uid), obj)
            if there[uid] is obj:
                self._moved.add(_job_of(obj) if obj["kind"] == "Pod" else metadata["name"])
        missing = [(uid, obj) for uid, obj in known.items() if uid not in there]
        there |= {uid: obj for uid, obj in missing if not obj.get("gone") and _version(obj) > int(version)}
        return there, [obj for uid, obj in missing if uid not in there]

    def pods(self, job: str) -> list[Object]:
        """The pods of a Job, and with ``gone`` those that are not there any more, as they were last heard of."""
        return list(self._pods.get(job, {}).values())

    def settling(self, job: Object) -> bool:
        """Whether its pod has failed and the Job controller has yet to write that.

        A Job whose pod succeeded goes at once: what the controller would write of it costs a third of the few writes
        that its default flags allow it.
        """
        phases = {pod.get("status", {}).get("phase") for pod in self.pods(job["metadata"]["name"])}
        return "Failed" in phases and phases <= {"Failed", "Succeeded"} and not _has(job, _OVER)

    def forget_gone(self, open_jobs: Collection[str]) -> None:
        """What pods have said that are gone is needed only until the end of their attempt is recorded.

        Args:
            open_jobs: Names of the Jobs of open attempts.
        """
        for name in [name for name in self._pods if name not in open_jobs]:
            left = {uid: pod for uid, pod in self._pods.pop(name).items() if not pod.get("gone")}
            if left:
                self._pods[name] = left

    async def ask_why(self, now: float) -> bool:
        """Ask what was announced of Jobs that have not come to run: a quota, a volume, a queue; whether that is news.

        One question for each kind of object, however many wait: the API server looks through all Events for each.
        """
        waiting = [job for job in self._waiting() if now - (_created_at(job) or now) >= _PATIENCE_SECONDS]
        if waiting and now - self._asked_at < _ASKED_EVERY_SECONDS:
            return False
        self._asked_at = now
        owners = {uid: job["metadata"]["name"] for job in waiting for uid in self._uids(job)}
        found: dict[str, list[Object]] = {}
        for selector in sorted({_selector(job, self.pods(job["metadata"]["name"])) for job in waiting} - {""}):
            for event in (await self._client.list(EVENTS, self._namespace, fields=selector))[0]:
                about = event["involvedObject"]
                # Kueue names a Workload after its Job.
                name = owners.get(about.get("uid", "")) or about.get("name", "").removeprefix("job-").rpartition("-")[0]
                found.setdefault(name, []).append(event)
        before, self.announced = self.announced, found
        return found != before

    def _uids(self, job: Object) -> list[str]:
        """Of a Job and its pods."""
        return [obj["metadata"]["uid"] for obj in (job, *self.pods(job["metadata"]["name"]))]

    def _waiting(self) -> Iterator[Object]:
        """Jobs of which no container has begun."""
        for name, job in self.jobs.items():
            status = job.get("status", {})
            ended = any(status.get(count) for count in ("succeeded", "failed")) or _has(job, _ENDINGS)
            if "deletionTimestamp" in job["metadata"] or (ended and not job["spec"].get("suspend")):
                continue
            if not any(_has_begun(pod) for pod in self._pods.get(name, {}).values()):
                yield job

    async def delete(self, name: str) -> None:
        """Have the pods of a Job save and stop, also where it is gone already, and the Job go.

        The pods are deleted as well: the garbage collector takes about 20 objects a second and would leave devices
        busy for minutes behind a large search. They come first: the Job controller takes its finalizer off a pod at
        each news of it once its Job is gone, and of its writes there are few.
        """
        for pod in self.pods(name):
            if not pod.get("gone") and "deletionTimestamp" not in pod["metadata"]:
                await self._client.delete(PODS, self._namespace, pod["metadata"]["name"], uid=pod["metadata"]["uid"])
        if (job := self.jobs.get(name)) is not None:
            await self._client.delete(JOBS, self._namespace, name, uid=job["metadata"]["uid"])
        self._moved.add(name)

    async def delete_all(self) -> None:
        """Have everything save and stop."""
        await self._list(math.inf)
        places = asyncio.Semaphore(_DELETED_AT_A_TIME)

        async def delete(name: str) -> None:
            async with places:
                await self.delete(name)

        await asyncio.gather(*(delete(name) for name in self.jobs.keys() | self._pods.keys()))


def _selector(job: Object, pods: Sequence[Object]) -> str:
    """Of the Events that may say why a Job does not run; empty where its pod says so itself."""
    if job["spec"].get("suspend"):
        return "involvedObject.kind=Workload"
    there = [pod for pod in pods if not pod.get("gone")]
    if not there:
        return "involvedObject.kind=Job,type=Warning"
    return "" if all(map(_is_unscheduled, there)) else "involvedObject.kind=Pod,type=Warning"


def _is_unscheduled(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(each["type"] == "PodScheduled" and each["status"] == "False" for each in conditions)


def _created_at(job: Object) -> float | None:
    return time_of(job["metadata"].get("creationTimestamp"))


def _has(job: Object, conditions: Collection[str]) -> bool:
    """Whether one of these is true."""
    found = job.get("status", {}).get("conditions", ())
    return any(each["type"] in conditions and each["status"] == "True" for each in found)


def _has_begun(pod: Object) -> bool:
    states = (container.get("state", {}) for container in pod.get("status", {}).get("containerStatuses", ()))
    return any("waiting" not in state and state for state in states)


def _job_of(pod: Object) -> str:
    labels = pod["metadata"].get("labels", {})
    return f"{labels.get(n.TRIAL_LABEL, '')}-a{labels.get(n.ATTEMPT_LABEL, '')}"


def _essence(obj: Object) -> Object:
    """What is read of a Job or a pod: a fifth of it, and that much less in memory."""
    spec = {key: obj["spec"][key] for key in ("nodeName", "suspend") if key in obj["spec"]}
    if "containers" in obj["spec"]:
        parts = ("name", "resources")
        spec["containers"] = [{key: each[key] for key in parts if key in each} for each in obj["spec"]["containers"]]
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    head = {"apiVersion": obj["apiVersion"], "kind": obj["kind"]}
    return head | {"metadata": metadata, "spec": spec, "status": obj.get("status", {})}


def _newer(known: Object | None, obj: Object) -> Object:
    """The newer one of two states of an object; another object of its name replaces it."""
    if known is None or known["metadata"]["uid"] != obj["metadata"]["uid"] or _version(obj) > _version(known):
        return obj
    return known


def _version(obj: Object) -> int:
    """Versions of all objects of a kind are numbers that rise (KEP-5504)."""
    return int(obj["metadata"]["resourceVersion"])
