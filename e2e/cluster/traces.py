"""What a node makes on this machine outside its own folder, and how it is taken away again: bridges, packet filter
rules, network namespaces, mounts, control groups, container shims.

Everything is known by its name or by the node's folder; nothing of another runtime on this machine is touched, and
removing what is not there is no error, so a run that was killed is cleaned up by the next.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from e2e.cluster.commands import run
from e2e.cluster.debian import program

SERVICE_RANGE = "10.0.0.0/24"
POD_RANGE = "10.77.0.0/16"
POD_BRIDGE = "gs-pods"
DNS_ADDRESS = "10.78.0.53"
_SERVICE_BRIDGE = "gs-svc"
_CHAINS = ("KUBE-", "CNI-")
"""How the chains of kubelet, kube-proxy and the pods' network begin."""


def add_interfaces() -> None:
    """Route the services' addresses to an empty bridge, so that none leaves the machine before kube-proxy's rules."""
    remove_interfaces()
    run(["ip", "link", "add", _SERVICE_BRIDGE, "type", "bridge"])
    run(["ip", "addr", "add", f"{DNS_ADDRESS}/32", "dev", _SERVICE_BRIDGE])
    run(["ip", "link", "set", _SERVICE_BRIDGE, "up"])
    run(["ip", "route", "add", SERVICE_RANGE, "dev", _SERVICE_BRIDGE])


def remove_interfaces() -> None:
    """The bridges, and with them their routes."""
    for bridge in (_SERVICE_BRIDGE, POD_BRIDGE):
        _try("ip", "link", "del", bridge)


def network_namespaces() -> frozenset[Path]:
    """Those that pods have on this machine."""
    folder = Path("/run/netns")
    return frozenset(folder.glob("cni-*")) if folder.exists() else frozenset()


def remove_network_namespaces(before: frozenset[Path]) -> None:
    """Those that have come since."""
    for namespace in network_namespaces() - before:
        _try("ip", "netns", "delete", namespace.name)


def remove_rules() -> None:
    """Put the packet filter back without the node's chains."""
    for prefix in ("iptables", "ip6tables"):
        lines = run([f"{program(prefix)}-save"]).splitlines()
        kept = [line for line in lines if not any(chain in line for chain in _CHAINS)]
        if kept != lines:
            subprocess.run([f"{program(prefix)}-restore"], input="\n".join(kept) + "\n", text=True, check=False)  # noqa: S603


def end_processes_of(socket: Path) -> None:
    """Shims, which outlive their containerd: they name its socket."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"containerd-shim" in words[0] and str(socket).encode() in words:
                os.kill(int(process.name), signal.SIGKILL)


def unmount_below(folder: Path) -> None:
    """What containers and volumes have left, innermost first; a place that is mounted twice needs it twice."""
    while mounts := list(_mounts(folder)):
        for mount in sorted(mounts, key=len, reverse=True):
            _try("umount", "-l", mount)
        if list(_mounts(folder)) == mounts:
            return


def remove_cgroups() -> None:
    """Of pods and containers, leaves first; one that still has a process stays."""
    for top in (*Path("/sys/fs/cgroup").glob("kubepods"), *Path("/sys/fs/cgroup").glob("*/kubepods")):
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()


def remove_network_results(network: str) -> None:
    """What the pods' network has noted of each pod."""
    for noted in Path("/var/lib/cni/results").glob(f"{network}-*"):
        noted.unlink(missing_ok=True)


def _mounts(folder: Path) -> Iterator[str]:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        place = line.split()[1].replace("\\040", " ")
        if place.startswith(f"{folder}/"):
            yield place


def _try(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=False)  # noqa: S603
