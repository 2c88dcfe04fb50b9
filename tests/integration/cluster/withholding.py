"""Stands between an operator and the API server, and lets no watch of some kinds say anything.

The watch is opened and stays open, as one does whose events are lost on the way; everything else passes.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import yaml
from aiohttp import web
from e2e.cluster.processes import free_ports

_NOT_PASSED_ON = frozenset({"host", "transfer-encoding", "content-length", "content-encoding"})


@contextmanager
def withholding_watches(kubeconfig: Path, folder: Path, kinds: Collection[str]) -> Iterator[Path]:
    """A kubeconfig whose watches of these kinds (``jobs``) bring nothing."""
    content = yaml.safe_load(kubeconfig.read_text())
    cluster = content["clusters"][0]["cluster"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    [port] = free_ports(1)
    proxy = _Proxy(cluster["server"], ssl.create_default_context(cadata=authority), kinds)
    content["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{port}"}
    path = folder / "withholding.kubeconfig"
    path.write_text(yaml.safe_dump(content))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(proxy.start(port), loop).result(30)
    try:
        yield path
    finally:
        asyncio.run_coroutine_threadsafe(proxy.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


class _Proxy:
    def __init__(self, server: str, tls: ssl.SSLContext, kinds: Collection[str]) -> None:
        self._server, self._tls, self._kinds = server, tls, kinds

    async def start(self, port: int) -> None:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout())
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{path:.*}", self._pass_on)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()

    async def stop(self) -> None:
        await self._session.close()
        await self._runner.cleanup()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") == "true" and request.path.rsplit("/", 1)[-1] in self._kinds:
            silent = web.StreamResponse(headers={"Content-Type": "application/json"})
            await silent.prepare(request)
            await asyncio.Event().wait()
        try:
            return await self._passed_on(request)
        except (ConnectionError, aiohttp.ClientError) as error:
            raise web.HTTPBadGateway from error

    async def _passed_on(self, request: web.Request) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _NOT_PASSED_ON}
        url, body = self._server + request.path_qs, await request.read() or None
        async with self._session.request(request.method, url, data=body, headers=headers) as there:
            kept = {name: value for name, value in there.headers.items() if name.lower() not in _NOT_PASSED_ON}
            answer = web.StreamResponse(status=there.status, headers=kept)
            await answer.prepare(request)
            async for chunk in there.content.iter_any():
                await answer.write(chunk)
            return answer
