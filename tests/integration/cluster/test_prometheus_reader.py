"""Scores on their way from trainers' expositions to reports, through a real Prometheus or past it.

The pods are trainers' expositions on ports of this machine; Prometheus is told their namespaces and names, as its
discovery on a cluster would.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import ExitStack

import pytest
from e2e.cluster.processes import free_ports
from e2e.cluster.prometheus_server import running_prometheus
from tests.integration.cluster.stand_ins import Clock, answering, hang, reply
from tests.trials import trial_spec

from graphsearch.api import ConditionStatus, Metrics, MetricsReason, MetricsSource
from graphsearch.api.trainer import Fallback
from graphsearch.cluster import direct
from graphsearch.cluster.pods import LivePod
from graphsearch.cluster.prometheus import (
    PrometheusReader,
    PrometheusRefusedError,
)
from graphsearch.cluster.reading import Reader
from graphsearch.search.actions import Report
from graphtrial.contract import TrialSpec
from graphtrial.training.exposition import Exposition

WINDOW = 10.0
"""Seconds: ten scrape intervals, for a machine that has much to do."""
DEADLINE = 60.0
PATIENCE = 30.0
"""Seconds for an answer of Prometheus or of a pod, where waiting for one is not what a test is about."""
NAMESPACE = "team"
BY_PROMETHEUS = Metrics()
WITHOUT_FALLBACK = Metrics(fallback=Fallback.NONE)
DIRECTLY = Metrics(source=MetricsSource.DIRECT)


class Pods:
    """Trainers of one search, and two that pretend to be."""

    def __init__(self, folder, search_uid):
        self.search_uid = search_uid
        self._folder = folder
        self._exposed = []

    def start(self, index, port, search_uid=""):
        """A trainer's exposition, and the pod that it stands for."""
        own = {"attempt": 1, "metricsPort": port, "searchUid": search_uid or self.search_uid}
        own["trialUid"] = f"{own['searchUid']}-t{index}"
        exposition = Exposition(TrialSpec.model_validate(trial_spec(self._folder, **own)))
        self._exposed.append(exposition)
        pod = LivePod(f"s-t{index}-a1-x", f"uid-{search_uid}{port}", f"127.0.0.1:{port}", "node-1", "image", 0.0)
        return exposition, pod

    def close(self):
        for exposition in self._exposed:
            exposition.close()


@pytest.fixture(scope="module")
def ports():
    """Of two trainers, of a pod in another namespace, and of nobody."""
    return free_ports(4)


