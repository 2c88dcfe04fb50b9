"""Loops in virtual time: when turns are taken, how often, and what happens when they fail."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.controller.virtual_time import now, run

from graphsearch.cluster.client import ConflictError, InvalidError, UnavailableError
from graphsearch.controller.loops import (
    AT_A_TIME,
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    LONGEST_WAIT_FOR_SERVER_SECONDS,
    MARKED_PAUSE_SECONDS,
    MIN_INTERVAL_SECONDS,
    Loops,
    Result,
)


class Turns:
    """Turns that do as told, and remember when they were taken."""

    def __init__(self, *answers, seconds=0.0):
        self.answers, self.seconds = list(answers), seconds
        self.taken = []
        self.results = []
        self.at_once = self.most_at_once = 0

    async def __call__(self, key):
        self.taken.append((now(), key))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.seconds)
        self.at_once -= 1
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def times(self):
        return [time for time, _ in self.taken]

    def ended(self, result, seconds):
        self.results.append((result, seconds))


@asynccontextmanager
async def looping(turns, *, random=lambda: 1.0):
    """Loops that run, and are stopped at the end."""
    loops = Loops(turns, random=random, ended=turns.ended)
    running = asyncio.create_task(loops.run())
    await asyncio.sleep(0)
    try:
        yield loops
    finally:
        loops.stop()
        await running


def gaps(times):
    """Between one time and the next."""
    return [after - before for before, after in pairwise(times)]


def test_many_marks_are_one_turn():
    """However often a key is marked before its turn, it gets one."""

    async def story():
        turns = Turns()
        async with looping(turns) as loops:
            for _ in range(100):
                loops.mark("a")
            await asyncio.sleep(10)
        return turns.taken

    assert run(story()) == [(0.0, "a")]


def test_a_mark_during_a_turn_is_not_lost():
    """What moves while a turn looks is looked at by another one, right after the first."""

    async def story():
        turns = Turns(seconds=5)
        async with looping(turns) as loops:
            loops.mark("a")
            await asyncio.sleep(1)
            loops.mark("a")
            loops.mark("a")
            await asyncio.sleep(20)
        return turns.times

    assert run(story()) == [0.0, 5.0]


def test_turns_of_one_key_never_overlap_and_keep_their_distance():
    """Marks at any rate give at most one turn per minimum interval."""

    async def story():
        turns = Turns(seconds=0.01)
        async with looping(turns) as loops:
            for _ in range(1000):
                loops.mark("a")
                await asyncio.sleep(0.001)
        return turns

    turns = run(story())
    assert turns.most_at_once == 1
    assert len(turns.times) in (4, 5)
    assert min(gaps(turns.times)) == pytest.approx(MIN_INTERVAL_SECONDS)


def test_a_turn_is_called_again_when_it_wants():
    """The answer of a turn is the pause before the next one; None waits for a mark."""

    async def story():
        turns = Turns(7.0, 0.0, None)
        async with looping(turns) as loops:
            loops.mark("a")
            await asyncio.sleep(100)
            loops.mark("a")
            await asyncio.sleep(1)
        return turns.times

    assert run(story()) == pytest.approx([0.0, 7.0, 7.0 + MIN_INTERVAL_SECONDS, 100.0])


def test_a_mark_comes_before_the_pause_that_was_asked_for():
    """What has moved is looked at now, not at the next poll."""

    async def story():
        turns = Turns(60.0, None)
        async with looping(turns) as loops:
            loops.mark("a")
            await asyncio.sleep(10)
            loops.mark("a")
            await asyncio.sleep(100)
        return turns.times

    assert run(story()) == pytest.approx([0.0, 10.0])


@pytest.mark.parametrize(
    ("error", "longest", "result"),
    [
        (KeyError("defect"), LONGEST_PAUSE_SECONDS, Result.ERROR),
        (InvalidError(422, "Invalid", "refused"), LONGEST_PAUSE_SECONDS, Result.ERROR),
        (UnavailableError(0, "NoAnswer", "no answer"), LONGEST_WAIT_FOR_SERVER_SECONDS, Result.RETRY),
        (ConflictError(409, "Conflict", "somebody wrote"), LONGEST_WAIT_FOR_SERVER_SECONDS, Result.RETRY),
    ],
)
def test_a_turn_that_fails_is_taken_again_after_growing_pauses(error, longest, result):
    """Pauses double up to their longest, whatever was raised, and the loop never dies."""

    async def story():
        turns = Turns(*[error] * 12)
        async with looping(turns) as loops:
            loops.mark("a")
            await asyncio.sleep(3600)
        return turns

    turns = run(story())
    assert gaps(turns.times) == pytest.approx([min(longest, FIRST_PAUSE_SECONDS * 2**n) for n in range(12)])
    assert [result for result, _ in turns.results] == [result] * 12 + [Result.SUCCESS]


@settings(max_examples=20, deadline=None)
@given(random=st.floats(0, 1, exclude_max=True))
def test_jitter_shortens_a_pause_by_half_at_most(random):
    """Searches that failed together are not taken again together."""

    async def story():
        turns = Turns(KeyError(), KeyError())
        async with looping(turns, random=lambda: random) as loops:
            loops.mark("a")
            await asyncio.sleep(60)
        return turns.times

    first, second, third = run(story())
    assert second - first == pytest.approx(0.5 * (1 + random) / 2)
    assert third - second == pytest.approx(1.0 * (1 + random) / 2)


def test_a_success_ends_the_growing_of_pauses():
    """Failures are counted in a row."""

    async def story():
        turns = Turns(KeyError(), KeyError(), 0.0, KeyError(), None)
        async with looping(turns) as loops:
            loops.mark("a")
            await asyncio.sleep(60)
        return turns.times

    times = run(story())
    assert times[4] - times[3] == pytest.approx(FIRST_PAUSE_SECONDS)


def test_a_mark_shortens_a_long_pause_but_does_not_end_it():
    """Somebody may have mended what was wrong; but events must not turn a failing search into a busy loop."""

    async def story():
        turns = Turns(*[KeyError()] * 8)
        async with looping(turns) as loops:
            loops.mark("a")
            await asyncio.sleep(120)
            before = len(turns.taken)
            last = turns.times[-1]
            while len(turns.taken) == before:
                loops.mark("a")
                await asyncio.sleep(0.1)
            return last, turns.times[-1]

    last, next_one = run(story())
    assert next_one - last >= MARKED_PAUSE_SECONDS
    assert next_one < 120 + MARKED_PAUSE_SECONDS + 0.2


def test_one_failing_key_holds_up_no_other():
    """Each key has a loop of its own."""

    async def turn(key):
        taken.append(key)
        if key == "broken":
            raise KeyError
        return 1.0

    taken = []

    async def story():
        loops = Loops(turn, random=lambda: 1.0, ended=lambda *_: None)
        running = asyncio.create_task(loops.run())
        loops.mark("broken")
        loops.mark("sound")
        await asyncio.sleep(100.5)
        loops.stop()
        await running

    run(story())
    assert taken.count("sound") == 101
    assert taken.count("broken") == 8


def test_only_so_many_turns_at_a_time_and_nobody_is_left_out():
    """Many keys share the places, first come, first served."""

    async def story():
        turns = Turns(seconds=1)
        async with looping(turns) as loops:
            for number in range(5 * AT_A_TIME):
                loops.mark(str(number))
            await asyncio.sleep(0.5)
            counted = loops.running, loops.waiting
            await asyncio.sleep(10)
        return turns, counted

    turns, counted = run(story())
    assert counted == (AT_A_TIME, 4 * AT_A_TIME)
    assert turns.most_at_once == AT_A_TIME
    assert [key for _, key in turns.taken] == [str(number) for number in range(5 * AT_A_TIME)]


def test_a_stalled_turn_is_seen():
    """The age of the slowest turn or waiting key is what liveness is judged by; waiting for a mark is no stall."""

    async def story():
        turns = Turns(30.0, None, seconds=0)
        async with looping(turns) as loops:
            loops.mark("idle")
            await asyncio.sleep(20)
            before = loops.stalled_seconds
            turns.seconds = 1000
            loops.mark("slow")
            await asyncio.sleep(400)
            return before, loops.stalled_seconds, loops.longest_running_seconds

    assert run(story()) == pytest.approx((0.0, 400.0, 400.0))


def test_a_forgotten_key_gets_no_turn():
    """Once there is nothing behind a key, its loop ends, even if it had asked for another turn."""

    async def story():
        turns = Turns(5.0)
        async with looping(turns) as loops:
            loops.mark("a")
            await asyncio.sleep(1)
            loops.forget("a")
            loops.forget("unknown")
            await asyncio.sleep(100)
            return turns.times, loops.waiting

    assert run(story()) == ([0.0], 0)


def test_a_key_that_is_marked_after_it_was_forgotten_is_known_again():
    """Also while its last turn is still being taken: turns of one key never overlap."""

    async def story():
        turns = Turns(seconds=5)
        async with looping(turns) as loops:
            loops.mark("a")
            await asyncio.sleep(1)
            loops.forget("a")
            loops.mark("a")
            await asyncio.sleep(20)
            loops.forget("a")
            await asyncio.sleep(1)
            loops.mark("a")
            await asyncio.sleep(20)
        return turns

    turns = run(story())
    assert turns.times == pytest.approx([0.0, 5.0, 22.0])
    assert turns.most_at_once == 1


def test_stopping_finishes_the_turns_in_hand_and_begins_none():
    """Nothing is cut off between a fact and its act."""

    async def story():
        turns = Turns(seconds=3)
        loops = Loops(turns, random=lambda: 1.0, ended=turns.ended)
        running = asyncio.create_task(loops.run())
        for number in range(AT_A_TIME + 5):
            loops.mark(str(number))
        await asyncio.sleep(1)
        loops.stop()
        await running
        return now(), len(turns.taken), len(turns.results)

    assert run(story()) == (3.0, AT_A_TIME, AT_A_TIME)


def test_a_defect_of_the_supervisor_ends_the_run():
    """A loop that died unseen would be a process that looks alive and does nothing."""

    async def story():
        def broken(result, seconds):
            raise ZeroDivisionError

        loops = Loops(Turns(), random=lambda: 1.0, ended=broken)
        loops.mark("a")
        await loops.run()

    with pytest.raises(ZeroDivisionError):
        run(story())


@settings(max_examples=50, deadline=None)
@given(
    marks=st.lists(st.tuples(st.floats(0, 3), st.sampled_from("abc")), max_size=40),
    lengths=st.lists(st.floats(0, 1), min_size=1, max_size=10),
)
def test_every_mark_is_followed_by_a_turn_that_began_after_it(marks, lengths):
    """The law of level-triggered loops, for any marks and any lengths of turns."""

    async def story():
        began = []
        busy = set()

        async def turn(key):
            assert key not in busy
            busy.add(key)
            began.append((now(), key))
            await asyncio.sleep(lengths[len(began) % len(lengths)])
            busy.discard(key)

        marked = []
        loops = Loops(turn, random=lambda: 0.5, ended=lambda *_: None)
        running = asyncio.create_task(loops.run())
        for pause, key in marks:
            await asyncio.sleep(pause)
            loops.mark(key)
            marked.append((now(), key))
        await asyncio.sleep(100)
        loops.stop()
        await running
        return marked, began

    marked, began = run(story())
    for time, key in marked:
        assert any(at >= time and of == key for at, of in began)
    for key in "abc":
        times = [at for at, of in began if of == key]
        assert all(gap >= MIN_INTERVAL_SECONDS - 1e-9 for gap in gaps(times))
