"""Puts a process's settings into the parts of the cluster world."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from graphsearch.cluster.client import Client
from graphsearch.cluster.install import Install
from graphsearch.cluster.prometheus import PrometheusReader
from graphsearch.cluster.reading import Reader
from graphsearch.cluster.telemetry import Announcer, Telemetry
from graphsearch.cluster.world import Seat
from graphsearch.cluster.worlds import Worlds
from graphsearch.controller.process import Build
from graphsearch.controller.settings import Settings

_SCRAPES_LOOKED_BACK = 2
"""So that one may be missed (design 5)."""


def worlds_of(settings: Settings) -> Build:
    """Makes the worlds of an installation, once there is a client to make them with."""

    @asynccontextmanager
    async def build(client: Client, telemetry: Telemetry, announcer: Announcer) -> AsyncIterator[Worlds]:
        async with AsyncExitStack() as stack:
            prometheus = None
            if settings.prometheus_url:
                prometheus = await stack.enter_async_context(prometheus_of(settings))
            reader = Reader(
                prometheus,
                window=_SCRAPES_LOOKED_BACK * settings.scrape_interval,
                fallback_after=settings.fallback_after,
                failed=telemetry.prometheus_failed,
            )
            await stack.enter_async_context(reader)
            seat = Seat(client, install_of(settings), reader, telemetry, announcer)
            yield Worlds(seat, namespaces=settings.namespaces, controller_name=settings.controller_name)

    return build


def prometheus_of(settings: Settings) -> PrometheusReader:
    """The Prometheus that is asked, not yet opened."""
    return PrometheusReader(
        settings.prometheus_url,
        token_file=settings.prometheus_token_file,
        username_file=settings.prometheus_username_file,
        password_file=settings.prometheus_password_file,
        ca_file=settings.prometheus_ca_file,
    )


def install_of(settings: Settings) -> Install:
    """What every pod of this installation has."""
    return Install(
        default_image=settings.trainer_image,
        image_pull_policy=settings.trainer_pull_policy,
        scrape_annotations=settings.scrape_annotations,
    )
