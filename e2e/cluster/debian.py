"""Debian's packages that a real node needs, installed where they are missing; that takes root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from e2e.cluster.processes import ClusterError

PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "iptables": "iptables",
    "ip6tables": "iptables",
    "ip": "iproute2",
    "conntrack": "conntrack",
    "debootstrap": "debootstrap",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}
"""A program, and the package that brings it."""

_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def program(name: str) -> str:
    """The path of an installed program.

    Raises:
        ClusterError: If it is not there.
    """
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise ClusterError(f"{name} is not installed; install Debian's package {PACKAGES[name]}")
    return found


def ensure_packages() -> None:
    """Install what is missing.

    Raises:
        ClusterError: If something is missing and this is not root on Debian, or apt fails.
    """
    missing = [package for name, package in PACKAGES.items() if shutil.which(name, path=_PATH) is None]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ClusterError(f"a real node needs root on Debian, and these packages: {' '.join(missing)}")
    print(f"installing {' '.join(missing)}", file=sys.stderr, flush=True)
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", *missing]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise ClusterError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
