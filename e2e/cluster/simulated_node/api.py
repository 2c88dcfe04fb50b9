"""The API server as raw JSON over aiohttp: the few verbs that a node needs."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml

Object = dict[str, Any]

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"

_TIMEOUT = aiohttp.ClientTimeout(total=10)
_WATCH_SECONDS = 300
_LONGEST_LINE = 2**21
_LONGEST_PAUSE = 1.0


class UnavailableError(Exception):
    """No answer, or one that says to come again."""


class Api:
    """A connection with the rights of a kubeconfig that has a token."""

    def __init__(self, kubeconfig: Path) -> None:
        content = yaml.safe_load(kubeconfig.read_text())
        cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._server = cluster["server"]
        self._headers = {"Authorization": f"Bearer {user['token']}", "Accept": "application/json"}
        self._tls = ssl.create_default_context(cadata=authority)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            self._server,
            headers=self._headers,
            connector=aiohttp.TCPConnector(ssl=self._tls),
            read_bufsize=_LONGEST_LINE,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def once(
        self, method: str, path: str, body: Object | None = None, content_type: str = "application/json"
    ) -> tuple[int, Object]:
        """One request; status and object.

        Raises:
            UnavailableError: If there is no answer, or 429 or 5xx.
        """
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type}
        try:
            async with self._session.request(method, path, data=data, headers=headers, timeout=_TIMEOUT) as answer:
                text = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnavailableError(str(error)) from error
        if answer.status == 429 or answer.status >= 500:
            raise UnavailableError(f"{answer.status}: {text.decode(errors='replace')}")
        return answer.status, json.loads(text)

    async def until_done(
        self, method: str, path: str, body: Object | None = None, content_type: str = "application/json"
    ) -> tuple[int, Object]:
        """The same, as often as it takes."""
        pause = 0.05
        while True:
            try:
                return await self.once(method, path, body, content_type)
            except UnavailableError:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def watch(self, path: str, selector: str, version: str) -> AsyncIterator[Object]:
        """Events from a resource version on, until the server closes the stream.

        Raises:
            UnavailableError: If it cannot be had from there, or breaks: list again.
        """
        query = {
            "watch": "true",
            "fieldSelector": selector,
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        timeout = aiohttp.ClientTimeout(sock_connect=5, sock_read=_WATCH_SECONDS + 30)
        try:
            async with self._session.get(path, params=query, timeout=timeout) as answer:
                if answer.status != 200:
                    raise UnavailableError(f"watch: {answer.status}")
                async for line in answer.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise UnavailableError(f"watch: {event['object'].get('message')}")
                    yield event
        except (aiohttp.ClientError, TimeoutError, json.JSONDecodeError) as error:
            raise UnavailableError(str(error)) from error
