"""How Prometheus is asked: again or not, with which credentials, trusting whom."""

from __future__ import annotations

import asyncio
import base64

import pytest
from tests.integration.cluster.stand_ins import Clock, answering, hang, reply, tls

from graphsearch.cluster.prometheus import (
    PrometheusReader,
    PrometheusRefusedError,
    PrometheusUnavailableError,
)

NAMESPACE = "team"
PATIENCE = 30.0
"""Seconds for an answer, where waiting for one is not what a test is about."""
NOTHING = b'{"status":"success","data":{"resultType":"matrix","result":[]}}'


def ask(url, **more):
    """One question; nothing, or the error."""

    async def once():
        async with PrometheusReader(url, timeout=PATIENCE, **more) as reader:
            return await reader.read(NAMESPACE, "u", 2.0)

    return asyncio.run(once())


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
        ask(f"http://127.0.0.1:{port}/")
    assert questions == ["/api/v1/query"] * asked


def test_a_prometheus_that_stumbles_is_asked_again_at_once():
    """One 503 costs a moment and no answer."""
    answers = iter([(503, b"")])

    def answer(handler):
        reply(handler, *next(answers, (200, NOTHING)))

    with answering(answer) as port:
        assert ask(f"http://127.0.0.1:{port}") == []


def test_a_prometheus_that_hangs_is_left_alone_for_a_while():
    """The first question waits for its time; the next looks bring its failure again, and only later a question."""
    questions = []
    clock = Clock()

    def answer(handler):
        questions.append(handler.path)
        hang(handler)

    async def turns(url):
        async with PrometheusReader(url, timeout=1.0, clock=clock) as reader:
            for pause in (0, 0, 1, 0):
                clock.now += pause
                with pytest.raises(PrometheusUnavailableError, match="no answer within 1 s"):
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
        async with PrometheusReader(url, timeout=PATIENCE, token_file=str(token)) as reader:
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
    context, certificate = tls(tmp_path)
    with answering(lambda handler: reply(handler, 200, NOTHING), context) as port:
        url = f"https://127.0.0.1:{port}"
        assert ask(url, ca_file=str(certificate)) == []
        with pytest.raises(PrometheusUnavailableError, match="certificate verify failed"):
            ask(url)
