"""A real node on this machine: containerd, kubelet, kube-proxy and CoreDNS (root on Linux).

Everything has sockets and folders of its own, so it never meets a container runtime of the machine's, and is taken
away again (``traces``). Unpacked images alone stay, in the cache.

Decided against: kind and k3s, which need a container engine.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from e2e.cluster import traces
from e2e.cluster.binaries import binary, cache_folder, go
from e2e.cluster.commands import run
from e2e.cluster.control_plane import ControlPlane
from e2e.cluster.debian import ensure_packages, program
from e2e.cluster.images import program_image
from e2e.cluster.processes import LOOPBACK, ClusterError, Server, free_ports
from e2e.cluster.registry import Registry

_NAME = "real-1"
_NETWORK_NAME = "graphsearch"
_KUBELET_PORT = 10250
_PAUSE = """
package main

import (
    "os"
    "os/signal"
    "syscall"
)

func main() {
    ended := make(chan os.Signal, 1)
    signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
    <-ended
}
"""


class Node:
    """The node's servers; ``ctr`` talks to its containerd.

    Attributes:
        name: Of the Node object.
        pause_image: On the node; its container waits until it is told to end.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        control_plane: ControlPlane,
        *,
        pause_image: str,
        client_certificate: Path,
        gpus: int,
    ) -> None:
        """Describe the servers; nothing runs yet."""
        self.name = name
        self._gpus = gpus
        self.pause_image = pause_image
        self._folder = folder
        self._client_certificate = client_certificate
        self._socket = folder / "containerd.sock"
        self._control_plane = control_plane
        self._ports = dict(zip(("proxy", "proxy metrics", "dns"), free_ports(3), strict=True))
        self._namespaces_before = traces.network_namespaces()
        self._containerd = Server("containerd", [program("containerd"), "-c", folder / "containerd.toml"], folder)
        self._kubelet = Server("kubelet", self._kubelet_command(), folder)
        self._proxy = Server("kube-proxy", [binary("kube-proxy"), f"--config={folder / 'kube-proxy.yaml'}"], folder)
        self._dns = Server("coredns", [binary("coredns"), "-conf", folder / "Corefile"], folder)

    def _kubelet_command(self) -> list[str | Path]:
        return [
            binary("kubelet"),
            f"--config={self._folder / 'kubelet.yaml'}",
            f"--kubeconfig={self._control_plane.kubeconfig}",
            f"--hostname-override={self.name}",
            f"--node-ip={urlsplit(self._control_plane.url).hostname}",
            f"--root-dir={self._folder / 'kubelet'}",
            f"--cert-dir={self._folder / 'kubelet-certs'}",
        ]

    def ctr(self, *arguments: str | Path) -> str:
        """Run ctr in Kubernetes' namespace; its output.

        Raises:
            ClusterError: If it fails.
        """
        return run([program("ctr"), "-a", self._socket, "-n", "k8s.io", *arguments])

    def pull(self, image: str) -> None:
        """Have the kubelet take an image from the registry, unless it is here, as it does for a pod.

        Raises:
            ClusterError: If it cannot be had in ten minutes.
        """
        if image in self.ctr("images", "list", "-q").split():
            return
        kubectl = self._control_plane.kubectl
        kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=60s")
        kubectl("run", "pull", f"--image={image}", "--restart=Never", "--command", "--", "true")
        kubectl("wait", "pod/pull", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=10m")
        kubectl("delete", "pod", "pull", "--wait")

    def kill(self, container: str) -> None:
        """End a container's first process as the kernel would that ran out of memory: with SIGKILL.

        Args:
            container: The ID, as in a pod's status, without ``containerd://``.

        Raises:
            ClusterError: If it does not run.
        """
        os.kill(self._process_of(container), signal.SIGKILL)

    def silence(self, container: str, port: int) -> int:
        """Have the connections that a container's pod has to a port carry nothing any more, in either direction.

        Nobody is told, as with a firewall that has forgotten them; the pod's later connections are not concerned.

        Args:
            container: The ID, as in a pod's status, without ``containerd://``.
            port: As the pod knows it: a service's own.

        Returns:
            How many there were.

        Raises:
            ClusterError: If the container does not run.
        """
        inside = ("nsenter", f"--target={self._process_of(container)}", "--net")
        sockets = run([*inside, "ss", "-H", "-t", "-n", "state", "established", f"dport = :{port}"]).splitlines()
        for line in sockets:
            _received, _sent, own, *_rest = line.split()
            own_port = own.rpartition(":")[2]
            for chain, theirs, ours in (("INPUT", "--sport", "--dport"), ("OUTPUT", "--dport", "--sport")):
                rule = ("-A", chain, "-p", "tcp", theirs, str(port), ours, own_port, "-j", "DROP")
                run([*inside, program("iptables"), *rule])
        return len(sockets)

    def _process_of(self, container: str) -> int:
        processes = self._processes()
        if container not in processes:
            raise ClusterError(f"container {container} does not run")
        return processes[container]

    def _processes(self) -> dict[str, int]:
        """The first process of each container that runs."""
        lines = [line.split() for line in self.ctr("tasks", "list").splitlines()[1:]]
        return {name: int(pid) for name, pid, state in lines if state == "RUNNING"}

    def start(self) -> None:
        """Start everything and wait until the node is Ready and has its GPUs.

        Raises:
            ClusterError: With the log's tail, if a server is not.
        """
        self._write_configuration()
        traces.add_interfaces()
        self._containerd.start()
        self._containerd.wait_until_ready(lambda: self._socket.exists() and bool(self.ctr("version")))
        self._remove_containers()
        for server in (self._kubelet, self._proxy, self._dns):
            server.start()
        self._kubelet.wait_until_ready(self._is_ready)
        self._give_gpus()
        self._proxy.wait_until_ready(partial(_answers, self._ports["proxy"], "/healthz"))
        self._dns.wait_until_ready(partial(_answers, self._ports["dns"], "/ready"))

    def _give_gpus(self) -> None:
        """The kubelet keeps what it finds in its node's status, and the scheduler honours it."""
        patch = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": str(self._gpus)}]
        arguments = ("patch", "node", self.name, "--subresource=status", "--type=json", f"-p={json.dumps(patch)}")
        self._control_plane.kubectl(*arguments)

    def _is_ready(self) -> bool:
        path = "-o=jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        found = self._control_plane.kubectl("get", "node", self.name, path, check=False)
        return found.strip() == "True"

    def lose_power(self) -> None:
        """End everything at once, with nobody told; ``start`` is the boot that follows."""
        processes = self._processes()
        for server in (self._kubelet, self._proxy, self._dns, self._containerd):
            server.kill()
        traces.end_processes_of(self._socket)
        for process in processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._clear()

    def stop(self) -> None:
        """End everything and take away what it made on this machine."""
        for server in (self._kubelet, self._proxy, self._dns):
            server.kill()
        with contextlib.suppress(ClusterError):
            self._remove_containers()
        self._containerd.kill()
        traces.end_processes_of(self._socket)
        traces.remove_network_results(_NETWORK_NAME)
        traces.remove_interfaces()
        traces.remove_rules()
        self._clear()

    def _clear(self) -> None:
        """Take away what no machine keeps over a boot."""
        traces.remove_network_namespaces(self._namespaces_before)
        traces.unmount_below(self._folder)
        traces.remove_cgroups()
        self._socket.unlink(missing_ok=True)
        shutil.rmtree(self._folder / "containerd-state", ignore_errors=True)

    def _remove_containers(self) -> None:
        """Those of this run, or of one that was killed: they would be kept with the images."""
        for container in self.ctr("containers", "list", "-q").split():
            with contextlib.suppress(ClusterError):
                self.ctr("tasks", "delete", "--force", container)
            with contextlib.suppress(ClusterError):
                self.ctr("containers", "delete", container)

    def _write_configuration(self) -> None:
        folder = self._folder
        (folder / "cni").mkdir(exist_ok=True)
        (folder / "cni" / "10-graphsearch.conflist").write_text(json.dumps(_network(folder)))
        places = {"folder": folder, "images": cache_folder() / "containerd", "pause": self.pause_image}
        (folder / "containerd.toml").write_text(_CONTAINERD.format(**places))
        (folder / "kubelet.yaml").write_text(json.dumps(self._kubelet_configuration()))
        (folder / "kube-proxy.yaml").write_text(json.dumps(self._proxy_configuration()))
        names = {"address": traces.DNS_ADDRESS, "kubeconfig": self._control_plane.kubeconfig}
        ready = f"{LOOPBACK}:{self._ports['dns']}"
        (folder / "Corefile").write_text(_COREFILE.format(**names, ready=ready))

    def _kubelet_configuration(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self._client_certificate)},
            },
            "authorization": {"mode": "Webhook"},
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "failSwapOn": False,
            "podLogsDir": str(self._folder / "pod-logs"),
            "containerRuntimeEndpoint": f"unix://{self._socket}",
            "clusterDNS": [traces.DNS_ADDRESS],
            "clusterDomain": "cluster.local",
            "imageGCHighThresholdPercent": 100,
            # 0%: never. What this machine's other programs use, its cache of files among it, is no pod's fault.
            "evictionHard": dict.fromkeys(("memory.available", "nodefs.available", "imagefs.available"), "0%"),
            "healthzPort": 0,
            "serverTLSBootstrap": False,
            # A Secret that is filled later is in its pods soon.
            "syncFrequency": "5s",
        }

    def _proxy_configuration(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clusterCIDR": traces.POD_RANGE,
            "hostnameOverride": self.name,
            "clientConnection": {"kubeconfig": str(self._control_plane.kubeconfig)},
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
            "healthzBindAddress": f"{LOOPBACK}:{self._ports['proxy']}",
            "metricsBindAddress": f"{LOOPBACK}:{self._ports['proxy metrics']}",
        }


