"""A trial as the trainer plays it to the outside: evaluations at a steady pace, rungs, checkpoints, a result.

A checkpoint is the number of evaluations done with the rungs passed, in a folder that all nodes share; like the
trainer's it is durable before a rung shows, and never goes back to an earlier attempt.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import random
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NamedTuple

from e2e.cluster.simulated_node.exposition import exposition
from e2e.cluster.simulated_node.faults import Behaviour
from graphtrial.contract import ExitCode, RungScore, TrialResult, TrialSpec, derive, graph_digest
from graphtrial.training.timetable import Timetable

STEPS_PER_EPOCH = 100
_IMAGES_PER_STEP = 64


class Ending(NamedTuple):
    """How a container ended."""

    exit_code: int
    reason: str
    message: str = ""
    """The termination message."""


def killed(exit_code: int = 137) -> Ending:
    """Ended by a signal, without a word."""
    return Ending(exit_code, "Error")


def score(seed: int, digest: str, evaluation: int) -> float:
    """What a trial scores at an evaluation: a curve that rises towards its graph's own end, with noise.

    Args:
        seed: The trial's.
        digest: The graph's.
        evaluation: From 1.

    Returns:
        In [0, 1], with four decimals.
    """
    curve = random.Random(derive(seed, "curve", digest))
    end, half = curve.uniform(0.3, 0.95), curve.uniform(0.5, 4.0)
    noise = random.Random(derive(seed, "noise", digest, evaluation)).uniform(-0.02, 0.02)
    return round(min(1.0, max(0.0, end * evaluation / (evaluation + half) + noise)), 4)


class Checkpoints:
    """Of all trials, by the place where the trainer would keep them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, uri: str) -> tuple[int, int, dict[int, float]]:
        """Attempt, evaluations done and rungs of the latest one; zeros if there is none."""
        try:
            found = json.loads(self._path(uri).read_text())
        except FileNotFoundError:
            return 0, 0, {}
        return found["attempt"], found["evaluations"], {int(rung): score for rung, score in found["rungs"].items()}

    def save(self, uri: str, attempt: int, evaluations: int, rungs: dict[int, float]) -> bool:
        """Move the pointer; False if a later attempt has it."""
        path = self._path(uri)
        if self.load(uri)[0] > attempt:
            return False
        fresh = path.with_suffix(f".{attempt}")
        fresh.write_text(json.dumps({"attempt": attempt, "evaluations": evaluations, "rungs": rungs}))
        fresh.rename(path)
        return True

    def _path(self, uri: str) -> Path:
        return self._folder / f"{hashlib.sha256(uri.encode()).hexdigest()[:24]}.json"


