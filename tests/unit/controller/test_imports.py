"""What the operator's process loads, which is most of its memory."""

from __future__ import annotations

import subprocess
import sys


def test_the_operator_loads_nothing_that_it_does_not_use():
    """Neither the client library's synchronous part nor what belongs in trainers, in whatever order things come."""
    script = "import sys, graphsearch.controller.watches, graphsearch.cli.operator; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(told.stdout.split())
    assert "kopf" in loaded
    assert "kubernetes.aio.client.rest" in loaded
    assert not {"kubernetes.client", "torch", "boto3", "altair", "sklearn"} & loaded
