"""A namespace with an operator and a simulated node, for several tests that look at what ran there side by side."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from e2e.cluster.simulated_node import SimulatedNode, Timing, running_simulated_node
from tests.integration.cluster.installation import Operator, Search, a_namespace, free_network, wait_for
from tests.searches import SearchBuilder, a_search

from graphsearch.api import AttemptEnd, GraphTrial

_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Stage:
    """What runs in one namespace."""

    namespace: str
    operator: Operator
    node: SimulatedNode


@contextmanager
def a_stage(control_plane, folder: Path, *flags: str, gpus: int = 16, **timing: float) -> Iterator[Stage]:
    """A fresh namespace with its operator and a node, gone at the end.

    Args:
        control_plane: Which knows our kinds.
        folder: For logs and checkpoints.
        flags: Of the operator.
        gpus: Of the node.
        timing: Of the node.
    """
    node_name = f"stage-node-{next(_NUMBERS)}"
    with ExitStack() as at_end:
        name = at_end.enter_context(a_namespace(control_plane, "stage"))
        # Nobody else can end what is bound to the node once that is gone.
        pods = ["delete", "pods", "-A", f"--field-selector=spec.nodeName={node_name}", "--force", "--wait=false"]
        at_end.callback(control_plane.kubectl, *pods)
        at_end.callback(control_plane.kubectl, "delete", "node", node_name, "--ignore-not-found")
        node = at_end.enter_context(
            running_simulated_node(
                folder,
                control_plane.kubeconfig,
                checkpoints=folder / "checkpoints",
                name=node_name,
                gpus=gpus,
                network=free_network(),
                timing=Timing(**timing),
            )
        )
        scope = ("--namespaces", name, "--lease-namespace", name, "--fallback-after", "3")
        operator = Operator(control_plane, folder, *scope, *flags)
        at_end.callback(lambda: operator.runs and operator.kill())
        yield Stage(name, operator.start().wait_until_ready(), node)


def quick() -> SearchBuilder:
    """Two graphs at a time, two evaluations, none is stopped by a rung."""
    return a_search().with_nodes(2).trials(2).parallel(2).evaluations(2).never_stopping()


def trial_status(search: Search, index: int) -> dict[str, Any]:
    """Of a trial, as its object has it; empty before it is there."""
    found = search.kubectl("get", "graphtrials", f"{search.name}-t{index}", "--ignore-not-found", "-o", "json")
    status: dict[str, Any] = json.loads(found).get("status", {}) if found else {}
    return status


def progressing(search: Search, index: int) -> tuple[str, str]:
    """(reason, message) of a trial's Progressing condition; empty before it is there."""
    for condition in trial_status(search, index).get("conditions", ()):
        if condition["type"] == "Progressing":
            return condition["reason"], condition.get("message", "")
    return "", ""


def events(search: Search, name: str = "") -> set[tuple[str, str, str]]:
    """(type, reason, message) of the Events of an object, the search's own if no name is given."""
    selector = f"involvedObject.name={name or search.name}"
    found = search.get("events", "", "--field-selector", selector)["items"]
    return {(event["type"], event["reason"], event["message"]) for event in found}


def ends(trial: GraphTrial) -> list[AttemptEnd | None]:
    """How its attempts ended, in order."""
    return [attempt.end for attempt in trial.status.attempts]


def running_pods(search: Search) -> list[dict[str, Any]]:
    """Pods of its Search trials that run and were not asked to stop."""
    pods = search.get("pods", "", "-l", f"graphsearch.io/search={search.name},graphsearch.io/purpose=Search")["items"]
    return [
        pod
        for pod in pods
        if pod.get("status", {}).get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
    ]


def wait_until_running(search: Search, count: int) -> list[dict[str, Any]]:
    """Wait until so many of its pods run and the operator has seen them; the pods."""
    wait_for(lambda: len(running_pods(search)) == count, search.describe)
    wait_for(lambda: sum(bool(t.attempt and t.attempt.started_at) for t in search.trials) >= count, search.describe)
    return running_pods(search)


def server_time(search: Search) -> float:
    """What the API server's clock shows, in whole seconds since the epoch."""
    name = f"moment-{uuid.uuid4().hex[:8]}"
    search.kubectl("create", "configmap", name)
    return datetime.fromisoformat(search.get("configmap", name)["metadata"]["creationTimestamp"]).timestamp()


def asked_at(pod: dict[str, Any]) -> float:
    """When a pod was asked to stop, by the API server's clock; its deletionTimestamp lies a grace later."""
    metadata = pod["metadata"]
    end = datetime.fromisoformat(metadata["deletionTimestamp"]).timestamp()
    return end - metadata["deletionGracePeriodSeconds"]


def wait_until_terminating(search: Search, pods: list[dict[str, Any]]) -> list[float]:
    """Wait until all these pods are asked to stop; when that was, as far as they are still there."""
    uids = {pod["metadata"]["uid"] for pod in pods}
    seen: dict[str, float] = {}

    def all_asked() -> bool:
        there = {pod["metadata"]["uid"]: pod for pod in search.get("pods")["items"]}
        seen.update({uid: asked_at(there[uid]) for uid in uids & there.keys() if is_terminating(there[uid])})
        return all(uid in seen or uid not in there for uid in uids)

    wait_for(all_asked, search.describe)
    return list(seen.values())


def is_terminating(pod: dict[str, Any]) -> bool:
    """Whether it was asked to stop."""
    return "deletionTimestamp" in pod["metadata"]
