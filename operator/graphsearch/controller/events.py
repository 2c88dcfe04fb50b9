"""Kubernetes Events, on transitions only.

The same transition of the same object is one Event whose count rises: its name follows from what it says. Events are
for people; one that cannot be written is logged, and nothing depends on it. Decided against: Kopf's posting, which
makes a new object for each message.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable

from graphsearch.api.conditions import timestamp
from graphsearch.api.wire import Object
from graphsearch.cluster.client import EVENTS, ApiError, Client, ConflictError

_log = logging.getLogger(__name__)

MESSAGE_LENGTH = 1024
"""More is refused by the API server."""
_COMPONENT = "graphsearch-operator"
_NAME_LENGTH = 200


class Recorder:
    """Announces transitions."""

    def __init__(self, client: Client, *, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._clock = clock

    async def event(self, obj: Object, type: str, reason: str, message: str) -> None:
        """Announce a transition; what fails is only logged.

        Args:
            obj: What it happened to, with apiVersion, kind and metadata.
            type: Normal or Warning.
            reason: A documented constant.
            message: For people; cut at 1,024 characters.
        """
        event = event_of(obj, type, reason, message, now=self._clock())
        try:
            try:
                await self._client.create(event)
            except ConflictError:
                await self._count_up(event)
        except ApiError as error:
            _log.warning("Event %s of %s cannot be written: %s", reason, obj["metadata"]["name"], error)

    async def _count_up(self, event: Object) -> None:
        namespace, name = event["metadata"]["namespace"], event["metadata"]["name"]
        there, _ = await self._client.list(EVENTS, namespace, fields=f"metadata.name={name}")
        for each in there:
            patch = {"count": each.get("count", 1) + 1, "lastTimestamp": event["lastTimestamp"]}
            await self._client.patch(EVENTS, namespace, name, patch)


def event_of(obj: Object, type: str, reason: str, message: str, *, now: float) -> Object:
    """The Event's object; equal transitions of one object have one name.

    Args:
        obj: What it happened to.
        type: Normal or Warning.
        reason: A documented constant.
        message: Cut at 1,024 characters.
        now: Seconds since the epoch.
    """
    metadata = obj["metadata"]
    if len(message) > MESSAGE_LENGTH:
        message = message[: MESSAGE_LENGTH - 3] + "..."
    said = hashlib.sha256("\0".join((metadata["uid"], type, reason, message)).encode()).hexdigest()[:16]
    time = timestamp(now)
    reference = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "namespace": metadata["namespace"]}
    return {
        "apiVersion": EVENTS.group_version,
        "kind": EVENTS.kind,
        "metadata": {"name": f"{metadata['name'][:_NAME_LENGTH]}.{said}", "namespace": metadata["namespace"]},
        "involvedObject": reference | {"name": metadata["name"], "uid": metadata["uid"]},
        "type": type,
        "reason": str(reason),
        "message": message,
        "source": {"component": _COMPONENT},
        "reportingComponent": _COMPONENT,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
