"""Asks Prometheus for the raw samples of one search, over its HTTP API.

One question per search and poll: an instant query of a range selector gives the samples of the last seconds as they
were scraped, with nothing interpolated and stale markers left out. It must not know what a sample is worth.

While Prometheus does not answer it is asked less and less often, by all searches together, so that none of them
waits for it at every look. Errors::

    PrometheusError
    +-- PrometheusUnavailableError   no connection, no answer in time, 429, 5xx: it may answer later
    +-- PrometheusRefusedError       any other status: question, address or credentials are wrong
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from graphtrial.contract import metric_names

_TRIES = 3
_FIRST_PAUSE_SECONDS = 0.1
"""Before the second try; doubled before the next, and shortened by up to half at random."""
_LONGEST_REST_SECONDS = 10.0
"""For which nothing is asked after questions that were not answered."""
_FIRST_REST_SECONDS = 0.5


class PrometheusError(Exception):
    """Prometheus did not say what it was asked."""


class PrometheusUnavailableError(PrometheusError):
    """No answer, or one that says later."""


class PrometheusRefusedError(PrometheusError):
    """It will not answer this question from this asker."""


@dataclass(frozen=True, slots=True)
class Series:
    """The samples of one series, oldest first."""

    labels: Mapping[str, str]
    """With the metric's name as ``__name__``."""
    values: tuple[float, ...]


class PrometheusReader:
    """One Prometheus, asked over one session; an asynchronous context manager."""

    def __init__(
        self,
        url: str,
        *,
        token_file: str = "",
        username_file: str = "",
        password_file: str = "",
        ca_file: str = "",
        timeout: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Remember how to ask; nothing is opened yet.

        Args:
            url: Of its HTTP API, without ``/api/v1``.
            token_file: Holds a bearer token, read at every question, for tokens are renewed.
            username_file: With ``password_file``: for basic authentication, likewise.
            password_file: See ``username_file``.
            ca_file: Certificates that may have signed an https server's; the system's where it is empty.
            timeout: Seconds for one question, all tries together.
            clock: Monotonic, in seconds.

        Raises:
            ValueError: If the credentials are half there, or of two kinds.
        """
        if bool(username_file) != bool(password_file) or (token_file and username_file):
            raise ValueError("Prometheus: give a token file, or a user name and a password file, or none of them")
        self.url = url.rstrip("/")
        self._token_file = token_file
        self._basic_files = (username_file, password_file)
        self._ca_file = ca_file
        self._timeout = timeout
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._rest = 0.0
        self._asks_again_at = -math.inf
        self._silence = ""

    async def __aenter__(self) -> Self:
        """Open the session.

        Raises:
            PrometheusRefusedError: If ``ca_file`` holds no certificates.
        """
        try:
            tls: ssl.SSLContext | bool = ssl.create_default_context(cafile=self._ca_file) if self._ca_file else True
        except OSError as error:
            message = (
                f"{self._ca_file}: {error.strerror}; it holds the certificates that Prometheus is trusted by, in PEM"
            )
            raise PrometheusRefusedError(message) from None
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        assert self._session is not None
        await self._session.close()

    async def read(
        self, namespace: str, search_uid: str, window_seconds: float, *, evaluations: bool = True
    ) -> list[Series]:
        """Every sample of the last seconds that trainers of a search have exposed; none is no bad sign.

        Args:
            namespace: In which the pods were scraped.
            search_uid: As trainers expose it.
            window_seconds: How far to look back: two scrape intervals, so that one may be missed.
            evaluations: Whether evaluations done are asked for as well as scores.

        Raises:
            PrometheusError: If there is no answer, after ``timeout`` at the latest; at once while it rests.
        """
        if self._clock() < self._asks_again_at:
            raise PrometheusUnavailableError(self._silence)
        try:
            async with asyncio.timeout(self._timeout):
                found = await self._ask(question(namespace, search_uid, window_seconds, evaluations=evaluations))
        except (TimeoutError, PrometheusUnavailableError) as error:
            self._silence = str(error) or f"{self.url}: no answer within {self._timeout:g} s"
            self._rest = min(_LONGEST_REST_SECONDS, max(_FIRST_REST_SECONDS, 2 * self._rest))
            self._asks_again_at = self._clock() + _jittered(self._rest)
            raise PrometheusUnavailableError(self._silence) from None
        self._rest = 0.0
        return found

    async def _ask(self, query: str) -> list[Series]:
        pause = _FIRST_PAUSE_SECONDS
        for _ in range(_TRIES - 1):
            try:
                return await self._ask_once(query)
            except PrometheusUnavailableError:
                await asyncio.sleep(_jittered(pause))
                pause *= 2
        return await self._ask_once(query)

    async def _ask_once(self, query: str) -> list[Series]:
        assert self._session is not None, "used before it was opened"
        address = f"{self.url}/api/v1/query"
        try:
            async with self._session.post(address, data={"query": query}, headers=self._credentials()) as answer:
                status, body = answer.status, await answer.read()
        except (aiohttp.ClientError, OSError) as error:
            raise PrometheusUnavailableError(f"{self.url}: no answer: {str(error) or type(error).__name__}") from None
        if status == 429 or status >= 500:
            raise PrometheusUnavailableError(f"{self.url}: status {status}{_complaint(body)}")
        if status != 200:
            raise PrometheusRefusedError(f"{self.url}: status {status}{_complaint(body)}")
        try:
            return _series(json.loads(body))
        except (ValueError, KeyError, TypeError):
            raise PrometheusRefusedError(f"{self.url}: what answers is no Prometheus; check the address") from None

    def _credentials(self) -> dict[str, str]:
        if self._token_file:
            return {"Authorization": f"Bearer {_read(self._token_file)}"}
        if all(self._basic_files):
            pair = ":".join(map(_read, self._basic_files))
            return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        return {}


def question(namespace: str, search_uid: str, window_seconds: float, *, evaluations: bool = True) -> str:
    """The query: scores by rung, and evaluations done, which every trainer exposes from its first moment on."""
    names = f"{metric_names.RUNG_SCORE}|{metric_names.EVALUATIONS}"
    labels = {"namespace": namespace, "search_uid": search_uid}
    wanted = f'__name__=~"{names}"' if evaluations else f'__name__="{metric_names.RUNG_SCORE}"'
    # A string of JSON is one of PromQL.
    matchers = [wanted, *(f"{name}={json.dumps(value)}" for name, value in labels.items())]
    return f"{{{','.join(matchers)}}}[{round(window_seconds * 1000)}ms]"


def _series(answer: Any) -> list[Series]:
    return [
        Series(found["metric"], tuple(float(value) for _, value in found["values"]))
        for found in answer["data"]["result"]
    ]


def _complaint(body: bytes) -> str:
    """What Prometheus says of a question that it did not answer."""
    try:
        return f": {json.loads(body)['error']}"[:200]
    except (ValueError, KeyError, TypeError):
        return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise PrometheusRefusedError(f"{path}: {error.strerror}; it holds Prometheus' credentials") from None


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.5, 1.0)
