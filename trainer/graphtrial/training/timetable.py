"""When a training evaluates, saves and ends, in updates: arithmetic only."""

from __future__ import annotations

from dataclasses import dataclass

from graphtrial.contract import Split, TrialSpec


@dataclass(frozen=True, slots=True)
class Timetable:
    """The moments of one training. A step here is the number of updates done.

    Attributes:
        steps_per_epoch: Updates per epoch; the last incomplete batch is dropped.
        total_steps: k_end, the length of the training.
        evaluate_every: Updates from one evaluation to the next; the last one may come sooner.
        save_every: Updates from one checkpoint to the next.
        last_only: Whether only the last evaluation takes place, as the test images are scored once.
    """

    steps_per_epoch: int
    total_steps: int
    evaluate_every: int
    save_every: int
    last_only: bool

    @classmethod
    def of(cls, spec: TrialSpec, steps_per_epoch: int) -> Timetable:
        """The timetable of a trial."""
        training = spec.training
        return cls(
            steps_per_epoch=steps_per_epoch,
            total_steps=training.length.in_steps(steps_per_epoch),
            evaluate_every=training.evaluate_every.in_steps(steps_per_epoch),
            save_every=spec.checkpoint.every.in_steps(steps_per_epoch),
            last_only=spec.split is Split.FULL,
        )

    @property
    def evaluations(self) -> int:
        """E, the number of the last evaluation: the one at ``total_steps``."""
        return -(-self.total_steps // self.evaluate_every)

    def evaluation_at(self, step: int) -> int | None:
        """The number of the evaluation that is due after that many updates, None if there is none."""
        if step >= self.total_steps:
            return self.evaluations
        if self.last_only or step == 0 or step % self.evaluate_every:
            return None
        return step // self.evaluate_every

    def saves_at(self, step: int) -> bool:
        """Whether a checkpoint is due, rungs aside."""
        return step > 0 and (step % self.save_every == 0 or step == self.total_steps)
