"""The Lease on a real API server: who may write, and when somebody else may."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from graphsearch.cluster.client import LEASES, Client, ForbiddenError
from graphsearch.controller.lease import DURATION_SECONDS, RENEW_WITHIN_SECONDS, Lease, LeaseLostError

WAIT_SECONDS = 60
NAME = "graphsearch-default"


class Clock:
    """A monotonic clock that stands still until a test sets it on, so that no test depends on how busy a machine is."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def play(control_plane, namespace, story):
    """Run a story with a client and a maker of contenders."""

    async def run():
        async with Client.connect(str(control_plane.kubeconfig)) as client, asyncio.timeout(WAIT_SECONDS):

            def contender(identity, clock=None):
                return Lease(client, namespace, NAME, identity, clock=clock or Clock())

            return await story(client, contender)

    return asyncio.run(run())


@asynccontextmanager
async def background(coroutine):
    """A task beside the block."""
    task = asyncio.create_task(coroutine)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


def test_the_first_holds_it_and_the_second_stands_by(control_plane, namespace):
    """A standby looks on and may not write; nothing it does changes the Lease."""

    async def story(client, contender):
        first, second = contender("first"), contender("second")
        await first.acquire()
        looked = asyncio.Event()
        async with background(second.acquire(looked.set)):
            await looked.wait()
            first.check()
            with pytest.raises(LeaseLostError, match="not held by second"):
                second.check()
        return await client.get(LEASES, namespace, NAME), first.is_held, second.is_held

    lease, *held = play(control_plane, namespace, story)
    assert held == [True, False]
    assert lease["spec"]["holderIdentity"] == "first"
    assert lease["spec"]["leaseDurationSeconds"] == DURATION_SECONDS
    assert lease["spec"]["leaseTransitions"] == 0


def test_one_that_the_chart_has_made_is_taken_at_once(control_plane, namespace):
    """Nobody holds it, and it has never been written to."""
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NAME, "labels": {"a": "b"}}}
    control_plane.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(lease))

    async def story(client, contender):
        await contender("first").acquire()
        return await client.get(LEASES, namespace, NAME)

    taken = play(control_plane, namespace, story)
    assert (taken["spec"]["holderIdentity"], taken["metadata"]["labels"]) == ("first", {"a": "b"})


def test_of_many_at_once_one_gets_it(control_plane, namespace):
    """Creating and taking are decided by the API server."""

    async def story(_, contender):
        contenders = [contender(f"c-{number}") for number in range(8)]
        async with asyncio.TaskGroup() as group:
            looked = [asyncio.Event() for _ in contenders]
            tasks = [group.create_task(each.acquire(seen.set)) for each, seen in zip(contenders, looked, strict=True)]
            ends = [
                asyncio.wait([task, group.create_task(seen.wait())], return_when=asyncio.FIRST_COMPLETED)
                for task, seen in zip(tasks, looked, strict=True)
            ]
            await asyncio.gather(*ends)
            held = [each.is_held for each in contenders]
            for task, seen in zip(tasks, looked, strict=True):
                task.cancel()
                seen.set()
        return held

    assert sorted(play(control_plane, namespace, story)) == [False] * 7 + [True]


def test_one_that_was_handed_back_is_taken_soon(control_plane, namespace):
    """A successor need not wait until it expires: its clock stands still."""

    async def story(client, contender):
        first, second = contender("first"), contender("second")
        await first.acquire()
        looked = asyncio.Event()
        async with background(second.acquire(looked.set)) as waiting:
            await looked.wait()
            await first.release()
            with pytest.raises(LeaseLostError):
                first.check()
            await waiting
        return await client.get(LEASES, namespace, NAME)

    lease = play(control_plane, namespace, story)
    assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseTransitions"]) == ("second", 1)


def test_a_holder_that_is_silent_loses_it(control_plane, namespace):
    """The contender takes over once it has seen no change for the whole duration, and the old holder learns of it."""

    async def story(_, contender):
        clock = Clock()
        first, second = contender("first"), contender("second", clock=clock)
        await first.acquire()
        looked = asyncio.Event()
        async with background(second.acquire(looked.set)) as waiting:
            await looked.wait()
            clock.now = DURATION_SECONDS
            await waiting
        with pytest.raises(LeaseLostError, match="was taken by second"):
            await first.keep()
        second.check()
        return first.is_held

    assert play(control_plane, namespace, story) is False


