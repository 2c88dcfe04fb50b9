"""Kopf as watcher and process host, nothing else (design 6).

Each event is handed over and marks whose turn it is; nothing is decided, written or remembered here, so that an event
that is lost, doubled or late costs time and nothing else. What Kopf would do beyond that is turned off.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from graphsearch.api import names as n
from graphsearch.api.wire import Object
from graphsearch.cluster.client import JOBS, PODS, SEARCHES, TRIALS, Kind
from graphsearch.cluster.connection import REQUEST_SECONDS, Connection
from graphsearch.controller.framework import Insights, kopf

Hear = Callable[[str, str | None, Object], None]
"""Called with an object's kind, the event's type (None: it was there when the watch began) and the object."""

_KINDS = (SEARCHES, TRIALS, JOBS, PODS)
_LABEL_SELECTORS = {JOBS: n.SEARCH_UID_LABEL, PODS: n.SEARCH_UID_LABEL}
_FIELD_SELECTORS = {TRIALS: n.UNFINISHED}
"""The API server does not even send the others: neither memory nor work may grow with what is finished."""
_END_SECONDS = 10.0


class NotWatchedError(Exception):
    """Kopf has not found a kind that it should watch, and would not look again."""


async def watch(
    hear: Hear,
    connection: Connection,
    *,
    namespaces: Sequence[str],
    started: Callable[[], None],
    watching: Callable[[], None],
) -> None:
    """Watch for ever.

    Kopf cancels, at its end, every task that was begun after it.

    Args:
        hear: Called with each event.
        connection: Whose address and credentials are used.
        namespaces: None: all.
        started: Called once Kopf has set up its signal handlers, which may be replaced from then on.
        watching: Called once every kind is being watched.

    Raises:
        Exception: If a watch has ended for good, as it does where the account may not watch.
    """
    logging.getLogger("kopf").setLevel(logging.WARNING)  # it tells of every event
    insights = Insights()
    before = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=_registry(hear, connection),
        settings=_settings(),
        insights=insights,
        standalone=True,
        namespaces=list(namespaces),
        clusterwide=not namespaces,
    )
    started()
    checking = asyncio.create_task(_check(insights, watching))
    await kopf.run_tasks([*tasks, checking], ignored=before)


async def _check(insights: Insights, watching: Callable[[], None]) -> None:
    """Wait for ever, unless a kind was not found: beside an API server that is just starting Kopf only warns of it."""
    await insights.ready_resources.wait()
    found = {(*filter(None, (each.group, each.version)), each.plural) for each in insights.watched_resources}
    missing = [kind.plural for kind in _KINDS if (*kind.group_version.split("/"), kind.plural) not in found]
    if missing:
        raise NotWatchedError(f"the API server does not offer {', '.join(missing)} yet")
    watching()
    await asyncio.Event().wait()


def _registry(hear: Hear, connection: Connection) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(_login(connection))
    for kind in _KINDS:
        kopf.on.event(kind.group_version, kind.plural, registry=registry)(_handler(kind, hear))
    return registry


def _handler(kind: Kind, hear: Hear) -> Callable[..., Awaitable[None]]:
    async def heard(event: Any, **_: object) -> None:
        hear(kind.kind, event["type"], event["object"])

    return heard


def _login(connection: Connection) -> Callable[..., Awaitable[kopf.ConnectionInfo]]:
    used: list[str] = []

    async def login(**_: object) -> kopf.ConnectionInfo:
        # Kopf asks again only when what it got is not accepted any more.
        authorization = await connection.authorization()
        if authorization in used:
            await connection.renew(authorization)
            authorization = await connection.authorization()
        used[:] = [authorization]
        scheme, _space, token = authorization.partition(" ")
        settings = connection.settings
        return kopf.ConnectionInfo(
            server=settings.host,
            ca_path=settings.ssl_ca_cert,
            insecure=not settings.verify_ssl,
            scheme=scheme or None,
            token=token or None,
            certificate_path=settings.cert_file,
            private_key_path=settings.key_file,
            proxy_url=settings.proxy,
            trust_env=True,
        )

    return login


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    # Kinds and namespaces are known; looking for new ones takes rights in the whole cluster.
    settings.scanning.disabled = True
    settings.watching.initial_streaming = True
    settings.watching.inactivity_timeout = 70.0
    for kind, selector in _LABEL_SELECTORS.items():
        settings.watching.label_selectors[kind.group_version, kind.plural] = selector
    for kind, selector in _FIELD_SELECTORS.items():
        settings.watching.field_selectors[kind.group_version, kind.plural] = selector
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.networking.enforce_retry_after = True
    settings.networking.trust_env = True
    settings.process.ultimate_exiting_timeout = _END_SECONDS
    settings.persistence.finalizer = f"{n.GROUP}/finalizer"
    settings.persistence.progress_storage = _NoProgress()
    settings.persistence.diffbase_storage = _NoDiffs()
    return settings


class _NoDiffs(kopf.DiffBaseStorage):
    """Nothing is compared: Kopf would copy each object whole at every event, three quarters of what one costs."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


class _NoProgress(kopf.ProgressStorage):
    """There are no handlers whose progress would be kept."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence
