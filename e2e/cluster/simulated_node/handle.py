"""What a test holds of a simulated node: its process, and a line to it."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from e2e.cluster.processes import ClusterError, Server, free_ports
from e2e.cluster.simulated_node.faults import Fault, Timing

_ROOT = Path(__file__).parents[3]


class SimulatedNode:
    """A running node.

    Attributes:
        name: Of the Node object.
    """

    def __init__(self, folder: Path, kubeconfig: Path, name: str, flags: list[str]) -> None:
        """Describe the process; nothing runs yet."""
        self.name = name
        [self._port] = free_ports(1)
        own = [f"--kubeconfig={kubeconfig}", f"--name={name}", f"--control-port={self._port}"]
        command = [sys.executable, "-m", "e2e.cluster.simulated_node", *own, *flags]
        self._server = Server(name, command, folder, environment={"PYTHONPATH": str(_ROOT)})

    def start(self) -> None:
        """Start the process; what ran on the node before is lost.

        Raises:
            ClusterError: With the log's tail, if it is not ready in time.
        """
        self._server.start()
        self._server.wait_until_ready(lambda: self._ask("GET", "/pods") is not None)

    def stop(self) -> None:
        """Kill the process: the node vanishes."""
        self._server.kill()

    @property
    def pid(self) -> int | None:
        """Of the process, while it runs."""
        return self._server.pid

    def fail(self, fault: Fault) -> None:
        """Let something go wrong with pods that start from now on."""
        self._ask("POST", "/faults", fault.to_json())

    def heal(self) -> None:
        """Nothing goes wrong with pods that start from now on."""
        self._ask("DELETE", "/faults")

    def kill(self, pods: str = "*", exit_code: int = 137) -> list[str]:
        """End the containers that run in pods of these names (a shell pattern) at once; the pods' names."""
        killed: list[str] = self._ask("POST", "/kill", {"pods": pods, "exitCode": exit_code})
        return killed

    def let_go_on(self, pods: str = "*") -> None:
        """Trainers in pods of these names (a shell pattern) that hold at an evaluation begin it."""
        self._ask("POST", "/go-on", {"pods": pods})

    def vanish(self) -> None:
        """Be gone without a word: no heartbeat, no pod status, no answer."""
        self._ask("POST", "/vanish")

    def come_back(self) -> None:
        """Be there again; what ran before is lost."""
        self._ask("POST", "/come-back")

    def pods(self) -> list[dict[str, Any]]:
        """What it plays now: ``name``, ``state`` (Waiting, Running, Ended), ``address``; ``evaluations`` done and those
        that another attempt had done (``resumed_at``).
        """
        found: list[dict[str, Any]] = self._ask("GET", "/pods")
        return found

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request(method, path, body=None if body is None else json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != http.HTTPStatus.OK:
            raise ClusterError(f"{self.name}: {method} {path}: {answer.status}; see {self._server.log}")
        return json.loads(text)


@contextmanager
def running_simulated_node(
    folder: Path,
    kubeconfig: Path,
    *,
    checkpoints: Path,
    name: str = "node-1",
    gpus: int = 8,
    network: str = "127.77.0.0/16",
    timing: Timing | None = None,
) -> Iterator[SimulatedNode]:
    """A node that is ready, and killed at the end; its Node object stays.

    Args:
        folder: For its log.
        kubeconfig: Of somebody who may do what a kubelet does.
        checkpoints: A folder that all nodes of a cluster share.
        name: Of the Node object.
        gpus: ``nvidia.com/gpu``.
        network: Of its pods' addresses, within 127.0.0.0/8.
        timing: How long things take; left out, as ``Timing`` says.

    Raises:
        ClusterError: If it does not start.
    """
    flags = {"gpus": gpus, "network": network, "checkpoints": checkpoints} | asdict(timing or Timing())
    told = [f"--{flag.replace('_', '-')}={value}" for flag, value in flags.items()]
    node = SimulatedNode(folder, kubeconfig, name, told)
    try:
        node.start()
        yield node
    finally:
        node.stop()
