"""A node that has nothing but logs: the API server fetches them from it as from any kubelet."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.integration.cluster.stand_ins import tls

from graphsearch.api import names as n


class LogNode:
    """Pods with logs, played by hand."""

    def __init__(self, control_plane: Any, name: str) -> None:
        self.was_read = threading.Event()
        """Set once somebody has read a log."""
        self._control_plane = control_plane
        self._name = name
        self._logs: dict[str, str] = {}

    def pod(self, namespace: str, name: str, labels: dict[str, str], phase: str, log: str) -> None:
        """A pod of this node, in a phase, with all that it will ever say."""
        self._logs[f"/containerLogs/{namespace}/{name}/{n.CONTAINER}"] = log
        spec = {"nodeName": self._name, "containers": [{"name": n.CONTAINER, "image": "none"}]}
        metadata = {"name": name, "namespace": namespace, "labels": labels}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        self._control_plane.kubectl("create", "-f", "-", input=json.dumps(pod))
        patch = json.dumps({"status": {"phase": phase}})
        self._control_plane.kubectl("patch", "pod", name, "-n", namespace, "--subresource=status", "-p", patch)

    def read(self, path: str) -> str | None:
        """A log, None if there is no such container."""
        found = self._logs.get(path)
        if found is not None:
            self.was_read.set()
        return found


@contextmanager
def logs_of_pods(control_plane: Any, folder: Path) -> Iterator[LogNode]:
    """A node whose pods have logs, gone with them at the end. ``folder`` takes its key and gives it a name."""
    name = f"logs-{folder.name[-20:].strip('_').replace('_', '-')}"
    node = LogNode(control_plane, name)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            log = node.read(self.path.partition("?")[0])
            self.send_response(404 if log is None else 200)
            self.end_headers()
            self.wfile.write((log or "").encode())

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = tls(folder)[0].wrap_socket(server.socket, server_side=True)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        empty = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
        control_plane.kubectl("create", "-f", "-", input=json.dumps(empty))
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": server.server_address[1]}},
        }
        control_plane.kubectl("patch", "node", name, "--subresource=status", "-p", json.dumps({"status": status}))
        yield node
    finally:
        its_pods = f"--field-selector=spec.nodeName={name}"
        control_plane.kubectl("delete", "pods", "-A", its_pods, "--force", "--wait=false")
        control_plane.kubectl("delete", "node", name, "--ignore-not-found")
        server.shutdown()
        serving.join()
        server.server_close()
