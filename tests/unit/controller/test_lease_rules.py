"""When a contender may take a Lease, and how its holder keeps it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.controller.virtual_time import now, run

from graphsearch.cluster.client import NotFoundError
from graphsearch.controller.lease import (
    DURATION_SECONDS,
    RENEW_EVERY_SECONDS,
    RENEW_WITHIN_SECONDS,
    Lease,
    LeaseLostError,
    Rival,
)


class Server:
    """Holds one Lease; the requests of some numbers, from 0 on, are never answered."""

    def __init__(self, silent=()):
        self.silent, self.asked = silent, []

    async def get(self, *_):
        raise NotFoundError(404, "NotFound", "no Lease yet")

    async def create(self, lease):
        return {**lease, "metadata": {**lease["metadata"], "uid": "u", "resourceVersion": "0"}}

    async def patch(self, _kind, _namespace, _name, patch):
        self.asked.append(now())
        if len(self.asked) - 1 in self.silent:
            await asyncio.Event().wait()
        spec = {"holderIdentity": "me"} | patch["spec"]
        return {"metadata": {"uid": "u", "resourceVersion": str(len(self.asked))}, "spec": spec}


def keep(server, seconds):
    """Acquire and keep a Lease for so long; whether it is still held."""

    async def story():
        lease = Lease(server, "system", "graphsearch", "me", clock=now)
        await lease.acquire()
        try:
            async with asyncio.timeout(seconds):
                await lease.keep()
        except TimeoutError:
            return lease.is_held

    return run(story())


def lease(holder, version, duration=15):
    """A Lease as it is read."""
    spec = {"holderIdentity": holder, "leaseDurationSeconds": duration}
    return {"metadata": {"resourceVersion": str(version)}, "spec": spec}


def test_a_lease_that_nobody_holds_is_taken_at_once():
    """It was handed back, or made by hand."""
    assert Rival().has_expired(lease("", 1), "me", 0.0)
    assert Rival().has_expired({"metadata": {"resourceVersion": "1"}, "spec": {}}, "me", 0.0)


def test_an_earlier_process_of_the_same_identity_is_not_waited_for():
    """A container that is started again knows that the one before it has ended."""
    assert Rival().has_expired(lease("me", 1), "me", 0.0)


def test_a_lease_that_does_not_change_expires_on_the_contenders_clock():
    """The first look begins the count, whatever time stands in the Lease."""
    rival = Rival()

    looks = [rival.has_expired(lease("you", 7), "me", 1000.0 + seconds) for seconds in (0, 14.9, 15.0)]

    assert looks == [False, False, True]


def test_a_holder_that_promised_a_longer_time_gets_it():
    """Another version of the operator may renew less often."""
    rival = Rival()

    looks = [rival.has_expired(lease("you", 7, duration=60), "me", seconds) for seconds in (0.0, 59.0, 60.0)]

    assert looks == [False, False, True]


@settings(max_examples=50, deadline=None)
@given(pauses=st.lists(st.floats(0.1, DURATION_SECONDS - 0.1), min_size=1, max_size=50))
def test_a_lease_that_is_renewed_never_expires(pauses):
    """Each change begins the count anew."""
    rival, now = Rival(), 0.0
    for version, pause in enumerate(pauses):
        assert not rival.has_expired(lease("you", version), "me", now)
        now += pause
        assert not rival.has_expired(lease("you", version), "me", now)


def test_the_holder_stops_before_a_contender_begins():
    """With room for a renewal that is answered late."""
    assert RENEW_EVERY_SECONDS < RENEW_WITHIN_SECONDS < DURATION_SECONDS


def test_a_renewal_that_is_not_answered_is_tried_again_in_time():
    """A connection may have fallen silent while the next one would be answered at once."""
    server = Server(silent={0, 2})

    assert keep(server, 60.0)
    assert server.asked[:4] == [2.0, 7.0, 9.0, 14.0]


def test_a_server_that_never_answers_ends_the_holder():
    """Not before the time that it has, and not after."""
    server = Server(silent=range(100))

    with pytest.raises(LeaseLostError, match="was not renewed for 10 s"):
        keep(server, 60.0)
    assert server.asked == [2.0, 7.0]
