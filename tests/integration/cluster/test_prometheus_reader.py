"""Scores on their way from trainers' expositions to reports, through a real Prometheus or past it.

The pods are trainers' expositions on ports of this machine; Prometheus is told their namespaces and names, as its
discovery on a cluster would.
"""

from __future__ import annotations

import asyncio
import base64
import http.server
import math
import ssl
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest
from e2e.cluster.processes import free_ports
from e2e.cluster.prometheus_server import running_prometheus
from tests.trials import trial_spec

from graphsearch.api import ConditionStatus, Metrics, MetricsReason, MetricsSource
from graphsearch.api.trainer import Fallback
from graphsearch.cluster.pods import LivePod
from graphsearch.cluster.prometheus import (
    PrometheusReader,
    PrometheusRefusedError,
    PrometheusUnavailableError,
)
from graphsearch.cluster.reading import Reader
from graphsearch.search.actions import Report
from graphtrial.contract import TrialSpec
from graphtrial.training.exposition import Exposition

WINDOW = 10.0
"""Seconds: ten scrape intervals, for a machine that has much to do."""
DEADLINE = 60.0
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


@pytest.fixture
def pods(tmp_path, request):
    """Expositions that are gone after the test; each test is a search of its own."""
    started = Pods(tmp_path, request.node.name)
    yield started
    started.close()