def test_a_holder_that_was_held_up_stops_before_it_asks(control_plane, namespace):
    """It must not write on the ground of a renewal that is too old, nor renew what may be another's."""

    async def story(client, contender):
        clock = Clock()
        lease = contender("first", clock=clock)
        await lease.acquire()
        before = await client.get(LEASES, namespace, NAME)
        clock.now = RENEW_WITHIN_SECONDS
        with pytest.raises(LeaseLostError, match="was not renewed for 10 s"):
            lease.check()
        with pytest.raises(LeaseLostError):
            await lease.keep()
        return before, await client.get(LEASES, namespace, NAME)

    before, after = play(control_plane, namespace, story)
    assert after == before


def test_renewals_keep_it(control_plane, namespace):
    """Each one is a change that a contender sees, and begins the holder's time anew."""

    async def story(client, contender):
        clock = Clock()
        lease = contender("first", clock=clock)
        await lease.acquire()
        before = await client.get(LEASES, namespace, NAME)
        async with background(lease.keep()):
            clock.now = RENEW_WITHIN_SECONDS - 4
            while (after := await client.get(LEASES, namespace, NAME)) == before:
                await asyncio.sleep(0.1)
            clock.now += 4
            while not lease.is_held:
                await asyncio.sleep(0.1)
        return before["spec"], after["spec"]

    before, after = play(control_plane, namespace, story)
    assert after.pop("renewTime") > before.pop("renewTime")
    assert after == before


def test_somebody_who_labels_it_takes_nothing(control_plane, namespace):
    """A conflict that is no change of holder is read again and lived with."""

    async def story(client, contender):
        lease = contender("first")
        await lease.acquire()
        labelled = await client.patch(LEASES, namespace, NAME, {"metadata": {"labels": {"by": "hand"}}})
        async with background(lease.keep()) as keeping:
            while (await client.get(LEASES, namespace, NAME))["spec"] == labelled["spec"]:
                assert not keeping.done(), keeping.exception()
                await asyncio.sleep(0.1)
        lease.check()
        return await client.get(LEASES, namespace, NAME)

    assert play(control_plane, namespace, story)["metadata"]["labels"] == {"by": "hand"}


def test_one_that_was_deleted_is_made_anew(control_plane, namespace):
    """By whoever comes first; here the holder."""

    async def story(client, contender):
        lease = contender("first")
        await lease.acquire()
        old = await client.get(LEASES, namespace, NAME)
        await client.delete(LEASES, namespace, NAME)
        async with background(lease.keep()) as keeping:
            while not (found := (await client.list(LEASES, namespace))[0]):
                assert not keeping.done(), keeping.exception()
                await asyncio.sleep(0.1)
        lease.check()
        return old, found[0]

    old, new = play(control_plane, namespace, story)
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    assert new["spec"]["holderIdentity"] == "first"


def test_a_process_that_is_started_again_with_its_identity_need_not_wait(control_plane, namespace):
    """And if the old one lives after all, it learns that the term is over."""

    async def story(client, contender):
        old, new = contender("pod-uid"), contender("pod-uid")
        await old.acquire()
        await new.acquire()
        with pytest.raises(LeaseLostError, match="was taken by pod-uid"):
            await old.keep()
        return await client.get(LEASES, namespace, NAME)

    assert play(control_plane, namespace, story)["spec"]["leaseTransitions"] == 1


def test_an_api_server_that_is_away_too_long_ends_the_term(control_plane, namespace, caplog):
    """Who cannot renew must assume that somebody else has taken over."""

    async def story(_, contender):
        clock = Clock()
        lease = contender("first", clock=clock)
        await lease.acquire()
        control_plane.stop_api_server()
        try:
            async with background(lease.keep()) as keeping:
                while " renew" not in caplog.text:
                    assert not keeping.done(), keeping.exception()
                    await asyncio.sleep(0.1)
                clock.now = RENEW_WITHIN_SECONDS
                with pytest.raises(LeaseLostError, match="was not renewed"):
                    await keeping
        finally:
            control_plane.start_api_server()
        return lease.is_held

    assert play(control_plane, namespace, story) is False


def test_a_lease_is_waited_for_while_the_api_server_is_away(control_plane, namespace):
    """An operator may start before its API server."""

    async def story(_, contender):
        lease = contender("first")
        control_plane.stop_api_server()
        async with background(lease.acquire()) as acquiring:
            await asyncio.sleep(0)
            assert not acquiring.done()
            control_plane.start_api_server()
            await acquiring
        return lease.is_held

    assert play(control_plane, namespace, story) is True


def test_a_missing_right_is_an_error_and_no_wait(control_plane, namespace):
    """A role that was forgotten shows at the start."""
    kubeconfig = control_plane.kubeconfig_for(f"system:serviceaccount:{namespace}:default")

    async def story():
        async with Client.connect(str(kubeconfig)) as client:
            await Lease(client, namespace, NAME, "me").acquire()

    with pytest.raises(ForbiddenError, match="leases"):
        asyncio.run(story())
