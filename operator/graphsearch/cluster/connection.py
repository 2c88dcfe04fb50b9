"""The way to the API server: where it is, who we are, and the one session (design 6).

Decided against: one client per request, each of which builds its own TLS context and leaks memory.
"""

from __future__ import annotations

import asyncio
import os
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from graphsearch.api.wire import Object
from graphsearch.cluster.client_library import Configuration, RESTClientObject
from graphsearch.cluster.client_library import config as kubernetes_config

REQUEST_SECONDS = 30.0
"""After which a request without an answer counts as failed."""
_LONGEST_LINE = 1 << 21
"""Bytes, as the library has it."""
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ClusterConfigError(Exception):
    """There is no way to a cluster from here: no kubeconfig, no service account, or a broken one."""


class Connection:
    """An address, credentials, and the session to it."""

    def __init__(self, kubeconfig: str | None, context: str | None, namespace: str, settings: Configuration) -> None:
        self.namespace = namespace
        self.settings = settings
        """The library's: host, certificates, token."""
        self._kubeconfig = kubeconfig
        self._context = context
        self._rest = _session(settings)
        self._renewing = asyncio.Lock()

    @classmethod
    async def open(cls, kubeconfig: str | None = None, context: str | None = None) -> Connection:
        """Read where the cluster is and who we are, and open a session.

        Raises:
            ClusterConfigError: If there is no way to a cluster.
        """
        settings, namespace = await _load(kubeconfig, context)
        return cls(kubeconfig, context, namespace, settings)

    async def close(self) -> None:
        """Close the session."""
        await self._rest.close()

    async def authorization(self) -> str:
        """The header that says who we are; empty where a certificate does."""
        return str(await self.settings.get_api_key_with_prefix("BearerToken") or "")

    async def renew(self, refused: str) -> None:
        """Read the credentials anew, unless somebody has done so since ``refused`` was in use."""
        async with self._renewing:
            if await self.authorization() == refused:
                fresh, _ = await _load(self._kubeconfig, self._context)
                self.settings.api_key = fresh.api_key
                self.settings.refresh_api_key_hook = fresh.refresh_api_key_hook

    async def send(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        timeout: aiohttp.ClientTimeout | float = REQUEST_SECONDS,
    ) -> aiohttp.ClientResponse:
        """Ask, and ask once more with fresh credentials if the ones in use are not accepted any more."""
        authorization = await self.authorization()
        response = await self._send(verb, path, query, body, content_type, timeout, authorization)
        if response.status != 401:
            return response
        response.release()
        await self.renew(authorization)
        authorization = await self.authorization()
        return await self._send(verb, path, query, body, content_type, timeout, authorization)

    async def _send(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Object | None,
        content_type: str,
        timeout: aiohttp.ClientTimeout | float,
        authorization: str,
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        if authorization:
            headers["Authorization"] = authorization
        response: aiohttp.ClientResponse = await self._rest.request(
            verb,
            self.settings.host + path,
            query_params=query,
            headers=headers,
            body=body,
            _preload_content=False,
            _request_timeout=timeout,
        )
        return response


def _session(settings: Configuration) -> RESTClientObject:
    """The library's own, which looks for proxies only where there are any.

    It would have two threads read the environment and ``~/.netrc`` at every request, which takes longer than the
    request itself.
    """
    rest = RESTClientObject(settings)
    if not urllib.request.getproxies():
        connector = rest.pool_manager.connector
        rest.pool_manager.detach()
        rest.pool_manager = aiohttp.ClientSession(connector=connector, read_bufsize=_LONGEST_LINE)
    return rest


async def _load(kubeconfig: str | None, context: str | None) -> tuple[Configuration, str]:
    """Address and credentials, and the namespace that goes without saying."""
    settings = Configuration()
    path = kubeconfig or os.environ.get("KUBECONFIG") or ""
    try:
        if not path and context is None and (_SERVICE_ACCOUNT / "token").exists():
            kubernetes_config.load_incluster_config(client_configuration=settings)
            return settings, (_SERVICE_ACCOUNT / "namespace").read_text().strip()
        path = path or str(Path.home() / ".kube" / "config")
        if not any(Path(each).expanduser().exists() for each in path.split(os.pathsep) if each):
            raise ClusterConfigError(f"no kubeconfig at {path}, and this is no pod with a service account")
        # Written back it would lose comments and order, and the file may be read-only.
        loader = await kubernetes_config.load_kube_config(path, context, settings, persist_config=False)
        current: dict[str, Any] = loader.current_context["context"]
        return settings, current.get("namespace") or "default"
    except (kubernetes_config.ConfigException, yaml.YAMLError, OSError, KeyError, TypeError, AttributeError) as error:
        raise ClusterConfigError(f"cannot read the way to the cluster from {path or 'the pod'}: {error}") from error
