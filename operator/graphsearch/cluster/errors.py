"""What the API server answers instead of what it was asked for.

Who calls knows what a second try is worth; only an UnavailableError is worth the same one again::

    ApiError
    +-- NotFoundError       404
    +-- ConflictError       409: somebody else has written, or the name is taken
    +-- ForbiddenError      401, 403
    +-- InvalidError        400, 413, 415, 422: the API server refuses the object
    +-- GoneError           410: the place in a paged list has expired; list again
    +-- UnavailableError    408, 429, 5xx, no connection, no answer in time
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp


class ApiError(Exception):
    """The API server did not do what it was asked.

    Attributes:
        status: The HTTP status; 0 where there was no answer.
        reason: The API server's word for it, such as ``AlreadyExists``.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class NotFoundError(ApiError):
    """There is no such object, or no such kind."""


class ConflictError(ApiError):
    """Somebody else has written in between, or the name is taken."""


class ForbiddenError(ApiError):
    """This account may not do that, or is not known."""


class InvalidError(ApiError):
    """The API server refuses the object; the same one will be refused again."""


class GoneError(ApiError):
    """The place in a paged list has expired."""


class UnavailableError(ApiError):
    """No answer, or one that says later."""


_ERRORS = {
    400: InvalidError,
    401: ForbiddenError,
    403: ForbiddenError,
    404: NotFoundError,
    408: UnavailableError,
    409: ConflictError,
    410: GoneError,
    413: InvalidError,
    415: InvalidError,
    422: InvalidError,
    429: UnavailableError,
}


def error_of(status: int, body: bytes, request: str) -> ApiError:
    """The error that an answer stands for.

    Args:
        status: The HTTP status, 300 or more.
        body: A Status object, or whatever a proxy has said.
        request: What was asked, for the message: ``PATCH /api/v1/...``.
    """
    reason, message = "", body[:500].decode(errors="replace").strip()
    try:
        said = json.loads(body)
        reason, message = str(said.get("reason", "")), str(said["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    kind = _ERRORS.get(status, UnavailableError if status >= 500 else ApiError)
    return kind(status, reason, f"{request}: {status} {reason or 'no reason given'}: {message}")


@contextmanager
def no_answer(request: str) -> Iterator[None]:
    """Turn what a connection may raise into UnavailableError."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        said = str(error) or type(error).__name__
        raise UnavailableError(0, "NoAnswer", f"{request}: no answer: {said}") from error
