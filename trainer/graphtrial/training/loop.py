"""The loop of a trial: updates, evaluations, checkpoints, until the last evaluation or until asked to stop.

A checkpoint holds all that the loop carries from one update to the next; the rest is a function of (seed, step). So
a run killed anywhere repeats at most the updates since its last checkpoint, and repeats them to the bit.

The device is asked for numbers only where an evaluation or a checkpoint makes it finish its work anyway.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from graphtrial.compression import Projection
from graphtrial.contract import Evaluation, ExitCode, NodeKind, TrialSpec, derive, gives_logits_only, is_built_in
from graphtrial.evaluation import Evaluator
from graphtrial.training.averages import MovingAverages
from graphtrial.training.checkpoint import NO_CONFLICTS, Machine, Progress, Snapshot
from graphtrial.training.errors import DivergedError
from graphtrial.training.events import note_checkpoint, note_evaluations, put_events
from graphtrial.training.exposition import Exposition
from graphtrial.training.feed import Feed
from graphtrial.training.outbox import Outbox
from graphtrial.training.replay import Replayed
from graphtrial.training.schedules import learning_rate
from graphtrial.training.sgd import Sgd
from graphtrial.training.state import State, result, rung_scores
from graphtrial.training.step import GraphStep, Images
from graphtrial.training.timetable import Timetable

_log = logging.getLogger(__name__)


class Parts(NamedTuple):
    """What a training is put together from."""

    spec: TrialSpec
    subject: str
    """Digest of what decides the weights; see ``Progress``."""
    machine: Machine
    images: str
    """Digest of what is trained on; see ``Progress``."""
    timetable: Timetable
    networks: Mapping[str, nn.Module]
    step: GraphStep
    sgd: Sgd
    projection: Projection | None
    """Where gradients are aggregated otherwise than by their sum."""
    averages: MovingAverages
    feed: Feed
    evaluator: Evaluator
    outbox: Outbox
    exposition: Exposition


class Training:
    """A trial under way."""

    def __init__(self, parts: Parts, state: State, snapshot: Snapshot | None) -> None:
        """Take over where ``state`` is, with the tensors of the snapshot it was read from, if there is one."""
        self._parts, self._state = parts, state
        self._loss_sums = torch.zeros(len(parts.step.names), dtype=torch.float64, device=parts.step.step_count.device)
        self._loss_steps = 0
        self._learn_from = Replayed(self._learn, self._loss_sums.device) if self._replays() else self._learn
        self._saved_at: int | None = None
        if snapshot is not None:
            self._restore(snapshot)
        self._started = time.monotonic()
        self._timed_from = (self._started, state.step)

    def run(self, stop_requested: Callable[[], bool]) -> ExitCode:
        """Train on.

        Args:
            stop_requested: Asked after each update and evaluation.

        Returns:
            DONE after the last evaluation or ``stopAfter``, STOPPED if asked to stop; all work is saved, or on its way,
            in both.

        Raises:
            DivergedError: If a loss or score is not finite; a rung's score is reported before.
            StorageError: If the disk fails, or another attempt has taken over.
        """
        state, timetable = self._state, self._parts.timetable
        while True:
            self._evaluate_if_due()
            done = state.step >= timetable.total_steps or self._promoted()
            stopped = not done and stop_requested()
            if done or stopped or timetable.saves_at(state.step):
                self._save()
            if done or stopped:
                return ExitCode.DONE if done else ExitCode.STOPPED
            self._update()

    def _update(self) -> None:
        step = self._state.step
        images = self._parts.feed.images(step)
        # Dropout of the user's and torchvision's networks draws from the global generator.
        torch.manual_seed(derive(self._parts.spec.seed, "layers", step))
        self._learn_from(images, self._learning_rate(step))
        self._loss_steps += 1
        self._state.step = self._parts.exposition.steps = step + 1
        if step == self._state.resumed_at:
            _log.info("first step after %.2f s", time.monotonic() - self._state.started)

    def _learn(self, images: Images, rate: float | Tensor) -> None:
        losses, projection = self._parts.step.losses(images), self._parts.projection
        if projection is None:
            losses.total.backward()
        else:
            projection.backward(losses.edges, self._state.step)
        self._parts.sgd.update(rate)
        self._parts.averages.update()
        self._loss_sums += losses.nodes

    def _replays(self) -> bool:
        """Whether updates are alike but for the tensors that they read; on a CPU a replay would gain nothing."""
        models = {node.model for node in self._parts.spec.graph.nodes if node.model}
        own = any(not is_built_in(model) and not gives_logits_only(model) for model in models)
        return self._loss_sums.is_cuda and self._parts.projection is None and not own

    def _learning_rate(self, step: int) -> float:
        """Of the update after ``step``."""
        training = self._parts.spec.training
        return learning_rate(training.schedule, training.learning_rate, step, self._parts.timetable.total_steps)

    def _evaluate_if_due(self) -> None:
        evaluations, timetable = self._state.evaluations, self._parts.timetable
        number = timetable.evaluation_at(self._state.step)
        if number is None or (evaluations and evaluations[-1].number >= number):
            return
        evaluation = self._evaluate(number)
        evaluations.append(evaluation)
        note_evaluations(self._parts.spec, self._state)
        self._parts.exposition.evaluations = len(evaluations)
        reported = number in self._parts.spec.rungs or number == timetable.evaluations
        if reported:
            self._pass_rung(evaluation)
        if reported or not self._parts.outbox.folder.remote:
            put_events(self._parts.outbox, self._state)
        self._check_finite(evaluation.losses, evaluation.score)

    def _evaluate(self, number: int) -> Evaluation:
        state = self._state
        means = self._mean_losses()
        self._loss_sums.zero_()
        self._loss_steps = 0
        since, first = self._timed_from
        self._parts.exposition.step_seconds = (time.monotonic() - since) / max(1, state.step - first)
        self._count_conflicts()
        scores = self._parts.evaluator()
        self._timed_from = (time.monotonic(), state.step)
        # The outputs of a network can be finite where its loss no longer is.
        score = scores.score if all(map(math.isfinite, means.values())) else math.nan
        of = self._parts.timetable.evaluations
        _log.info("evaluation %d of %d at step %d: score %.4f", number, of, state.step, score)
        return Evaluation(
            number=number,
            step=state.step,
            score=score,
            nodes=scores.nodes,
            losses=means,
            seconds=self._seconds(),
            learning_rate=self._learning_rate(state.step - 1),
        )

    def _pass_rung(self, evaluation: Evaluation) -> None:
        """Checkpoint and report are handed over before anybody can act on the score: on a disk they are durable then.

        A server may be slow or out of reach: the score is shown meanwhile, and if the process is killed before they
        arrive, the next attempt trains to the same score again.
        """
        reported = self._state.rungs.setdefault(evaluation.number, evaluation.score)
        if math.isfinite(evaluation.score):
            self._save()
        self._parts.outbox.report(result(self._parts.spec, self._state))
        self._parts.exposition.rungs[evaluation.number] = reported

    def _promoted(self) -> bool:
        """Whether the trial has got as far as it shall for now."""
        stop_after = self._parts.spec.stop_after
        return stop_after is not None and any(done.number >= stop_after for done in self._state.evaluations)

    def _save(self) -> None:
        state, parts = self._state, self._parts
        if self._saved_at == state.step:
            return
        self._check_finite(self._mean_losses())
        progress = Progress(
            subject=parts.subject,
            machine=parts.machine,
            step=state.step,
            evaluations=tuple(state.evaluations),
            rungs=rung_scores(state.rungs),
            seconds=self._seconds(),
            loss_steps=self._loss_steps,
            images=parts.images,
            total_steps=parts.timetable.total_steps,
            inexact=state.inexact,
        )
        # A trained node that nothing teaches still updates its BatchNorm statistics as somebody's source, and so does
        # a frozen one that runs on batch statistics.
        still = {NodeKind.FROZEN} if parts.spec.training.frozen_batch_norm else set[NodeKind]()
        changing = [node.name for node in parts.spec.graph.nodes if node.kind not in still]
        networks = {name: _carried(parts.networks[name]) for name in changing if name in parts.networks}
        conflicts = parts.projection.conflicts if parts.projection else NO_CONFLICTS
        parts.outbox.save(Snapshot(progress, networks, parts.sgd.momentum, self._loss_sums, conflicts))
        note_checkpoint(parts.spec, state)
        self._saved_at = state.step

    def _restore(self, snapshot: Snapshot) -> None:
        for name, weights in snapshot.networks.items():
            _take_on(self._parts.networks[name], weights)
        self._parts.sgd.restore(snapshot.momentum)
        self._parts.step.step_count.fill_(snapshot.progress.step)
        self._loss_sums.copy_(snapshot.loss_sums)
        self._loss_steps = snapshot.progress.loss_steps
        self._saved_at = snapshot.progress.step
        if self._parts.projection:
            self._parts.projection.conflicts.copy_(snapshot.conflicts)
            self._count_conflicts()

    def _count_conflicts(self) -> None:
        if self._parts.projection:
            self._state.conflicts = self._parts.projection.counts()

    def _mean_losses(self) -> dict[str, float]:
        """Of each node that learns, since the last evaluation."""
        means = self._loss_sums / max(1, self._loss_steps)
        return dict(zip(self._parts.step.names, means.tolist(), strict=True))

    def _check_finite(self, losses: Mapping[str, float], score: float = 0.0) -> None:
        bad = next((name for name, loss in losses.items() if not math.isfinite(loss)), None)
        if bad is None and math.isfinite(score):
            return
        what = "the score" if bad is None else f"the loss of node {bad!r}"
        rate = self._parts.spec.training.learning_rate
        raise DivergedError(f"{what} is not finite at step {self._state.step}; try a lower learningRate than {rate:g}")

    def _seconds(self) -> float:
        """Spent in training and evaluation, over all attempts."""
        return self._state.seconds_before + time.monotonic() - self._started


def _carried(network: nn.Module) -> dict[str, Tensor]:
    """All tensors of a network; a user's own may have buffers that its ``state_dict`` leaves out."""
    return dict(network.named_buffers()) | network.state_dict()


def _take_on(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """What ``_carried`` gave, in place; checkpoints of earlier versions hold the ``state_dict`` alone."""
    named = network.state_dict().keys()
    buffers = {name: buffer for name, buffer in network.named_buffers() if name in tensors and name not in named}
    network.load_state_dict({name: tensor for name, tensor in tensors.items() if name not in buffers})
    for name, buffer in buffers.items():
        buffer.resize_(tensors[name].shape).copy_(tensors[name])
