"""The operator's own metrics, named after controller-runtime's where it has the same.

No label names a trial: a search may have thousands. Labels that name a search go when it goes. Decided against: the
client library's global registry, which outlives a process's parts in tests.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from graphsearch.api.search_status import TrialCounts
from graphsearch.controller.loops import Result

_P = "graphsearch_operator"
_STATES = ("running", "succeeded", "stopped", "failed", "diverged", "cancelled")
_WRITES = ("POST", "PUT", "PATCH", "DELETE")
_TURN_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_DECISION_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30)


class Metrics:
    """All of them, in a registry of their own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._turns = Counter(f"{_P}_turns", "Looks at a search, by how they ended.", ["result"], registry=registry)
        self._turn_seconds = Histogram(
            f"{_P}_turn_seconds", "How long a turn took.", registry=registry, buckets=_TURN_BUCKETS
        )
        self._decisions = Counter(
            f"{_P}_decisions", "Rungs that were recorded, by what was decided.", ["decision"], registry=registry
        )
        self._decision_seconds = Histogram(
            f"{_P}_decision_seconds",
            "From when a score was first seen until the decision stands in the trial's status.",
            registry=registry,
            buckets=_DECISION_BUCKETS,
        )
        self._prometheus_failures = Counter(
            f"{_P}_prometheus_failures", "Questions to Prometheus without an answer.", registry=registry
        )
        self._requests = Counter(
            f"{_P}_api_requests", "Requests to the API server.", ["verb", "kind", "code"], registry=registry
        )
        self._writes = Counter(
            f"{_P}_api_writes", "Requests to the API server that write.", ["kind"], registry=registry
        )
        self._searches = Gauge(f"{_P}_searches", "Searches by state.", ["state"], registry=registry)
        self._trials = Gauge(
            f"{_P}_search_trials",
            "Trials of a search by what became of them; running: attempts of any purpose that are open.",
            ["search_namespace", "search", "state"],
            registry=registry,
        )
        self._queue = Gauge(f"{_P}_queue_depth", "Searches that wait for a turn.", registry=registry)
        self._running = Gauge(f"{_P}_turns_running", "Turns that are being taken.", registry=registry)
        self._longest = Gauge(
            f"{_P}_longest_running_turn_seconds", "Of the turns that are being taken.", registry=registry
        )
        self._last_turn = Gauge(
            f"{_P}_last_turn_timestamp_seconds",
            "When the loop last had no search waiting for, or in, its turn.",
            registry=registry,
        )
        self._lease_held = Gauge(f"{_P}_lease_held", "1 while this process may write.", registry=registry)
        self._left_out = Gauge(
            f"{_P}_namespaces_left_out", "Namespaces to watch that this account is not let into.", registry=registry
        )
        self._ready = Gauge(
            f"{_P}_ready", "1 once all that is to be looked at has been listed and is watched.", registry=registry
        )
        self._states: dict[tuple[str, str], str] = {}
        for result in Result:
            self._turns.labels(result.value)
        self.stand_by(lambda: False, lambda: False)

    def exposition(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)

    def stand_by(self, holds_lease: Callable[[], bool], works: Callable[[], bool]) -> None:
        """Show a process that takes no turns yet.

        Args:
            holds_lease: Whether it may write.
            works: Whether all that it is to look at has been listed and is watched.
        """
        self._last_turn.set_function(time.time)
        self._lease_held.set_function(holds_lease)
        self._ready.set_function(works)

    def show_loops(
        self,
        *,
        waiting: Callable[[], int],
        running: Callable[[], int],
        longest: Callable[[], float],
        stalled: Callable[[], float],
    ) -> None:
        """Show the loops as they are when somebody asks.

        Args:
            waiting: Searches whose turn is due.
            running: Turns that are being taken.
            longest: Seconds of the longest of these.
            stalled: Seconds that the slowest search has been waiting for, or in, its turn.
        """
        self._queue.set_function(waiting)
        self._running.set_function(running)
        self._longest.set_function(longest)
        self._last_turn.set_function(lambda: time.time() - stalled())

    def show_left_out(self, count: Callable[[], int]) -> None:
        """Show how many namespaces are left out when somebody asks."""
        self._left_out.set_function(count)

    def turn_ended(self, result: Result, seconds: float) -> None:
        """A turn was taken."""
        self._turns.labels(result.value).inc()
        self._turn_seconds.observe(seconds)

    def requested(self, verb: str, kind: str, status: int) -> None:
        """The API server was asked; ``status`` 0: it did not answer."""
        self._requests.labels(verb, kind, str(status or "none")).inc()
        if verb in _WRITES:
            self._writes.labels(kind).inc()

    def decided(self, decision: str, latency: float | None) -> None:
        """A rung was recorded, ``latency`` seconds after its score was first seen; None where that is not known."""
        self._decisions.labels(decision).inc()
        if latency is not None:
            self._decision_seconds.observe(latency)

    def prometheus_failed(self) -> None:
        """Prometheus was asked and did not answer."""
        self._prometheus_failures.inc()

    def search_is(self, namespace: str, name: str, state: str, trials: TrialCounts) -> None:
        """How a search stands."""
        self._states[namespace, name] = state
        self._count_states()
        for each in _STATES:
            self._trials.labels(namespace, name, each).set(getattr(trials, each))

    def search_gone(self, namespace: str, name: str) -> None:
        """A search was deleted."""
        if self._states.pop((namespace, name), None) is None:
            return
        self._count_states()
        for each in _STATES:
            self._trials.remove(namespace, name, each)

    def _count_states(self) -> None:
        self._searches.clear()
        for state, count in Tally(self._states.values()).items():
            self._searches.labels(state).set(count)
