"""When a contender may take a Lease."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from graphsearch.controller.lease import DURATION_SECONDS, RENEW_EVERY_SECONDS, RENEW_WITHIN_SECONDS, Rival


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
