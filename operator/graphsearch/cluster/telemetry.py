"""What the cluster world tells of itself, to whoever counts and announces it.

The world must not know Prometheus' client library nor how an Event is written; the controller hands both in.
"""

from __future__ import annotations

from typing import Protocol

from graphsearch.api.search_status import TrialCounts
from graphsearch.api.wire import Object


class Telemetry(Protocol):
    """Counts, for the operator's own metrics."""

    def decided(self, decision: str, latency: float | None) -> None:
        """A rung was recorded, ``latency`` seconds after its score was first seen; None where that is not known."""

    def prometheus_failed(self) -> None:
        """Prometheus was asked and did not answer."""

    def search_is(self, namespace: str, name: str, state: str, trials: TrialCounts) -> None:
        """How a search stands."""

    def search_gone(self, namespace: str, name: str) -> None:
        """A search was deleted."""


class Announcer(Protocol):
    """Kubernetes Events, on transitions only."""

    async def event(self, obj: Object, type: str, reason: str, message: str) -> None:
        """Announce a transition of an object; ``type`` is Normal or Warning. It never raises."""
