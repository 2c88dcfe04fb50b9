"""A real node on this machine: containerd, kubelet, kube-proxy and CoreDNS (root on Linux).

Everything has sockets and folders of its own, so it never meets a container runtime of the machine's, and is taken
away again: containers, mounts, bridges, rules and network namespaces. What must not leave the machine cannot: before
kube-proxy's rules are there, the service range is routed to an empty bridge.

Decided against: kind and k3s, which need a container engine or a registry.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from e2e.cluster.binaries import _go as go
from e2e.cluster.binaries import binary
from e2e.cluster.commands import run
from e2e.cluster.control_plane import ControlPlane
from e2e.cluster.debian import ensure_packages, program
from e2e.cluster.images import build
from e2e.cluster.processes import ClusterError, Server

SERVICE_RANGE = "10.0.0.0/24"
POD_RANGE = "10.77.0.0/16"
_SERVICE_BRIDGE = "gs-svc"
_POD_BRIDGE = "gs-pods"
_DNS_ADDRESS = "10.78.0.53"
_PAUSE_IMAGE = "graphsearch.test/pause:1"

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
    """The node's servers; ``ctr`` talks to its containerd."""

    def __init__(self, name: str, folder: Path, control_plane: ControlPlane) -> None:
        self.name = name
        self.folder = folder
        self.socket = folder / "containerd.sock"
        self._control_plane = control_plane
        self._namespaces_before = frozenset(_network_namespaces())
        self.containerd = Server("containerd", [program("containerd"), "-c", folder / "containerd.toml"], folder)
        self.kubelet = Server("kubelet", self._kubelet_command(), folder)
        self.proxy = Server("kube-proxy", [binary("kube-proxy"), f"--config={folder / 'kube-proxy.yaml'}"], folder)
        self.dns = Server("coredns", [binary("coredns"), "-conf", folder / "Corefile"], folder)

    def _kubelet_command(self) -> list[str | Path]:
        return [
            binary("kubelet"),
            f"--config={self.folder / 'kubelet.yaml'}",
            f"--kubeconfig={self._control_plane.kubeconfig}",
            f"--hostname-override={self.name}",
            f"--node-ip={urlsplit(self._control_plane.url).hostname}",
            f"--root-dir={self.folder / 'kubelet'}",
            f"--cert-dir={self.folder / 'kubelet-certs'}",
        ]

    def ctr(self, *arguments: str | Path) -> str:
        """Run ctr in Kubernetes' namespace; its output.

        Raises:
            ClusterError: If it fails.
        """
        return run([program("ctr"), "-a", self.socket, "-n", "k8s.io", *arguments])

    def import_image(self, archive: Path) -> None:
        """Take an image from an OCI archive."""
        self.ctr("images", "import", archive)

    def give_gpus(self, count: int) -> None:
        """Have the node offer devices; the kubelet keeps them and the scheduler honours them."""
        patch = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": str(count)}]
        arguments = ("patch", "node", self.name, "--subresource=status", "--type=json", f"-p={json.dumps(patch)}")
        self._control_plane.kubectl(*arguments)

    def start(self) -> None:
        """Start everything and wait until the node is Ready."""
        self._write_configuration()
        _add_interfaces()
        self.containerd.start()
        self.containerd.wait_until_ready(lambda: self.socket.exists() and bool(self.ctr("version")))
        self.import_image(_pause_archive(self.folder))
        for server in (self.kubelet, self.proxy, self.dns):
            server.start()
        self.kubelet.wait_until_ready(self._is_ready)

    def _is_ready(self) -> bool:
        path = "-o=jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        found = self._control_plane.kubectl("get", "node", self.name, path, check=False)
        return found.strip() == "True"

    def stop(self) -> None:
        """End everything and take away what it made on this machine."""
        for server in (self.kubelet, self.proxy, self.dns):
            server.kill()
        with contextlib.suppress(ClusterError):
            for container in self.ctr("containers", "list", "-q").split():
                with contextlib.suppress(ClusterError):
                    self.ctr("tasks", "kill", "-s", "SIGKILL", container)
        self.containerd.kill()
        _end_shims(self.socket)
        _remove_network_namespaces(self._namespaces_before)
        _remove_interfaces()
        _remove_rules()
        _unmount_below(self.folder)

    def _write_configuration(self) -> None:
        folder = self.folder
        (folder / "cni").mkdir(exist_ok=True)
        (folder / "cni" / "10-graphsearch.conflist").write_text(json.dumps(_NETWORK))
        (folder / "containerd.toml").write_text(_CONTAINERD.format(folder=folder, pause=_PAUSE_IMAGE))
        (folder / "kubelet.yaml").write_text(json.dumps(_kubelet_configuration(self.socket)))
        (folder / "kube-proxy.yaml").write_text(json.dumps(self._proxy_configuration()))
        (folder / "Corefile").write_text(
            _COREFILE.format(address=_DNS_ADDRESS, kubeconfig=self._control_plane.kubeconfig)
        )

    def _proxy_configuration(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clusterCIDR": POD_RANGE,
            "hostnameOverride": self.name,
            "clientConnection": {"kubeconfig": str(self._control_plane.kubeconfig)},
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
            "healthzBindAddress": "127.0.0.1:0",
            "metricsBindAddress": "127.0.0.1:0",
        }