class Clock:
    """A clock that a test sets on."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def run(turns, *, prometheus, clock=time.monotonic, failed=lambda: None, fallback_after=15.0):
    """Play ``turns(reader)`` with an opened reader."""

    async def play():
        async with (
            PrometheusReader(prometheus) as asked,
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


def test_pods_that_do_not_answer_cost_no_other_its_scores(pods):
    """One that hangs, one that is gone, one that is no trainer."""
    exposition, good = pods.start(0, free_ports(1)[0])
    exposition.rungs[1] = 0.5
    with ExitStack() as servers:
        silent = servers.enter_context(answering(lambda _: time.sleep(3)))
        page = servers.enter_context(answering(lambda handler: reply(handler, 200, b"<html>")))
        endless = servers.enter_context(answering(lambda handler: reply(handler, 200, b"#" * (2 << 20))))
        others = [LivePod(f"p{n}", f"u{n}", f"127.0.0.1:{n}", "", "", 0.0) for n in (silent, page, endless, 1)]
        live = {(0, 1): good} | {(n, 1): pod for n, pod in enumerate(others, 1)}

        async def turns(reader):
            return await reader.read(NAMESPACE, pods.search_uid, live, metrics=DIRECTLY)

        reading = run(turns, prometheus="http://127.0.0.1:1")
    assert reading.reports == (Report(0, 1, 0.5, 1, "Direct"),)


@contextmanager
def answering(answer, context=None):
    """A web server of one answer; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer(self)

        def do_POST(self):
            answer(self)

        def log_message(self, *arguments):
            """Nothing: tests are quiet."""

        def handle(self):
            try:
                super().handle()
            except OSError:
                """Whoever asked has gone."""

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def reply(handler, status, body):
    """Send an answer."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


NOTHING = b'{"status":"success","data":{"resultType":"matrix","result":[]}}'


def ask(url, **more):
    """One question; nothing, or the error."""

    async def once():
        async with PrometheusReader(url, **more) as reader:
            return await reader.read(NAMESPACE, "u", 2.0)

    return asyncio.run(once())


def test_a_question_that_prometheus_refuses_is_not_asked_again(server):
    """It would refuse it again; its own words say why."""

    async def once():
        async with PrometheusReader(server.url) as reader:
            return await reader.read(NAMESPACE, "u", 0.0)

    with pytest.raises(PrometheusRefusedError, match=r"status 400: .*duration must be greater than 0"):
        asyncio.run(once())


@pytest.mark.parametrize(
    ("status", "body", "error", "asked"),
    [
        pytest.param(503, b'{"status":"error","error":"busy"}', PrometheusUnavailableError, 3, id="busy"),
        pytest.param(429, b"slow down", PrometheusUnavailableError, 3, id="too many"),
        pytest.param(401, b"who are you", PrometheusRefusedError, 1, id="credentials"),
        pytest.param(404, b"", PrometheusRefusedError, 1, id="address"),
        pytest.param(200, b"<html>welcome</html>", PrometheusRefusedError, 1, id="no Prometheus"),
        pytest.param(200, b'{"status":"success"}', PrometheusRefusedError, 1, id="no matrix"),
    ],
)
def test_only_what_may_change_is_tried_again(status, body, error, asked):
    """Three times with pauses, all within one question."""
    questions = []

    def answer(handler):
        questions.append(handler.path)
        reply(handler, status, body)

    with answering(answer) as port, pytest.raises(error):
        ask(f"http://127.0.0.1:{port}/", timeout=30)
    assert questions == ["/api/v1/query"] * asked


def test_a_prometheus_that_stumbles_is_asked_again_at_once():
    """One 503 costs a moment and no answer."""
    answers = iter([(503, b"")])

    def answer(handler):
        reply(handler, *next(answers, (200, NOTHING)))

    with answering(answer) as port:
        assert ask(f"http://127.0.0.1:{port}", timeout=30) == []


def test_a_prometheus_that_hangs_is_left_alone_for_a_while():
    """The first question waits for its time; the next looks bring its failure again, and only later a question."""
    questions = []
    clock = Clock()

    def answer(handler):
        questions.append(handler.path)
        time.sleep(2)

    async def turns(url):
        async with PrometheusReader(url, timeout=0.2, clock=clock) as reader:
            for pause in (0, 0, 1, 0):
                clock.now += pause
                with pytest.raises(PrometheusUnavailableError, match=r"no answer within 0\.2 s"):
                    await reader.read(NAMESPACE, "u", 2.0)

    with answering(answer) as port:
        asyncio.run(turns(f"http://127.0.0.1:{port}"))
    assert questions == ["/api/v1/query"] * 2


def test_credentials_are_read_from_their_files_at_every_question(tmp_path):
    """Tokens are renewed in place."""
    given = []

    def answer(handler):
        given.append(handler.headers["Authorization"])
        reply(handler, 200, NOTHING)

    token, user, password = (tmp_path / name for name in ("token", "user", "password"))
    user.write_text("reader\n")
    password.write_text("secret\n")

    async def renewed(url):
        async with PrometheusReader(url, token_file=str(token)) as reader:
            for text in ("first\n", "second\n"):
                token.write_text(text)
                await reader.read(NAMESPACE, "u", 2.0)

    with answering(answer) as port:
        url = f"http://127.0.0.1:{port}"
        asyncio.run(renewed(url))
        ask(url, username_file=str(user), password_file=str(password))
    basic = base64.b64encode(b"reader:secret").decode()
    assert given == ["Bearer first", "Bearer second", f"Basic {basic}"]


def test_a_token_that_is_not_there_is_named(tmp_path):
    """Nothing is asked without it."""
    missing = tmp_path / "token"
    with pytest.raises(PrometheusRefusedError, match=f"^{missing}: No such file or directory"):
        ask("http://127.0.0.1:1", token_file=str(missing))


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_a_file_without_certificates_is_named(tmp_path, text):
    """Before anything is asked."""
    authority = tmp_path / "ca.crt"
    if text:
        authority.write_text(text)
    with pytest.raises(PrometheusRefusedError, match=f"^{authority}: .*it holds the certificates"):
        ask("https://127.0.0.1:1", ca_file=str(authority))


def test_a_server_is_trusted_by_the_authority_that_is_given(tmp_path):
    """And by no other."""
    certificate, key = tmp_path / "ca.crt", tmp_path / "ca.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"),
            *("-out", str(certificate), "-keyout", str(key)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with answering(lambda handler: reply(handler, 200, NOTHING), context) as port:
        url = f"https://127.0.0.1:{port}"
        assert ask(url, ca_file=str(certificate), timeout=30) == []
        with pytest.raises(PrometheusUnavailableError, match="certificate verify failed"):
            ask(url, timeout=30)
