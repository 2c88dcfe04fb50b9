"""Watches what anybody can see on the API server, and remembers when each thing was first to be seen.

Times of Kubernetes are whole seconds; these are those at which the news arrived, which is later than it happened and
never earlier. It watches only what comes from its start on, so that finished trials cost nothing.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e.cluster.simulated_node.api import Api, UnavailableError

_GROUP = "/apis/graphsearch.io/v1alpha1"
_PATHS = {
    "search": f"{_GROUP}/namespaces/default/graphsearches",
    "trial": f"{_GROUP}/namespaces/default/graphtrials",
    "job": "/apis/batch/v1/namespaces/default/jobs",
    "pod": "/api/v1/namespaces/default/pods",
}

Times = dict[str, float]
"""Seconds since the epoch by what was seen first then."""


@dataclass
class Witness:
    """What was seen."""

    trials: dict[str, Times] = field(default_factory=dict)
    """By name: ``made``, ``ended``, and ``rung N`` for each; ``judged N`` is the time in the fact itself."""
    by_prometheus: set[tuple[str, int]] = field(default_factory=set)
    """(trial, rung) whose score was read there."""
    stops: dict[str, int] = field(default_factory=dict)
    """By the trial's name: the rung that stopped it."""
    jobs: dict[str, Times] = field(default_factory=dict)
    """By name: ``made``."""
    pods: dict[str, Times] = field(default_factory=dict)
    """By name: ``made``, ``bound``, ``running``, ``deleted``, ``over``."""
    largest: dict[str, int] = field(default_factory=dict)
    """By kind: the bytes of the largest object, as JSON without spaces."""
    search: dict[str, Any] = field(default_factory=dict)
    """The search as it was last seen."""
    over_at: float | None = None
    """When the search's last trial but its report had ended."""
    moved: threading.Event = field(default_factory=threading.Event)
    """Set whenever the search has changed."""
    gaps: int = 0
    """How often a watch broke, after which something may not have been seen."""

    def see(self, kind: str, obj: dict[str, Any]) -> None:
        """Take one event."""
        now, name = time.time(), obj["metadata"]["name"]
        size = len(json.dumps(obj, separators=(",", ":")))
        self.largest[kind] = max(self.largest.get(kind, 0), size)
        match kind:
            case "search":
                self.search = obj
                if (obj.get("status", {}).get("facts") or {}).get("endedAt") and self.over_at is None:
                    self.over_at = now
                self.moved.set()
            case "trial":
                self._see_trial(self.trials.setdefault(name, {"made": now}), name, obj.get("status", {}), now)
            case "job":
                self.jobs.setdefault(name, {"made": now})
            case "pod":
                _see_pod(self.pods.setdefault(name, {"made": now}), obj, now)

    def _see_trial(self, seen: Times, name: str, status: dict[str, Any], now: float) -> None:
        for rung in status.get("rungs", ()):
            seen.setdefault(f"rung {rung['evaluation']}", now)
            seen[f"judged {rung['evaluation']}"] = rung["time"]
            if rung["source"] == "Prometheus":
                self.by_prometheus.add((name, rung["evaluation"]))
            if rung["decision"] == "Stop":
                self.stops[name] = rung["evaluation"]
        if status.get("outcome"):
            seen.setdefault("ended", now)


def _see_pod(seen: Times, obj: dict[str, Any], now: float) -> None:
    conditions = {each["type"]: each["status"] for each in obj.get("status", {}).get("conditions", ())}
    if conditions.get("PodScheduled") == "True":
        seen.setdefault("bound", now)
    if "deletionTimestamp" in obj["metadata"]:
        seen.setdefault("deleted", now)
    phase = obj.get("status", {}).get("phase")
    if phase == "Running":
        seen.setdefault("running", now)
    elif phase in ("Succeeded", "Failed"):
        seen.setdefault("over", now)


@contextmanager
def witnessing(kubeconfig: Path) -> Iterator[Witness]:
    """Watch while the block runs."""
    witness, started, over = Witness(), threading.Barrier(len(_PATHS) + 1), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_watch_all(witness, kubeconfig, started, over)))
    thread.start()
    started.wait(60)
    try:
        yield witness
    finally:
        over.set()
        thread.join()


async def _watch_all(witness: Witness, kubeconfig: Path, started: threading.Barrier, over: threading.Event) -> None:
    async with Api(kubeconfig) as api:
        watches = [asyncio.create_task(_watch(witness, api, kind, started)) for kind in _PATHS]
        await asyncio.to_thread(over.wait)
        for watch in watches:
            watch.cancel()
        await asyncio.wait(watches)


async def _watch(witness: Witness, api: Api, kind: str, started: threading.Barrier) -> None:
    _, page = await api.until_done("GET", f"{_PATHS[kind]}?limit=1")
    version = page["metadata"]["resourceVersion"]
    await asyncio.to_thread(started.wait)
    while True:
        try:
            async for event in api.watch(_PATHS[kind], "", version):
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    witness.see(kind, event["object"])
        except UnavailableError:
            witness.gaps += 1
            await asyncio.sleep(0.2)