@contextmanager
def running_node(folder: Path, control_plane: ControlPlane, *, name: str = "real-1", gpus: int = 1) -> Iterator[Node]:
    """A node that is Ready, gone without a trace at the end.

    Raises:
        ClusterError: If a part is missing or does not start.
    """
    ensure_packages()
    folder.mkdir(parents=True, exist_ok=True)
    node = Node(name, folder, control_plane)
    try:
        node.start()
        node.give_gpus(gpus)
        yield node
    finally:
        node.stop()


def _pause_archive(folder: Path) -> Path:
    """The image of a pod's sandbox: one static program."""
    archive = folder / "pause.tar"
    if archive.exists():
        return archive
    source = folder / "pause"
    source.mkdir(exist_ok=True)
    (source / "main.go").write_text(_PAUSE)
    (source / "go.mod").write_text("module pause\n\ngo 1.23\n")
    run(["env", "CGO_ENABLED=0", go(), "-C", source, "build", "-o", "pause", "."])
    (source / "Dockerfile").write_text('FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n')
    build(source, _PAUSE_IMAGE, archive)
    return archive


def _add_interfaces() -> None:
    _remove_interfaces()
    run(["ip", "link", "add", _SERVICE_BRIDGE, "type", "bridge"])
    run(["ip", "addr", "add", f"{_DNS_ADDRESS}/32", "dev", _SERVICE_BRIDGE])
    run(["ip", "link", "set", _SERVICE_BRIDGE, "up"])
    run(["ip", "route", "add", SERVICE_RANGE, "dev", _SERVICE_BRIDGE])


def _remove_interfaces() -> None:
    for bridge in (_SERVICE_BRIDGE, _POD_BRIDGE):
        subprocess.run(["ip", "link", "del", bridge], capture_output=True, check=False)  # noqa: S603, S607


def _network_namespaces() -> list[Path]:
    folder = Path("/run/netns")
    return list(folder.glob("cni-*")) if folder.exists() else []


def _remove_network_namespaces(before: frozenset[Path]) -> None:
    for namespace in _network_namespaces():
        if namespace not in before:
            subprocess.run(["ip", "netns", "delete", namespace.name], capture_output=True, check=False)  # noqa: S603, S607


def _remove_rules() -> None:
    """Put the packet filter back without the chains of kubelet, kube-proxy and the pods' network."""
    lines = run([program("iptables") + "-save"]).splitlines()
    kept = [line for line in lines if "KUBE-" not in line and "CNI-" not in line]
    restore = [program("iptables") + "-restore"]
    subprocess.run(restore, input="\n".join(kept) + "\n", text=True, capture_output=True, check=False)  # noqa: S603


def _end_shims(socket: Path) -> None:
    subprocess.run(["pkill", "-9", "-f", f"containerd-shim.*{socket}"], capture_output=True, check=False)  # noqa: S603, S607


def _unmount_below(folder: Path) -> None:
    """Unmount what containers have left, innermost first."""
    for _ in range(3):
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((each for each in mounts if each.startswith(f"{folder}/")), key=len, reverse=True):
            subprocess.run(["umount", "-l", mount], capture_output=True, check=False)  # noqa: S603, S607


_NETWORK = {
    "cniVersion": "1.0.0",
    "name": "graphsearch",
    "plugins": [
        {
            "type": "bridge",
            "bridge": _POD_BRIDGE,
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": POD_RANGE}]], "routes": [{"dst": "0.0.0.0/0"}]},
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}

_CONTAINERD = """version = 2
root = "{folder}/containerd-root"
state = "{folder}/containerd-state"
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Without CAP_SYS_RESOURCE every sandbox would fail otherwise.
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{folder}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"""

_COREFILE = """.:53 {{
    bind {address}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
    }}
    forward . /etc/resolv.conf
}}
"""


def _kubelet_configuration(socket: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}},
        "authorization": {"mode": "Webhook"},
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{socket}",
        "clusterDNS": [_DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "healthzPort": 0,
        "serverTLSBootstrap": False,
    }
