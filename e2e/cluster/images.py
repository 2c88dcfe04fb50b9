"""Images without a registry: a Debian base by debootstrap, the project's own Dockerfile by buildah (root on Linux)."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster.binaries import _cache_folder as cache_folder
from e2e.cluster.commands import run
from e2e.cluster.debian import ensure_packages, program

BASE_IMAGE = "graphsearch.test/base:1"
_PACKAGES = "python3,python3-pip,python3-venv,ca-certificates"
_MACHINE = (("/etc/ssl/certs", "/etc/ssl/certs"), ("/etc/resolv.conf", "/etc/resolv.conf"))
"""What pip needs of this machine inside a build."""
_DOCKERFILE = "FROM scratch\nCOPY base/ /\n"


def build(
    context: Path,
    tag: str,
    archive: Path | None = None,
    *,
    target: str = "",
    arguments: Mapping[str, str] | None = None,
) -> None:
    """Build the Dockerfile in a folder; also as an OCI archive if one is named.

    Raises:
        ClusterError: If a step fails, with the end of what it said.
    """
    command: list[object] = [*_buildah(), "bud", "--isolation", "chroot", "--layers", "--tag", tag]
    if target:
        command += ["--target", target]
    for name, value in (arguments or {}).items():
        command += ["--build-arg", f"{name}={value}"]
    for path in (*_MACHINE, *_pip_settings()):
        command += ["-v", f"{path[0]}:{path[1]}:ro"]
    run([*command, context])
    if archive is not None:
        run([*_buildah(), "push", "--disable-compression", tag, f"oci-archive:{archive}:{tag}"])


def base_image() -> str:
    """The tag of the base image, which is made once.

    Raises:
        ClusterError: If it cannot be made.
    """
    ensure_packages()
    folder = cache_folder() / "base-image"
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        if BASE_IMAGE not in run([*_buildah(), "images", "--format", "{{.Name}}:{{.Tag}}"]):
            shutil.rmtree(folder / "base", ignore_errors=True)
            run([program("debootstrap"), "--variant=minbase", f"--include={_PACKAGES}", "bookworm", folder / "base"])
            (folder / "Dockerfile").write_text(_DOCKERFILE)
            build(folder, BASE_IMAGE)
            shutil.rmtree(folder / "base", ignore_errors=True)
    return BASE_IMAGE


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


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