@contextmanager
def running_node(
    folder: Path, control_plane: ControlPlane, registry: Registry, *, client_certificate: Path, gpus: int = 1
) -> Iterator[Node]:
    """A node that is Ready, gone without a trace at the end.

    Args:
        folder: Keeps configuration, logs and the pods' volumes.
        control_plane: At an address that pods reach.
        registry: From which it pulls.
        client_certificate: Of the API server, as in ``kubelet_client``.
        gpus: How many devices it offers; there are none behind them.

    Raises:
        ClusterError: If a part is missing or does not start, or another node runs on this machine.
    """
    ensure_packages()
    folder.mkdir(parents=True, exist_ok=True)
    with _alone():
        pause = program_image(registry, "pause", _pause_program(), path="/pause")
        node = Node(_NAME, folder, control_plane, pause_image=pause, client_certificate=client_certificate, gpus=gpus)
        try:
            node.start()
            yield node
        finally:
            node.stop()


def kubelet_client(folder: Path) -> tuple[Path, list[str]]:
    """A certificate with which the API server asks kubelets for logs: its file, and the API server's flags."""
    key, certificate = folder / "kubelet-client.key", folder / "kubelet-client.crt"
    subject = ("-subj", "/O=system:masters/CN=api-server", "-days", "2")
    run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, *subject])
    flags = [f"--kubelet-client-certificate={certificate}", f"--kubelet-client-key={key}"]
    return certificate, [*flags, "--kubelet-preferred-address-types=InternalIP"]


