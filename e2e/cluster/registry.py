"""A real image registry on loopback: a node pulls from it what was built here, and only layers that it lacks.

Its content lies in the cache and is kept, its port with it, since buildah remembers by address which layers are there.
Decided against: importing archives, which moves every layer of a trainer image (6 GB) for each change of a source file.
"""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster.binaries import binary, cache_folder
from e2e.cluster.processes import LOOPBACK, Server, free_ports

_CONFIGURATION = """version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: "{folder}/content"}}
http: {{addr: "{address}"}}
"""
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Registry:
    """A running registry.

    Attributes:
        address: What its images' names begin with.
    """

    def __init__(self, folder: Path) -> None:
        """Lay out folder and port; nothing runs yet."""
        folder.mkdir(parents=True, exist_ok=True)
        port = folder / "port"
        if not port.exists():
            port.write_text(str(free_ports(1)[0]))
        self.address = f"{LOOPBACK}:{port.read_text()}"
        (folder / "config.yml").write_text(_CONFIGURATION.format(folder=folder, address=self.address))
        command = [binary("registry"), "serve", folder / "config.yml"]
        self._server = Server("registry", command, folder, environment={"OTEL_TRACES_EXPORTER": "none"})

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            ClusterError: With the log's tail, if it does not.
        """
        self._server.log.unlink(missing_ok=True)
        self._server.start()
        self._server.wait_until_ready(lambda: self._status("GET", "/v2/") == http.HTTPStatus.OK)

    def stop(self) -> None:
        """End it; its images stay."""
        self._server.kill()

    def has(self, name: str, tag: str) -> bool:
        """Whether an image is there."""
        return self._status("HEAD", f"/v2/{name}/manifests/{tag}") == http.HTTPStatus.OK

    def _status(self, method: str, path: str) -> int:
        with contextlib.closing(http.client.HTTPConnection(self.address, timeout=5)) as connection:
            connection.request(method, path, headers={"Accept": _MANIFEST})
            return connection.getresponse().status


@contextmanager
def running_registry() -> Iterator[Registry]:
    """A registry that answers, gone at the end.

    Raises:
        ClusterError: If it cannot be built or does not start, as where another one of this cache runs.
    """
    registry = Registry(cache_folder() / "registry")
    try:
        registry.start()
        yield registry
    finally:
        registry.stop()