@pytest.fixture(scope="module")
def server(_programs, ports, tmp_path_factory):
    """A Prometheus that scrapes the first pod twice and the stranger as what it is."""
    first, second, stranger, nobody = ports

    def job(name, *targets):
        found = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": namespace, "pod": pod}}
            for port, namespace, pod in targets
        ]
        return {"job_name": name, "static_configs": found}

    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [
            job(
                "pod-monitor",
                (first, NAMESPACE, "s-t0-a1-x"),
                (second, NAMESPACE, "s-t1-a1-x"),
                (stranger, "another", "s-t1-a1-x"),
                (nobody, NAMESPACE, "s-t2-a1-x"),
            ),
            job("annotations", (first, NAMESPACE, "s-t0-a1-x")),
        ],
    }
    with running_prometheus(tmp_path_factory.mktemp("prometheus"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    monkeypatch.setattr(direct, "_POD_SECONDS", PATIENCE)
    monkeypatch.setattr(direct, "_ALL_SECONDS", PATIENCE)


@pytest.fixture
def pods(tmp_path, request):
    """Expositions that are gone after the test; each test is a search of its own."""
    started = Pods(tmp_path, request.node.name)
    yield started
    started.close()


def run(turns, *, prometheus, clock=time.monotonic, failed=lambda: None, fallback_after=15.0):
    """Play ``turns(reader)`` with an opened reader."""

    async def play():
        async with (
            PrometheusReader(prometheus, timeout=PATIENCE) as asked,
            Reader(asked, window=WINDOW, fallback_after=fallback_after, failed=failed, clock=clock) as reader,
        ):
            return await turns(reader)

    return asyncio.run(play())


async def until(read, done):
    """Read until the reading says so."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        reading = await read()
        if done(reading):
            return reading
        await asyncio.sleep(0.1)
    raise AssertionError(f"not after {DEADLINE:g} s: {reading}")


def test_scores_come_through_prometheus_once_and_only_from_live_pods(server, ports, pods):
    """Scraped twice, they count once; what a pod of another namespace says in the trial's name does not."""
    first, live_0 = pods.start(0, ports[0])
    second, live_1 = pods.start(1, ports[1])
    stranger, _ = pods.start(1, ports[2])
    first.rungs |= {1: 0.5, 2: math.nan}
    second.rungs[1] = 0.25
    second.evaluations = 1
    stranger.rungs |= {1: 0.99, 2: 0.99}
    live = {(0, 1): live_0, (1, 1): live_1}

    async def turns(reader):
        async def read():
            return await reader.read(NAMESPACE, pods.search_uid, live, metrics=WITHOUT_FALLBACK)

        # Evaluations are not asked for at every look.
        return await until(read, lambda reading: len(reading.reports) == 3 and any(reading.evaluations.values()))

    reading = run(turns, prometheus=server.url)
    scores = {(report.index, report.evaluation): report.score for report in reading.reports}
    assert (scores[0, 1], math.isnan(scores[0, 2]), scores[1, 1]) == (0.5, True, 0.25)
    assert {report.source for report in reading.reports} == {"Prometheus"}
    assert (reading.status, reading.reason) == (ConditionStatus.TRUE, MetricsReason.PROMETHEUS)
    assert (reading.conflicts, reading.evaluations) == ((), {0: 0, 1: 1})


def test_an_empty_answer_is_unknown(server, ports, pods):
    """Nothing of a search that nobody scrapes is no bad sign."""
    _, live = pods.start(7, free_ports(1)[0])

    async def turns(reader):
        return await reader.read(NAMESPACE, "nobody", {(7, 1): live}, metrics=WITHOUT_FALLBACK)

    reading = run(turns, prometheus=server.url)
    assert (reading.reports, reading.status) == ((), ConditionStatus.UNKNOWN)


def test_a_pod_that_prometheus_does_not_show_is_read_itself(server, ports, pods):
    """After three scrape intervals, and that pod alone; another one is not asked."""
    shown, live_0 = pods.start(0, ports[0])
    hidden, live_1 = pods.start(1, free_ports(1)[0])
    shown.rungs[1], hidden.rungs[1] = 0.5, 0.25
    live = {(0, 1): live_0, (1, 1): live_1}
    clock = Clock()

    async def turns(reader):
        async def read():
            return await reader.read(NAMESPACE, pods.search_uid, live, metrics=BY_PROMETHEUS)

        before = await until(read, lambda reading: reading.reports)
        clock.now += 16
        return before, await read()

    before, after = run(turns, prometheus=server.url, clock=clock)
    assert before.reports == (Report(0, 1, 0.5, 1, "Prometheus"),)
    assert after.reports == (Report(0, 1, 0.5, 1, "Prometheus"), Report(1, 1, 0.25, 1, "Direct"))
    assert (after.status, after.reason) == (ConditionStatus.TRUE, MetricsReason.DIRECT)
    assert after.message == "Prometheus does not show every pod"


def test_while_prometheus_is_down_pods_are_read_themselves_and_then_not_any_more(server, ports, pods):
    """Weak trials are stopped all the same; each failure is counted."""
    exposition, pod = pods.start(0, ports[0])
    exposition.rungs[1] = 0.5
    failures = []
    clock = Clock()

    async def turns(reader):
        async def read():
            return await reader.read(NAMESPACE, pods.search_uid, {(0, 1): pod}, metrics=BY_PROMETHEUS)

        server.stop()
        try:
            at_first = await read()
            clock.now += 16
            fallen_back = await read()
        finally:
            server.start()
        counted = len(failures)
        clock.now += 16
        back = await until(read, lambda reading: {r.source for r in reading.reports} == {"Prometheus"})
        return at_first, fallen_back, counted, back

    at_first, fallen_back, counted, back = run(
        turns, prometheus=server.url, clock=clock, failed=lambda: failures.append(1)
    )
    assert (at_first.reports, at_first.status) == ((), ConditionStatus.UNKNOWN)
    assert (fallen_back.reports, fallen_back.reason) == ((Report(0, 1, 0.5, 1, "Direct"),), MetricsReason.DIRECT)
    assert fallen_back.message.startswith(f"{server.url}: no answer: ")
    assert counted == 2
    assert (back.status, back.reason, back.message) == (ConditionStatus.TRUE, MetricsReason.PROMETHEUS, "")


def test_without_a_fallback_nothing_is_read_while_prometheus_is_down(pods):
    """The search said so; its scores come when its pods end."""
    exposition, pod = pods.start(0, free_ports(1)[0])
    exposition.rungs[1] = 0.5
    clock = Clock()

    async def turns(reader):
        live = {(0, 1): pod}
        await reader.read(NAMESPACE, pods.search_uid, live, metrics=WITHOUT_FALLBACK)
        clock.now += 200
        return await reader.read(NAMESPACE, pods.search_uid, live, metrics=WITHOUT_FALLBACK)

    reading = run(turns, prometheus="http://127.0.0.1:1", clock=clock)
    assert (reading.reports, reading.status, reading.reason) == ((), ConditionStatus.FALSE, MetricsReason.NO_ANSWER)
    assert reading.message.endswith("; their scores come when they end (spec.metrics.fallback is None)")


def test_a_search_may_be_read_directly_from_the_start(pods):
    """No Prometheus is asked, and a pod not more than once a second."""
    exposition, pod = pods.start(0, free_ports(1)[0])
    exposition.rungs[1] = math.inf
    clock = Clock()

    async def turns(reader):
        live = {(0, 1): pod}
        readings = [await reader.read(NAMESPACE, pods.search_uid, live, metrics=DIRECTLY) for _ in range(2)]
        clock.now += 1
        return [*readings, await reader.read(NAMESPACE, pods.search_uid, live, metrics=DIRECTLY)]

    failures = []
    readings = run(turns, prometheus="http://127.0.0.1:1", clock=clock, failed=lambda: failures.append(1))
    assert [len(reading.reports) for reading in readings] == [1, 0, 1]
    assert [reading.reason for reading in readings] == [MetricsReason.DIRECT] * 3
    assert [reading.status for reading in readings] == [ConditionStatus.TRUE] * 3
    assert failures == []


def test_an_installation_without_prometheus_reads_every_pod_itself(pods):
    """As the chart's values say; the condition tells why."""
    exposition, pod = pods.start(0, free_ports(1)[0])
    exposition.rungs[1] = 0.5

    async def turn():
        async with Reader(None, window=WINDOW, fallback_after=15, failed=lambda: None) as reader:
            return await reader.read(NAMESPACE, pods.search_uid, {(0, 1): pod}, metrics=BY_PROMETHEUS)

    reading = asyncio.run(turn())
    assert reading.reports == (Report(0, 1, 0.5, 1, "Direct"),)
    assert (reading.reason, reading.message) == (MetricsReason.DIRECT, "this installation names no Prometheus")


def test_pods_that_do_not_answer_cost_no_other_its_scores(pods, monkeypatch):
    """One that hangs, one that is gone, one that is no trainer."""
    monkeypatch.setattr(direct, "_POD_SECONDS", 3.0)
    exposition, good = pods.start(0, free_ports(1)[0])
    exposition.rungs[1] = 0.5
    with ExitStack() as servers:
        silent = servers.enter_context(answering(hang))
        page = servers.enter_context(answering(lambda handler: reply(handler, 200, b"<html>")))
        endless = servers.enter_context(answering(lambda handler: reply(handler, 200, b"#" * (2 << 20))))
        others = [LivePod(f"p{n}", f"u{n}", f"127.0.0.1:{n}", "", "", 0.0) for n in (silent, page, endless, 1)]
        live = {(0, 1): good} | {(n, 1): pod for n, pod in enumerate(others, 1)}

        async def turns(reader):
            return await reader.read(NAMESPACE, pods.search_uid, live, metrics=DIRECTLY)

        reading = run(turns, prometheus="http://127.0.0.1:1")
    assert reading.reports == (Report(0, 1, 0.5, 1, "Direct"),)


def test_a_question_that_prometheus_refuses_is_not_asked_again(server):
    """It would refuse it again; its own words say why."""

    async def once():
        async with PrometheusReader(server.url, timeout=PATIENCE) as reader:
            return await reader.read(NAMESPACE, "u", 0.0)

    with pytest.raises(PrometheusRefusedError, match=r"status 400: .*duration must be greater than 0"):
        asyncio.run(once())
