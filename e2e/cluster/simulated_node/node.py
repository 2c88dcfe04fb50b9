"""The node itself: its Node object and heartbeats, the watch on its pods, and its disappearance.

A node that vanishes says nothing: no heartbeat, no pod status, no answer at any pod's address. When it comes back, or
its process is started again, what ran on it has been lost, as after a machine's reboot.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from e2e.cluster.simulated_node.api import MERGE_PATCH, STRATEGIC_PATCH, Object, UnavailableError
from e2e.cluster.simulated_node.faults import Behaviour, Faults
from e2e.cluster.simulated_node.pod import PlayedPod, Stage
from e2e.cluster.simulated_node.trainer import killed

_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_BEATS_PER_STATUS = 10
_PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure")
_log = logging.getLogger(__name__)


class Node:
    """A node that is there from ``come_back`` on.

    Attributes:
        faults: What goes wrong with pods that start from now on.
    """

    def __init__(self, name: str, gpus: int, stage: Stage) -> None:
        """Nothing happens yet."""
        self.name, self.faults = name, Faults()
        self._gpus, self._stage = gpus, stage
        self._pods: dict[str, PlayedPod] = {}
        self._plays: dict[str, asyncio.Task[None]] = {}
        self._duties: list[asyncio.Task[None]] = []
        self._path = f"/api/v1/nodes/{name}"

    async def come_back(self) -> None:
        """Register, beat, and play the pods that are bound; nothing if it is there."""
        if self._duties:
            return
        await self._register()
        self._duties = [self._duty(self._beat()), self._duty(self._follow())]

    async def vanish(self) -> None:
        """Be gone without a word."""
        tasks = [*self._duties, *self._plays.values()]
        self._duties = []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._pods.clear()
        self._plays.clear()

    def kill(self, pattern: str, exit_code: int) -> list[str]:
        """End the containers that run in pods of these names at once; the pods' names."""
        found = [pod for pod in self._pods.values() if pod.state == "Running" and fnmatchcase(pod.name, pattern)]
        for pod in found:
            pod.kill(killed(exit_code))
        return [pod.name for pod in found]

    def let_go_on(self, pattern: str) -> None:
        """Trainers in pods of these names that hold at an evaluation begin it."""
        for pod in self._pods.values():
            if pod.trainer is not None and fnmatchcase(pod.name, pattern):
                pod.trainer.let_go_on()

    def pods(self) -> list[Object]:
        """What it plays: name, state and address of each pod, evaluations done and those done before it."""
        return [
            {
                "name": pod.name,
                "state": pod.state,
                "address": pod.address,
                "evaluations": pod.trainer.evaluations if pod.trainer else 0,
                "resumed_at": pod.trainer.resumed_at if pod.trainer else 0,
            }
            for pod in self._pods.values()
        ]

    def _duty(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task whose failure ends the process: a node that half works would be a riddle."""
        task = asyncio.ensure_future(work)
        task.add_done_callback(_end_on_failure)
        return task

    async def _register(self) -> None:
        api = self._stage.api
        labels = {"kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
        head = {"name": self.name, "labels": labels}
        status, node = await api.until_done(
            "POST", "/api/v1/nodes", {"kind": "Node", "apiVersion": "v1", "metadata": head}
        )
        if status == 409:
            _, node = await api.until_done("GET", self._path)
        owner = {"apiVersion": "v1", "kind": "Node", "name": self.name, "uid": node["metadata"]["uid"]}
        spec = {"holderIdentity": self.name, "leaseDurationSeconds": 40, "renewTime": _precise_now()}
        lease = {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "spec": spec}
        await api.until_done("POST", _LEASES, lease | {"metadata": {"name": self.name, "ownerReferences": [owner]}})
        await self._say_ready()

    async def _say_ready(self) -> None:
        amount = {"cpu": "256", "memory": "2Ti", "ephemeral-storage": "10Ti", "pods": "500"}
        if self._gpus:
            amount["nvidia.com/gpu"] = str(self._gpus)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now}
        conditions = [{"type": type, "status": "False", "lastHeartbeatTime": now} for type in _PRESSURES]
        status = {
            "capacity": amount,
            "allocatable": amount,
            "conditions": [ready, *conditions],
            "addresses": [{"type": "InternalIP", "address": self._stage.addresses.host}],
        }
        await self._stage.api.until_done("PATCH", f"{self._path}/status", {"status": status}, STRATEGIC_PATCH)

    async def _beat(self) -> None:
        """Renew the lease; now and then, and after a silence, say that the node is ready, which the controller manager
        may have begun to doubt.
        """
        beats = 0
        while True:
            await asyncio.sleep(self._stage.timing.heartbeat)
            try:
                body = {"spec": {"renewTime": _precise_now()}}
                await self._stage.api.once("PATCH", f"{_LEASES}/{self.name}", body, MERGE_PATCH)
                beats += 1
                if beats % _BEATS_PER_STATUS == 0:
                    await self._say_ready()
            except UnavailableError as error:
                _log.warning("no heartbeat: %s", error)
                beats = -1

    async def _follow(self) -> None:
        """Know all pods that are bound to the node, whatever happens to the API server."""
        selector = f"spec.nodeName={self.name}"
        while True:
            _, listed = await self._stage.api.until_done("GET", f"/api/v1/pods?fieldSelector={selector}")
            for obj in listed["items"]:
                self._see(obj)
            for uid in self._pods.keys() - {obj["metadata"]["uid"] for obj in listed["items"]}:
                self._forget(uid)
            with contextlib.suppress(UnavailableError):
                version = listed["metadata"]["resourceVersion"]
                async for event in self._stage.api.watch("/api/v1/pods", selector, version):
                    if event["type"] == "DELETED":
                        self._forget(event["object"]["metadata"]["uid"])
                    elif event["type"] != "BOOKMARK":
                        self._see(event["object"])

    def _see(self, obj: Object) -> None:
        uid, phase = obj["metadata"]["uid"], obj.get("status", {}).get("phase", "Pending")
        known = self._pods.get(uid)
        if known is not None:
            known.terminate(obj)
            return
        behaviour = self.faults.take(obj["metadata"]["name"]) if phase == "Pending" else Behaviour()
        self._pods[uid] = pod = PlayedPod(obj, self._stage, behaviour)
        self._plays[uid] = self._duty(pod.play())

    def _forget(self, uid: str) -> None:
        """The pod's object is gone; what may still run of it ends."""
        if self._pods.pop(uid, None):
            self._plays.pop(uid).cancel()


def _end_on_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.error("the node gives up", exc_info=error)
        asyncio.get_running_loop().stop()


def _precise_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