class Trainer:
    """One attempt.

    Attributes:
        spec: What it is told.
        evaluations: Done, those of earlier attempts included.
        resumed_at: How many of them another attempt had done.
        rungs: Scores by evaluation, likewise; once here, a score stays.
    """

    def __init__(self, spec: TrialSpec, checkpoints: Checkpoints, behaviour: Behaviour) -> None:
        """Take over where an earlier attempt was."""
        self.spec = spec
        self._checkpoints, self._behaviour = checkpoints, behaviour
        self._timetable = Timetable.of(spec, STEPS_PER_EPOCH)
        self._digest = graph_digest(spec.graph)
        _, self.evaluations, self.rungs = checkpoints.load(spec.checkpoint.uri)
        self.resumed_at = self._saved_at = self.evaluations
        self._started = time.monotonic()
        self._released = asyncio.Event()

    def let_go_on(self) -> None:
        """Begin the evaluation that it holds at."""
        self._released.set()

    async def train(self, pace: float, sigterm: asyncio.Event, saving: float) -> Ending:
        """Train to the end, or until ``sigterm``.

        Args:
            pace: Seconds from evaluation to evaluation.
            sigterm: Set when it is asked to stop.
            saving: Seconds that the last save takes then.
        """
        while not self._done:
            if self._behaviour.holds_at == self.evaluations + 1:
                await either(sigterm.wait(), self._released.wait())
            if await _set_within(sigterm, pace):
                await asyncio.sleep(saving)
                return self._ending(ExitCode.STOPPED) if self._save() else self._superseded()
            if self._behaviour.ends_before == self.evaluations + 1:
                if self._behaviour.out_of_memory:
                    return Ending(137, "OOMKilled", self.words_so_far())
                assert self._behaviour.exit_code is not None
                return self._ending(self._behaviour.exit_code)
            ending = self._evaluate()
            if ending is not None:
                return ending
        return self._ending(ExitCode.DONE)

    def words_so_far(self) -> str:
        """The termination message that a kubelet finds when it is killed now."""
        if self._saved_at == self.resumed_at:
            return ""
        return self._words(TrialResult(attempt=self.spec.attempt, steps=self._saved_at * STEPS_PER_EPOCH))

    def exposition(self) -> str:
        """What it shows now."""
        steps, foreign = self.evaluations * STEPS_PER_EPOCH, self._behaviour.exposes
        return exposition(self.spec, self.rungs, steps=steps, evaluations=self.evaluations, foreign=foreign)

    @property
    def _done(self) -> bool:
        until = self.spec.stop_after or self._timetable.evaluations
        return self.evaluations >= min(until, self._timetable.evaluations)

    def _evaluate(self) -> Ending | None:
        """The next evaluation; how it ends the trial, if it does."""
        number = self.evaluations + 1
        found = score(self.spec.seed, self._digest, number) if number != self._behaviour.nan_at else math.nan
        last = number == self._timetable.evaluations
        reported = last or (number in self.spec.rungs and not self._timetable.last_only)
        if not math.isfinite(found):
            if reported:
                self.rungs.setdefault(number, found)
            return self._ending(ExitCode.DIVERGED, f"the score is not finite at evaluation {number}")
        self.evaluations = number
        rungs = self.rungs | {number: self.rungs.get(number, found)} if reported else self.rungs
        if not self._save(rungs):
            return self._superseded()
        self.rungs = rungs
        return None

    def _save(self, rungs: dict[int, float] | None = None) -> bool:
        place = self.spec.checkpoint.uri
        saved = self._checkpoints.save(
            place, self.spec.attempt, self.evaluations, self.rungs if rungs is None else rungs
        )
        if saved:
            self._saved_at = self.evaluations
        return saved

    def _superseded(self) -> Ending:
        holder = self._checkpoints.load(self.spec.checkpoint.uri)[0]
        return self._ending(ExitCode.STORAGE, f"the checkpoint belongs to attempt {holder}")

    def _ending(self, code: int, message: str = "") -> Ending:
        """With the result as termination message, as far as the exit code is the trainer's own."""
        reason = "Completed" if code == ExitCode.DONE else "Error"
        if code not in set(ExitCode):
            return Ending(code, reason, self.words_so_far())
        steps = self.evaluations * STEPS_PER_EPOCH
        result = TrialResult(
            attempt=self.spec.attempt,
            steps=steps,
            images=steps * _IMAGES_PER_STEP,
            seconds=time.monotonic() - self._started,
            exit_code=code,
            message=message,
        )
        return Ending(code, reason, self._words(result))

    def _words(self, result: TrialResult) -> str:
        """With what any result says."""
        said = {
            "rungs": tuple(RungScore(rung=rung, score=score) for rung, score in sorted(self.rungs.items())),
            "resumed_at": self.resumed_at * STEPS_PER_EPOCH,
            "saved_at": self._saved_at * STEPS_PER_EPOCH,
        }
        return result.model_copy(update=said).model_dump_json(by_alias=True, exclude_defaults=True)


async def either(*waits: Coroutine[Any, Any, Any]) -> None:
    """Until the first of them."""
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    """Whether it is set by then."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return event.is_set()
