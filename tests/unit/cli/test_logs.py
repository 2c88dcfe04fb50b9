"""What is printed of a pod's log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from graphsearch.api import names as n
from graphsearch.cli import cluster
from graphsearch.cli.cluster import Session
from graphsearch.cli.logs import print_log
from graphsearch.cluster.client import UnavailableError

POD = {"metadata": {"name": "s-t0-a1-x", "labels": {n.TRIAL_LABEL: "s-t0", n.ATTEMPT_LABEL: "1"}}}


class BreakingOff:
    """An API server that goes away after so many lines of a log, once for each number."""

    def __init__(self, *after: int) -> None:
        self._after = list(after)

    async def logs(self, *_: object, **__: object) -> AsyncIterator[str]:
        """Three lines, all from the beginning each time."""
        last = self._after.pop(0) if self._after else None
        for number, line in enumerate(("one", "two", "three")):
            if number == last:
                raise UnavailableError(429, "TooManyRequests", "later")
            yield line


def printed(client: Any) -> None:
    """Follow the log of the pod."""
    asyncio.run(print_log(Session(client, "default"), POD, follow=True, as_json=False))


def test_each_line_is_printed_once_however_often_the_api_server_goes_away(monkeypatch, capsys):
    """A log is read from its beginning again, and what was printed is passed over."""
    monkeypatch.setattr(cluster, "_AGAIN_SECONDS", 0)
    printed(BreakingOff(0, 2, 1, 2))
    assert capsys.readouterr().out.splitlines() == ["s-t0-a1 | one", "s-t0-a1 | two", "s-t0-a1 | three"]


class NoKubelet:
    """An API server that does not reach the pod's node."""

    async def logs(self, *_: object, **__: object) -> AsyncIterator[str]:
        """Nothing."""
        raise UnavailableError(500, "", "dial tcp 10.0.0.7:10250: connect: connection refused")
        yield ""


def test_a_node_that_is_not_reached_keeps_no_other_log_from_being_read(capsys):
    """Said of that pod, at once."""
    printed(NoKubelet())
    assert capsys.readouterr().err == (
        "s-t0-a1 | (its node does not let it be read: dial tcp 10.0.0.7:10250: connect: connection refused)\n"
    )


def test_an_api_server_that_stays_away_is_an_error(monkeypatch):
    """After two minutes."""
    monkeypatch.setattr(cluster, "_PATIENCE_SECONDS", 0)
    with pytest.raises(UnavailableError):
        printed(BreakingOff(1))
