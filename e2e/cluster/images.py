"""Images in the registry: a Debian base by debootstrap, the project's own Dockerfile by buildah (root on Linux).

An image's tag is the digest of what it is made from, so what has not changed is neither built nor moved again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from e2e.cluster.binaries import cache_folder, only_one
from e2e.cluster.commands import run
from e2e.cluster.debian import ensure_packages, program
from e2e.cluster.registry import Registry

_BASE_IMAGE = "graphsearch.test/base:1"
_PACKAGES = "python3,python3-pip,python3-venv,ca-certificates"
_MACHINE = (("/etc/ssl/certs", "/etc/ssl/certs"), ("/etc/resolv.conf", "/etc/resolv.conf"))
"""What pip needs of this machine inside a build."""
_NOBODY = "65532:65532"
_SOURCES = ("Dockerfile", "LICENSE", "README.md", "constraints.txt", "pyproject.toml", "operator", "trainer")
"""What .dockerignore lets into the project's images, and the recipe."""


def project_image(registry: Registry, project: Path, target: str) -> str:
    """One of the project's images, built if need be; what the registry knows it as.

    Args:
        registry: That gets it.
        project: The repository.
        target: Of its Dockerfile: ``operator`` or ``trainer``. That one has torch: minutes, once.

    Raises:
        ClusterError: If it cannot be built, with the end of what was said.
    """
    name, tag = f"graphsearch-{target}", _digest(project)
    if not registry.has(name, tag):
        _build_and_push(project, registry, name, tag, target=target, arguments={"BASE_IMAGE": _base_image()})
    return f"{registry.address}/{name}:{tag}"


def program_image(registry: Registry, name: str, static_program: Path, *, path: str) -> str:
    """An image with one static program at a path and nothing else; what the registry knows it as.

    Raises:
        ClusterError: If it cannot be built, with the end of what was said.
    """
    recipe = f'FROM scratch\nCOPY program {path}\nUSER {_NOBODY}\nENTRYPOINT ["{path}"]\n'
    tag = hashlib.sha256(recipe.encode() + static_program.read_bytes()).hexdigest()[:12]
    if not registry.has(name, tag):
        ensure_packages()
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(static_program, Path(folder) / "program")
            (Path(folder) / "Dockerfile").write_text(recipe)
            _build_and_push(Path(folder), registry, name, tag)
    return f"{registry.address}/{name}:{tag}"


def _digest(project: Path) -> str:
    """Of everything that goes into the project's images."""
    whole = hashlib.sha256()
    for source in _SOURCES:
        place = project / source
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and ".egg-info" not in str(path):
                whole.update(f"{path.relative_to(project)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return whole.hexdigest()[:12]


def _build_and_push(
    context: Path,
    registry: Registry,
    name: str,
    tag: str,
    *,
    target: str = "",
    arguments: Mapping[str, str] | None = None,
) -> None:
    started = time.monotonic()
    _say(f"{name}: building its image{' (torch: about 3 min on 2 cores, once)' if target == 'trainer' else ''}")
    local = f"{registry.address}/{name}:{tag}"
    _build(context, local, target=target, arguments=arguments or {})
    _say(f"{name}: built after {time.monotonic() - started:.0f} s, pushing")
    # Of 6 GB, gzip would take minutes.
    quickly = ("--compression-format=zstd", "--compression-level=1")
    run([*_buildah(), "push", "--tls-verify=false", "--quiet", *quickly, local, f"docker://{local}"])
    _say(f"{name}: pushed after {time.monotonic() - started:.0f} s")


def _build(context: Path, tag: str, *, target: str = "", arguments: Mapping[str, str]) -> None:
    command: list[object] = [*_buildah(), "bud", "--isolation", "chroot", "--layers", "--tag", tag]
    if target:
        command += ["--target", target]
    for name, value in arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    for path in (*_MACHINE, *_pip_settings()):
        command += ["-v", f"{path[0]}:{path[1]}:ro"]
    run([*command, context])


def _base_image() -> str:
    """The tag of the base image, which is made once."""
    ensure_packages()
    folder = cache_folder() / "base-image"
    folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder / "lock", "the base image"):
        if _BASE_IMAGE not in run([*_buildah(), "images", "--format", "{{.Name}}:{{.Tag}}"]).split():
            _say("base image: debootstrap (about 1 min, once)")
            shutil.rmtree(folder / "base", ignore_errors=True)
            run([program("debootstrap"), "--variant=minbase", f"--include={_PACKAGES}", "bookworm", folder / "base"])
            (folder / "Dockerfile").write_text("FROM scratch\nCOPY base/ /\n")
            _build(folder, _BASE_IMAGE, arguments={})
            shutil.rmtree(folder / "base", ignore_errors=True)
    return _BASE_IMAGE


def _pip_settings() -> Iterator[tuple[str, str]]:
    """This machine's PIP_ variables as a file that is mounted, so that they are not kept in an image."""
    settings = {name[4:].lower().replace("_", "-"): os.environ[name] for name in os.environ if name.startswith("PIP_")}
    if not settings:
        return
    file = cache_folder() / "pip.conf"
    file.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in sorted(settings.items())))
    yield str(file), "/etc/pip.conf"
    for name in ("find-links", "cert"):
        path = settings.get(name, "")
        if path.startswith("/") and Path(path).exists() and not path.startswith("/etc/ssl/certs"):
            yield path, path


def _buildah() -> list[object]:
    root = cache_folder() / "buildah"
    return [program("buildah"), "--storage-driver", "overlay", "--root", root / "store", "--runroot", root / "run"]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
