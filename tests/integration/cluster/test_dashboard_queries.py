"""Every query of the dashboards, asked of a real Prometheus that scrapes what operator and trainers really expose."""

from __future__ import annotations

import json
import threading
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from e2e.cluster.prometheus_server import running_prometheus
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from tests.integration.cluster.installation import wait_for

from graphsearch.api.search_status import TrialCounts
from graphsearch.controller.loops import Result
from graphsearch.controller.metrics import Metrics
from graphtrial.contract import metric_names

ROOT = Path(__file__).parents[3]
CHOSEN = {"$namespace": "lab", "$search": "digits", "$trial": "digits-t0", "$__rate_interval": "10s"}
QUERIES = [
    pytest.param(target["expr"], id=f"{path.stem}: {panel['title']} {target['refId']}")
    for path in sorted((ROOT / "charts/graphsearch/dashboards").glob("*.json"))
    for panel in json.loads(path.read_text())["panels"]
    for target in panel["targets"]
]


class _Exposing(BaseHTTPRequestHandler):
    """Answers each path with what the server's ``parts`` hold for it."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(self.server.parts[self.path]())  # type: ignore[attr-defined]

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep the test's output clean."""


def an_operator() -> Metrics:
    """One that has looked at a search and decided."""
    metrics = Metrics()
    metrics.turn_ended(Result.SUCCESS, 0.02)
    metrics.decided("Stop", 0.4)
    metrics.requested("PATCH", "GraphTrial", 200)
    metrics.search_is("lab", "digits", "Searching", TrialCounts(created=3, running=2, stopped=1))
    return metrics


def a_trainer() -> CollectorRegistry:
    """The families of ``metric_names``, as a running trial shows them."""
    registry = CollectorRegistry()
    of_trial = {"search_uid": "u", "trial_uid": "u-t0", "attempt": "1"}
    for name in (metric_names.STEPS, metric_names.EVALUATIONS):
        Counter(name, "Counted.", metric_names.TRIAL_LABELS, registry=registry).labels(**of_trial).inc()
    Gauge(metric_names.STEP_SECONDS, "A mean.", metric_names.TRIAL_LABELS, registry=registry).labels(**of_trial).set(
        0.1
    )
    score = Gauge(metric_names.RUNG_SCORE, "A score.", metric_names.RUNG_LABELS, registry=registry)
    score.labels(**of_trial, rung="1").set(0.5)
    return registry


def a_kubelet() -> CollectorRegistry:
    """Its figure of the trainer's container."""
    registry = CollectorRegistry()
    gauge = Gauge("container_memory_working_set_bytes", "Memory.", ["container"], registry=registry)
    gauge.labels("trainer").set(1e8)
    return registry


@pytest.fixture(scope="module")
def ask(_programs, tmp_path_factory):
    """Asks a Prometheus that has scraped an operator, a trainer and a kubelet more than once."""
    operator, trainer, kubelet = an_operator(), a_trainer(), a_kubelet()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Exposing)
    server.parts = {  # type: ignore[attr-defined]
        "/operator": operator.exposition,
        "/trainer": lambda: generate_latest(trainer),
        "/kubelet": lambda: generate_latest(kubelet),
    }
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pod = {"namespace": "lab", "pod": "digits-t0-a1-x7k9q"}
    labels = {"/operator": {"namespace": "graphsearch", "pod": "operator-0"}, "/trainer": pod, "/kubelet": pod}
    address = f"127.0.0.1:{server.server_port}"
    jobs = [
        {
            "job_name": path.strip("/"),
            "metrics_path": path,
            "scrape_interval": "1s",
            "static_configs": [{"targets": [address], "labels": of}],
        }
        for path, of in labels.items()
    ]
    with running_prometheus(tmp_path_factory.mktemp("dashboards"), {"scrape_configs": jobs}) as prometheus:

        def asked(query: str) -> list[dict]:
            body = urllib.parse.urlencode({"query": query}).encode()
            with urllib.request.urlopen(f"{prometheus.url}/api/v1/query", body, timeout=10) as answer:
                return json.load(answer)["data"]["result"]

        wait_for(lambda: len(asked("count_over_time(up[1m]) > 2")) == len(jobs))
        yield asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("query", QUERIES)
def test_a_panel_shows_something(ask, query):
    """It is valid, and its names and labels are those that are exposed."""
    for variable, value in CHOSEN.items():
        query = query.replace(variable, value)
    assert ask(query)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "charts/graphsearch/dashboards").glob("*.json")), ids=lambda path: path.stem
)
def test_variables_offer_something(ask, path):
    """Each choice lists the values of a label that series really have."""
    for variable in json.loads(path.read_text())["templating"]["list"]:
        if variable["type"] == "query":
            series, label = variable["query"].removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
            found = ask(f"count by ({label}) ({series.replace('$namespace', 'lab')})")
            assert all(sample["metric"].get(label) for sample in found)
            assert found
