"""What a running trial shows to Prometheus, on ``/metrics`` of one port (design 5).

The loop writes plain attributes; they are read when somebody asks. It must not know what a score is for. Decided
against: the client library's gauges and counters, which keep a second copy of each number behind a lock and add a
``_created`` series to every counter.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from graphtrial.contract import TrialSpec, metric_names
from graphtrial.training.errors import RefusedError


class Exposition(Collector):
    """A trial's numbers, served until the process exits.

    Attributes:
        steps: Updates done by this attempt and those it resumed from.
        evaluations: Evaluations done, likewise.
        step_seconds: Mean seconds per update since the last evaluation; None before it is known.
        rungs: Scores by evaluation number; once here, a score stays.
        port: The port that answers.
    """

    def __init__(self, spec: TrialSpec) -> None:
        """Start serving, on all interfaces, or on loopback where any free port will do (``metrics_port`` 0).

        Raises:
            RefusedError: If the port is taken, or not for this user.
        """
        self._labels = [spec.search_uid, spec.trial_uid, str(spec.attempt)]
        self.steps = 0
        self.evaluations = 0
        self.step_seconds: float | None = None
        self.rungs: dict[int, float] = {}
        registry = CollectorRegistry()
        registry.register(self)
        address = "0.0.0.0" if spec.metrics_port else "127.0.0.1"  # noqa: S104  a pod is scraped from outside
        try:
            self._server, self._thread = start_http_server(spec.metrics_port, address, registry)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            why = "is in use" if error.errno == errno.EADDRINUSE else "may not be opened by this user"
            raise RefusedError(f"metricsPort: port {spec.metrics_port} {why}; name another, or 0 for any") from None
        self.port = int(self._server.server_port)

    def collect(self) -> Iterator[Metric]:
        """The families of ``metric_names``, as they are now."""
        rungs = GaugeMetricFamily(
            metric_names.RUNG_SCORE, "The score at an evaluation.", labels=metric_names.RUNG_LABELS
        )
        # A copy in one operation: the loop may add a rung while this thread formats.
        for rung, score in list(self.rungs.items()):
            rungs.add_metric([*self._labels, str(rung)], score)
        yield rungs
        for name, text, value in (
            (metric_names.STEPS, "Updates done.", self.steps),
            (metric_names.EVALUATIONS, "Evaluations done.", self.evaluations),
        ):
            counter = CounterMetricFamily(name, text, labels=metric_names.TRIAL_LABELS)
            counter.add_metric(self._labels, value)
            yield counter
        if self.step_seconds is not None:
            gauge = GaugeMetricFamily(
                metric_names.STEP_SECONDS, "Seconds per update.", labels=metric_names.TRIAL_LABELS
            )
            gauge.add_metric(self._labels, self.step_seconds)
            yield gauge

    def close(self) -> None:
        """Stop serving. A trial does not: its port answers as long as its process lives."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