@contextmanager
def _alone() -> Iterator[None]:
    """Two kubelets would meet at their port and in the packet filter."""
    with (cache_folder() / "node.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ClusterError("another run has its node on this machine; wait for its end") from None
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, _KUBELET_PORT)) == 0:
                message = f"a kubelet listens on port {_KUBELET_PORT}: use this machine's cluster with KUBECONFIG"
                raise ClusterError(f"{message} (e2e/cluster/README.md), or another machine")
        yield


def _answers(port: int, path: str) -> bool:
    """Whether a server of this node says that it is well."""
    with contextlib.closing(http.client.HTTPConnection(LOOPBACK, port, timeout=5)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK


def _pause_program() -> Path:
    """What holds a pod's sandbox: one static program."""
    folder = cache_folder() / "pause"
    if not (folder / "pause").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "main.go").write_text(_PAUSE)
        (folder / "go.mod").write_text("module pause\n\ngo 1.23\n")
        run(["env", "CGO_ENABLED=0", go(), "-C", folder, "build", "-trimpath", "-o", "pause", "."])
    return folder / "pause"


def _network(folder: Path) -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "dataDir": str(folder / "addresses"),
        "ranges": [[{"subnet": traces.POD_RANGE}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": traces.POD_BRIDGE, "isGateway": True, "ipMasq": True, "hairpinMode": True}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": _NETWORK_NAME, "plugins": [bridge | {"ipam": addresses}, ports]}


_CONTAINERD = """version = 2
root = "{images}"
state = "{folder}/containerd-state"
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Without CAP_SYS_RESOURCE every sandbox would fail otherwise.
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
  # The registry keeps them.
  discard_unpacked_layers = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{folder}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"""

_COREFILE = """.:53 {{
    bind {address}
    errors
    ready {ready}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
    }}
    forward . /etc/resolv.conf
}}
"""
