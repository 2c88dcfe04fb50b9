"""What the kubelet and Prometheus ask of the process: /healthz, /readyz and /metrics on a port of its own.

*Live*: no search has been waiting for, or in, its turn for longer than ``STALLED_SECONDS``; that the answer comes at
all shows that the event loop turns. *Ready*: the ledgers are filled and turns are taken, or another operator holds
the Lease and this one would take over. A standby must be ready: otherwise a rolling upgrade would wait for it, and it
for the operator that is only taken away once it is ready.

Decided against: Kopf's probe, which only shows that the event loop turns and hangs where a handler raises.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

STALLED_SECONDS = 240.0
"""Longer than any turn of a search with thousands of trials takes at an API server that answers slowly."""


@asynccontextmanager
async def serving(
    port: int, *, stalled: Callable[[], float], ready: Callable[[], str], metrics: Callable[[], bytes]
) -> AsyncIterator[None]:
    """Answer while the block runs.

    Args:
        port: On all addresses.
        stalled: For how many seconds the slowest search has waited for, or been in, its turn.
        ready: What the process is ready for; empty if it is not.
        metrics: Its exposition, in Prometheus' text format.

    Raises:
        OSError: If the port is taken.
    """

    async def healthz(_: web.Request) -> web.Response:
        seconds = stalled()
        if seconds > STALLED_SECONDS:
            return web.Response(status=500, text=f"no turn for {seconds:.0f} s\n")
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        what = ready()
        return web.Response(text=f"{what}\n") if what else web.Response(status=503, text="not yet\n")

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    application = web.Application()
    application.router.add_get("/healthz", healthz)
    application.router.add_get("/readyz", readyz)
    application.router.add_get("/metrics", exposition)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield
    finally:
        await runner.cleanup()
