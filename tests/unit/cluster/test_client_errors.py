"""What an answer of the API server means to whoever asked."""

from __future__ import annotations

import asyncio
import json

import pytest

from graphsearch.cluster.client import (
    CONFIG_MAPS,
    NAMESPACES,
    PODS,
    TRIALS,
    ApiError,
    Client,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    NotFoundError,
    UnavailableError,
    kind_of,
)
from graphsearch.cluster.errors import error_of, no_answer


def status(code: int, reason: str, message: str) -> bytes:
    """A Status object, as the API server answers with."""
    return json.dumps({"kind": "Status", "code": code, "reason": reason, "message": message}).encode()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (400, InvalidError),
        (401, ForbiddenError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (408, UnavailableError),
        (409, ConflictError),
        (410, GoneError),
        (413, InvalidError),
        (415, InvalidError),
        (418, ApiError),
        (422, InvalidError),
        (429, UnavailableError),
        (500, UnavailableError),
        (503, UnavailableError),
        (504, UnavailableError),
    ],
)
def test_a_status_becomes_the_error_that_says_what_to_do(code, expected):
    """Each status has one error, and only what passes by itself is an UnavailableError."""
    error = error_of(code, status(code, "SomeReason", "some words"), "GET /api/v1/pods")

    assert type(error) is expected
    assert (error.status, error.reason) == (code, "SomeReason")
    assert str(error) == f"GET /api/v1/pods: {code} SomeReason: some words"


@pytest.mark.parametrize("body", [b"upstream is gone", b"[]", b"{}", b"\xff\xfe", b""])
def test_an_answer_that_is_no_status_keeps_its_words(body):
    """A proxy answers in its own way; what it said stands in the message."""
    error = error_of(502, body, "GET /api/v1/pods")

    assert type(error) is UnavailableError
    assert body.decode(errors="replace") in str(error)


@pytest.mark.parametrize("cause", [TimeoutError(), ConnectionResetError("reset by peer")])
def test_a_connection_that_breaks_is_unavailable(cause):
    """Whatever a connection raises is one error, which names the request and the cause."""
    with (
        pytest.raises(UnavailableError, match=r"GET /x: no answer: (TimeoutError|reset by peer)") as caught,
        no_answer("GET /x"),
    ):
        raise cause

    assert caught.value.status == 0


def test_a_defect_is_no_broken_connection():
    """An error of the program passes through as it is."""
    with pytest.raises(KeyError), no_answer("GET /x"):
        raise KeyError("defect")


def test_paths_of_kinds():
    """Core and named groups, namespaced or not, one object or all, have the API server's own paths."""
    assert TRIALS.path("here", "s-t1", "status") == (
        "/apis/graphsearch.io/v1alpha1/namespaces/here/graphtrials/s-t1/status"
    )
    assert PODS.path("here") == "/api/v1/namespaces/here/pods"
    assert CONFIG_MAPS.path(None) == "/api/v1/configmaps"
    assert NAMESPACES.path("ignored", "here") == "/api/v1/namespaces/here"
    assert PODS.path("a/b", "c?d=e", "log") == "/api/v1/namespaces/a%2Fb/pods/c%3Fd%3De/log"


class Answering:
    """Stands for the connection: gives one answer, whatever is asked, as a proxy in the way may do."""

    def __init__(self, said: bytes) -> None:
        self.status, self.said = 200, said

    async def send(self, *_: object) -> Answering:
        return self

    async def read(self) -> bytes:
        return self.said

    async def __aenter__(self) -> Answering:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("said", [b"<html>", b"[]", b"{}", b"null", b"3"])
def test_an_answer_that_is_no_object_is_none(said):
    """It is tried again like any that did not come, and the message shows it."""
    client = Client(Answering(said))
    with pytest.raises(UnavailableError, match=r"GET /api/v1/pods: what came is no object: b'"):
        asyncio.run(client.list(PODS, None))


def test_only_known_kinds_are_written():
    """An object of a kind that nobody here writes is refused with its name."""
    assert kind_of({"apiVersion": "v1", "kind": "Pod"}) is PODS
    with pytest.raises(ValueError, match="v1 Secret: not a known kind"):
        kind_of({"apiVersion": "v1", "kind": "Secret"})
