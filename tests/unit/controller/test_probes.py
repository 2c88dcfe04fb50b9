"""What the kubelet is answered, over a real connection."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from e2e.cluster.processes import free_ports

from graphsearch.controller.probes import STALLED_SECONDS, serving


def asked(path, *, stalled=0.0, ready=""):
    """Status and text of an answer."""

    async def ask():
        (port,) = free_ports(1)
        served = serving(port, stalled=lambda: stalled, ready=lambda: ready, metrics=lambda: b"some_metric 1.0\n")
        async with served, aiohttp.request("GET", f"http://127.0.0.1:{port}/{path}") as answer:
            return answer.status, await answer.text()

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("stalled", "expected"),
    [
        (0.0, (200, "ok\n")),
        (STALLED_SECONDS, (200, "ok\n")),
        (STALLED_SECONDS + 1, (500, "no turn for 241 s\n")),
    ],
)
def test_a_loop_that_takes_no_turn_is_not_alive(stalled, expected):
    """The kubelet restarts a process whose searches wait in vain."""
    assert asked("healthz", stalled=stalled) == expected


@pytest.mark.parametrize(
    ("ready", "expected"),
    [("", (503, "not yet\n")), ("standing by", (200, "standing by\n")), ("working", (200, "working\n"))],
)
def test_ready_says_for_what(ready, expected):
    """A standby is ready as well, or a rolling upgrade would wait for itself."""
    assert asked("readyz", ready=ready) == expected


def test_the_exposition_is_served():
    """In the format that Prometheus scrapes."""
    assert asked("metrics") == (200, "some_metric 1.0\n")


def test_a_port_that_is_taken_is_an_error():
    """Nobody would notice that the kubelet asks another process."""

    async def twice():
        (port,) = free_ports(1)
        served = [
            serving(port, stalled=lambda: 0.0, ready=lambda: "", metrics=lambda: b""),
            serving(port, stalled=lambda: 0.0, ready=lambda: "", metrics=lambda: b""),
        ]
        async with served[0], served[1]:
            pass

    with pytest.raises(OSError, match="address already in use"):
        asyncio.run(twice())
