"""One writer: a Lease in the operator's namespace, renewed while its holder works (design 6).

Whether it is held is judged on this process's own monotonic clock. A holder that could not renew for
``RENEW_WITHIN_SECONDS`` stops writing; a contender takes over when it has seen no change for ``DURATION_SECONDS``.
The holder counts from before it asked and the contender from after it was told, so whatever the two clocks show,
the old one has stopped before the new one begins, but for a request that is on its way: facts carry a
resourceVersion and names are deterministic, so that one does no harm.

Decided against: Kopf's peering (not an election), the client library's election (synchronous, on a ConfigMap), and
comparing ``renewTime`` with this machine's time (clocks differ).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from graphsearch.api.wire import Object
from graphsearch.cluster.client import LEASES, ApiError, Client, ConflictError, NotFoundError, UnavailableError

_log = logging.getLogger(__name__)

DURATION_SECONDS = 15.0
"""Without a change after which a contender takes over."""
RENEW_EVERY_SECONDS = 2.0
RENEW_WITHIN_SECONDS = 10.0
"""Without a renewal after which the holder stops writing and the process ends."""
_ANSWER_SECONDS = 5.0
"""After which a renewal is tried again, over another connection: one that has fallen silent never answers."""
_LOOK_EVERY_SECONDS = 1.0
"""How often a contender looks; a lease that was handed back is taken within two of these."""


class LeaseLostError(Exception):
    """Another operator may be writing: this one must not any more."""


@dataclass
class Rival:
    """What a contender has seen of a lease that somebody else holds."""

    version: str = ""
    seen_at: float = 0.0

    def has_expired(self, lease: Object, identity: str, now: float) -> bool:
        """Whether the lease may be taken.

        It may if nobody holds it, if its holder is an earlier process of the same identity, or if it has not changed
        for as long as it was promised to be renewed in.

        Args:
            lease: As it was just read.
            identity: Of the contender.
            now: The contender's monotonic clock.
        """
        holder = lease["spec"].get("holderIdentity", "")
        if holder in ("", identity):
            return True
        version = lease["metadata"]["resourceVersion"]
        if version != self.version:
            self.version, self.seen_at = version, now
        promised = max(DURATION_SECONDS, float(lease["spec"].get("leaseDurationSeconds", 0)))
        return now - self.seen_at >= promised


class Lease:
    """``acquire``, then ``keep`` beside the work, ``check`` before each write, ``release`` after the last one."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Hold nothing yet.

        Args:
            client: Without a guard: the lease is what the guard asks.
            namespace: Of the Lease.
            name: Of the Lease.
            identity: Of this process: two that run at the same time must not have the same one.
            clock: Monotonic, in seconds.
        """
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._lease: Object | None = None
        """As we last wrote it; None while it is not ours."""
        self._renewed_at = 0.0

    @property
    def is_held(self) -> bool:
        """Whether this process may write now."""
        return self._lease is not None and self._left > 0

    def check(self) -> None:
        """Refuse what this process may not do any more.

        Raises:
            LeaseLostError: If the lease is not ours, or was not renewed in time.
        """
        if self._lease is None:
            raise LeaseLostError(f"Lease {self._namespace}/{self._name} is not held by {self._identity}")
        if self._left <= 0:
            raise LeaseLostError(
                f"Lease {self._namespace}/{self._name} was not renewed for {RENEW_WITHIN_SECONDS:g} s; "
                f"another operator may have taken over"
            )

    async def acquire(self, looked: Callable[[], None] = lambda: None) -> None:
        """Wait until the lease is ours.

        Args:
            looked: Called after each look at a lease that somebody else holds.

        Raises:
            ApiError: If the API server refuses, as it does where a role is missing; no answer is waited out.
        """
        rival, said = Rival(), ""
        while True:
            began = self._clock()
            try:
                there = await self._read()
                if there is None or rival.has_expired(there, self._identity, self._clock()):
                    self._lease = await (self._create() if there is None else self._take(there))
                    self._renewed_at = began
                    _log.info("Lease %s/%s is ours: %s", self._namespace, self._name, self._identity)
                    return
                holder = there["spec"]["holderIdentity"]
                if holder != said:
                    _log.info("standing by: Lease %s/%s is held by %s", self._namespace, self._name, holder)
                    said = holder
                looked()
            except ConflictError:
                _log.debug("somebody else was faster")
            except UnavailableError as error:
                _log.warning("cannot look at the lease: %s", error)
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    async def keep(self) -> None:
        """Renew for ever.

        Raises:
            LeaseLostError: If it could not be renewed in time, or somebody else has taken it.
        """
        pause = RENEW_EVERY_SECONDS
        while True:
            await asyncio.sleep(pause)
            self.check()
            began, pause = self._clock(), RENEW_EVERY_SECONDS
            try:
                async with asyncio.timeout(min(self._left, _ANSWER_SECONDS)):
                    await self._renew()
                self._renewed_at = began
            except TimeoutError:
                _log.warning("no answer to the renewal of the lease, %.0f s left", self._left)
                pause = 0.0
            except ConflictError:
                await self._look_again()
            except ApiError as error:
                _log.warning("cannot renew the lease, %.0f s left: %s", self._left, error)

    async def release(self) -> None:
        """Hand it back, so that a successor need not wait; what fails here is only logged."""
        lease, self._lease = self._lease, None
        if lease is None:
            return
        spec = {"holderIdentity": "", "renewTime": _micro_time(), "leaseDurationSeconds": 1}
        try:
            async with asyncio.timeout(RENEW_EVERY_SECONDS):
                there = await self._read()
                if there is not None and _term(there) == _term(lease):
                    await self._write(there, spec)
        except (ApiError, TimeoutError) as error:
            _log.warning("the lease could not be handed back; it will expire: %s", error)

    @property
    def _left(self) -> float:
        return self._renewed_at + RENEW_WITHIN_SECONDS - self._clock()

    async def _renew(self) -> None:
        assert self._lease is not None
        try:
            self._lease = await self._write(self._lease, {"renewTime": _micro_time()})
        except NotFoundError:
            # Somebody deleted it. Whoever makes it anew holds it, and that can only be one.
            self._lease = await self._create()

    async def _look_again(self) -> None:
        """Somebody has written: taken the lease, or only labelled it."""
        assert self._lease is not None
        try:
            async with asyncio.timeout(max(self._left, 0.0)):
                there = await self._read()
        except (ApiError, TimeoutError) as error:
            _log.warning("cannot look at the lease, %.0f s left: %s", self._left, error)
            return
        if there is None or _term(there) != _term(self._lease):
            holder = there["spec"].get("holderIdentity") if there else None
            self._lease = None
            raise LeaseLostError(f"Lease {self._namespace}/{self._name} was taken by {holder or 'nobody'}")
        self._lease = there

    async def _read(self) -> Object | None:
        try:
            return await self._client.get(LEASES, self._namespace, self._name)
        except NotFoundError:
            return None

    async def _create(self) -> Object:
        metadata = {"name": self._name, "namespace": self._namespace}
        lease = {"apiVersion": LEASES.group_version, "kind": LEASES.kind, "metadata": metadata}
        return await self._client.create(lease | {"spec": self._term_of(0)})

    async def _take(self, there: Object) -> Object:
        return await self._write(there, self._term_of(there["spec"].get("leaseTransitions", 0) + 1))

    def _term_of(self, transitions: int) -> Object:
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(DURATION_SECONDS),
            "acquireTime": _micro_time(),
            "renewTime": _micro_time(),
            "leaseTransitions": transitions,
        }

    async def _write(self, lease: Object, spec: Object) -> Object:
        patch = {"metadata": {"resourceVersion": lease["metadata"]["resourceVersion"]}, "spec": spec}
        return await self._client.patch(LEASES, self._namespace, self._name, patch)


def _term(lease: Object) -> tuple[object, ...]:
    """What stays equal while one process holds it."""
    return lease["metadata"]["uid"], lease["spec"].get("holderIdentity"), lease["spec"].get("leaseTransitions")


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
