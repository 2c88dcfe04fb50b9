"""One pod as a kubelet plays it: waits, runs, ends, is deleted. Few writes: running once, ended once, gone once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from e2e.cluster.simulated_node.api import STRATEGIC_PATCH, Api, Object
from e2e.cluster.simulated_node.exposition import Addresses
from e2e.cluster.simulated_node.faults import Behaviour, Timing
from e2e.cluster.simulated_node.trainer import Checkpoints, Ending, Trainer, either, killed
from graphtrial.contract import ExitCode, TrialSpec
from graphtrial.contract.trial import SPEC_VARIABLE

NEVER_RAN = Ending(137, "ContainerStatusUnknown", "The container could not be located when the pod was terminated")
"""What a kubelet says of a container that it never started, or does not find any more."""
LOST = Ending(255, "Unknown")
"""What a container runtime says of one that ran when the machine went down."""

_USUAL_PORT = 8000
_BACK_OFF_SECONDS = 1.0
_LONGEST_MESSAGE = 4096


@dataclass(frozen=True)
class Stage:
    """What all pods of a node share."""

    api: Api
    addresses: Addresses
    checkpoints: Checkpoints
    timing: Timing


class PlayedPod:
    """A pod that is bound to the node.

    Attributes:
        name: Of the pod.
        state: Waiting, Running or Ended.
        address: Its own, once it runs.
        trainer: What it plays, if it is one and runs or has run.
    """

    def __init__(self, obj: Object, stage: Stage, behaviour: Behaviour) -> None:
        """Nothing happens before ``play``."""
        metadata = obj["metadata"]
        self.name, self._uid = metadata["name"], metadata["uid"]
        self._path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{self.name}"
        self._spec, self._phase = obj["spec"], obj.get("status", {}).get("phase", "Pending")
        self._stage, self._behaviour = stage, behaviour
        self._deleting, self._sigterm = asyncio.Event(), asyncio.Event()
        self._killed: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._started_at: str | None = None
        self.trainer: Trainer | None = None
        self.state, self.address = "Waiting", ""
        self.terminate(obj)

    def terminate(self, obj: Object) -> None:
        """See whether it is being deleted: then SIGTERM, and SIGKILL when its grace is over."""
        grace = obj["metadata"].get("deletionGracePeriodSeconds")
        if "deletionTimestamp" not in obj["metadata"] or self._deleting.is_set():
            return
        self._deleting.set()
        if not self._behaviour.ignores_sigterm:
            self._sigterm.set()
        asyncio.get_running_loop().call_later(grace or 0, self.kill, killed())

    def kill(self, ending: Ending) -> None:
        """The container ends at once."""
        if not self._killed.done():
            self._killed.set_result(ending)

    async def play(self) -> None:
        """From where it is to its end; then, when it is deleted, take it away."""
        if self._phase == "Pending":
            ending = await self._run() if await self._starts() else NEVER_RAN
            await self._report_end(ending)
        elif self._phase == "Running":
            await self._report_end(LOST)
        self.state = "Ended"
        await self._deleting.wait()
        preconditions = {"preconditions": {"uid": self._uid}, "gracePeriodSeconds": 0}
        await self._stage.api.until_done(
            "DELETE", self._path, {"kind": "DeleteOptions", "apiVersion": "v1"} | preconditions
        )

    async def _starts(self) -> bool:
        """Wait until the container may start; False if the pod is deleted before."""
        for number, reason in enumerate(self._behaviour.waits_for):
            if number:
                await either(self._deleting.wait(), asyncio.sleep(_BACK_OFF_SECONDS))
            if not self._deleting.is_set():
                message = self._behaviour.refusal or f"{reason}: {self._spec['containers'][0]['image']}"
                waiting = {"reason": reason, "message": message}
                await self._write("Pending", {"waiting": waiting})
        if self._behaviour.waits_for:
            await self._deleting.wait()
        elif self._stage.timing.start_delay:
            await either(self._deleting.wait(), asyncio.sleep(self._stage.timing.start_delay))
        return not self._deleting.is_set()

    async def _run(self) -> Ending:
        """From the container's start to its end."""
        pace = self._behaviour.pace(self._stage.timing.pace)
        variables = {each["name"]: each.get("value", "") for each in self._spec["containers"][0].get("env", ())}
        if SPEC_VARIABLE not in variables:
            self.address = self._stage.addresses.take()
            container = self._idle(pace)
        else:
            try:
                spec = TrialSpec.model_validate_json(variables[SPEC_VARIABLE])
            except ValidationError:
                return Ending(ExitCode.BAD_SPEC, "Error")
            self.trainer = Trainer(spec, self._stage.checkpoints, self._behaviour)
            port = spec.metrics_port or _USUAL_PORT
            self.address = await self._stage.addresses.open(port, self.trainer.exposition)
            container = self.trainer.train(pace, self._sigterm, self._stage.timing.saving)
        self.state, self._started_at = "Running", _now()
        running = asyncio.ensure_future(container)
        try:
            await self._write("Running", {"running": {"startedAt": self._started_at}})
            await asyncio.wait({running, self._killed}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                return running.result()
            ending = self._killed.result()
            return ending._replace(message=self.trainer.words_so_far()) if self.trainer else ending
        finally:
            running.cancel()
            await self._stage.addresses.close(self.address)

    async def _idle(self, seconds: float) -> Ending:
        """A container that is no trainer."""
        await either(self._sigterm.wait(), asyncio.sleep(seconds))
        if self._sigterm.is_set():
            return Ending(143, "Error")
        code = self._behaviour.exit_code or 0
        return Ending(code, "Error" if code else "Completed")

    async def _report_end(self, ending: Ending) -> None:
        now = _now()
        terminated = {
            "exitCode": ending.exit_code,
            "reason": ending.reason,
            "message": ending.message[:_LONGEST_MESSAGE],
            "startedAt": self._started_at or now,
            "finishedAt": now,
            "containerID": f"simulated://{self._uid}",
        }
        await self._write("Failed" if ending.exit_code else "Succeeded", {"terminated": terminated})

    async def _write(self, phase: str, container: Object) -> None:
        """Set the pod's status; nothing if the pod is gone or another has its name."""
        body = {"metadata": {"uid": self._uid}, "status": self._status(phase, container)}
        code, answer = await self._stage.api.until_done("PATCH", f"{self._path}/status", body, STRATEGIC_PATCH)
        if code not in (200, 404, 409):
            raise RuntimeError(f"the status of pod {self.name} is refused: {answer.get('message')}")

    def _image_id(self, image: str) -> str:
        return self._behaviour.image_id or f"simulated://{image}"

    def _status(self, phase: str, state: Object) -> Object:
        now, host = _now(), self._stage.addresses.host
        ready = phase == "Running"
        facts = {"Ready": ready, "ContainersReady": ready, "Initialized": True, "PodReadyToStartContainers": ready}
        conditions = [{"type": type, "status": str(is_so), "lastTransitionTime": now} for type, is_so in facts.items()]
        containers: list[dict[str, Any]] = [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "" if "waiting" in state else self._image_id(container["image"]),
                "ready": ready,
                "started": ready,
                "restartCount": 0,
                "state": state,
            }
            for container in self._spec["containers"]
        ]
        status: Object = {"phase": phase, "conditions": conditions, "containerStatuses": containers}
        status |= {"hostIP": host, "hostIPs": [{"ip": host}]}
        if self.address:
            status |= {"podIP": self.address, "podIPs": [{"ip": self.address}]}
        if phase != "Failed":
            status["startTime"] = self._started_at or now
        return status


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
