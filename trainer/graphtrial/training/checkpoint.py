"""What a trial leaves in its folder, and where a later attempt takes over (design 8).

    <attempt>-<id>-<step>.pt          weights, momentum and progress; read with ``weights_only``
    latest.json                       pointer to one of them, switched last, never to a lower attempt
    reports/<attempt>-<id>.json       TrialResult
    weights/<node>.safetensors        final weights of each network, for others to use
    exports/<node>.*                  the network that was asked for, as programs that run without this package
    analysis.json, maps.npz           what is said of them at the end (``contract.Analysis``), and maps for UMAP
    events.jsonl                      what happened, of all attempts (``contract.Event``)
    port                              where this attempt answers for Prometheus, as text

``id`` is drawn by each process, so that two processes of one attempt never write one object. No random state is
stored: every draw is a function of (seed, stream, step).

Which checkpoints stay:

    checkpoint                while it trains,     after its last   why
                              stopped or killed    evaluation
    the latest                stays                stays            resuming, warm starts; after the end it is the best:
                                                                    trials are compared at their last evaluation
    the one before            stays                goes             for the day when the latest cannot be read
    that of a reported rung   stays                goes             the weights that a decision was about
    any other                 goes                 goes

The trainer itself takes away what goes: after each checkpoint, and after the last evaluation whatever attempts left. It
never touches those of a later attempt. A store that lets nothing be deleted keeps them all, with a warning.

Decided against: a folder listing in place of the pointer (another attempt may still be writing), checkpoints that are
changed in place, and keeping the one with the best score so far (no decision falls back on an earlier score).
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn

from graphtrial.contract import (
    ANALYSIS,
    EVENTS,
    MAPS,
    Analysis,
    Evaluation,
    Event,
    Model,
    RungScore,
    TrialResult,
    events_of,
)
from graphtrial.models import weights_of
from graphtrial.storage import Conflict, Corrupt, Denied, Missing, StorageError, Store
from graphtrial.storage.waiting import pause_after

POINTER = "latest.json"
REPORTS = "reports/"
WEIGHTS = "weights/"
EXPORTS = "exports/"
_PORT = "port"
_SUFFIX = ".pt"
_LATEST = 2
"""How many stay for being the latest."""
_SWITCHES, _LONGEST_PAUSE = 8, 1.0
"""How often a pointer is tried to be moved, with so many seconds between two tries at most."""

_log = logging.getLogger(__name__)


class Machine(Model):
    """What the last bits of a sum depend on; equal machines resume exactly."""

    torch: str
    """Its version."""
    threads: int
    processor: str
    """Its model, and the instruction set that torch has chosen."""


class Progress(Model):
    """How far a trial is, as stored in a checkpoint."""

    subject: str
    """Digest of what decides the weights: a checkpoint of another graph, seed or training is refused."""
    machine: Machine
    step: int
    """Updates done."""
    evaluations: tuple[Evaluation, ...] = ()
    rungs: tuple[RungScore, ...] = ()
    seconds: float = 0.0
    """Spent so far, over all attempts."""
    loss_steps: int = 0
    """Updates in ``Snapshot.loss_sums``."""
    images: str = ""
    """``TrialData.content_digest`` of what it was trained on; empty in checkpoints of earlier versions."""
    total_steps: int = 0
    """k_end, which a number of epochs and of images makes; 0 in checkpoints of earlier versions."""
    inexact: str = ""
    """Why it is not bit-equal to an undisturbed run, where it was not computed on equal machines."""


NO_CONFLICTS = torch.zeros(0, dtype=torch.int64)
"""Where none are counted."""


class Snapshot(NamedTuple):
    """The whole state of a trial between two updates."""

    progress: Progress
    networks: dict[str, dict[str, Tensor]]
    """Weights and buffers, BatchNorm's statistics among them, of every network that learns, by node name."""
    momentum: list[Tensor]
    """One buffer for each parameter that is trained."""
    loss_sums: Tensor
    """Sum of each node's losses since the last evaluation, [nodes], float64."""
    conflicts: Tensor = NO_CONFLICTS
    """Of pairs of gradients so far; see ``compression.Projection``."""

    def copied(self) -> Snapshot:
        """The same in tensors of its own, on the CPU and laid out alike: the training may go on meanwhile."""
        networks = {
            name: dict(zip(weights, _copies(weights.values()), strict=True)) for name, weights in self.networks.items()
        }
        loss_sums, conflicts = _copies([self.loss_sums, self.conflicts])
        return Snapshot(self.progress, networks, _copies(self.momentum), loss_sums, conflicts)


class SupersededError(StorageError):
    """A later attempt has taken over; this one may not move the pointer back."""


class TrialFolder:
    """One attempt's view of its trial's objects."""

    def __init__(self, store: Store, attempt: int) -> None:
        """Look at nothing yet.

        Args:
            store: Opened at ``TrialSpec.checkpoint.uri``.
            attempt: Of this process, from 1.
        """
        self._store, self._attempt = store, attempt
        self._name = f"{attempt}-{uuid.uuid4().hex[:8]}"
        self._stored: list[str] = []
        """Checkpoints of this and earlier attempts, the one to resume from last."""
        self._prunes = True

    @property
    def remote(self) -> bool:
        """As ``Store.remote``."""
        return self._store.remote

    def latest(self) -> Snapshot | None:
        """Where to go on: what the pointer names or, where that cannot be read, the furthest that can.

        A warning is logged for each checkpoint that is passed over. None: start from scratch.

        Raises:
            StorageError: If the store itself fails.
        """
        pointed = self._pointed()
        others = sorted((key for key in self._store.list("") if _is_checkpoint(key)), key=_furthest, reverse=True)
        keys = [pointed, *(key for key in others if key != pointed)] if pointed else others
        self._stored = [key for key in keys[::-1] if self._may_delete(key)]
        for key in keys:
            try:
                snapshot = decode(self._store.read(key), self._store.url_of(key))
            except (Corrupt, Missing) as error:
                _log.warning("a checkpoint is passed over: %s", error)
                continue
            # Those that could not be read are the first to go.
            self._append(key)
            return snapshot
        if keys:
            _log.warning("none of %d checkpoints can be read: the training starts from scratch", len(keys))
        return None

    def save(self, snapshot: Snapshot) -> None:
        """Store a checkpoint, switch the pointer to it, then delete those that need not stay.

        Raises:
            SupersededError: If the pointer belongs to a later attempt.
            StorageError: If the store fails; what was there before stays, and saving again is safe.
        """
        step = snapshot.progress.step
        key = f"{self._name}-{step}{_SUFFIX}"
        self._store.write(key, encode(snapshot))
        try:
            target = {"attempt": self._attempt, "checkpoint": key, "step": step}
            self._switch(POINTER, json.dumps(target).encode(), self._check_holder)
        except SupersededError:
            with contextlib.suppress(StorageError):
                self._store.delete(key)
            raise
        self._append(key)
        self._prune(snapshot.progress)

    def tidy(self) -> None:
        """Delete all checkpoints but the last, as nothing is left to be trained.

        Raises:
            StorageError: If the store does not answer.
        """
        *_, last = self._stored
        found = self._store.list("")
        try:
            self._delete([key for key in found if _is_checkpoint(key) and key != last and self._may_delete(key)])
        except Denied as error:
            _log.warning("checkpoints that are not needed any more stay: %s", error)

    def reported_rungs(self) -> dict[int, float]:
        """Scores in the reports of all attempts, by evaluation number; an unreadable report is passed over."""
        rungs: dict[int, float] = {}
        for key in self._store.list(REPORTS):
            try:
                result = TrialResult.model_validate_json(self._store.read(key))
            except (Corrupt, Missing, ValueError) as error:
                _log.warning("a report is passed over: %s: %s", self._store.url_of(key), error)
                continue
            for reported in result.rungs:
                rungs.setdefault(reported.rung, reported.score)
        return rungs

    def report(self, result: TrialResult) -> None:
        """Store this attempt's result in place of its earlier one."""
        text = result.model_dump_json(by_alias=True, exclude_defaults=True, indent=1)
        self._store.write(f"{REPORTS}{self._name}.json", text.encode())

    def events(self) -> list[Event]:
        """What earlier attempts have told, as far as it can be read."""
        try:
            return events_of(self._store.read(EVENTS).decode(errors="replace"))
        except Missing:
            return []
        except Corrupt as error:
            _log.warning("earlier events are passed over: %s", error)
            return []

    def write_events(self, text: str) -> None:
        """Store what has happened in place of what was told before."""
        self._store.write(EVENTS, text.encode())

    def export(self, networks: Mapping[str, nn.Module]) -> None:
        """Store each network's weights without pickle; the names of its tensors are those of its ``state_dict``."""
        for name, network in networks.items():
            self._store.write(f"{WEIGHTS}{name}.safetensors", safetensors.torch.save(weights_of(network)))

    def leave(self, analysis: Analysis, maps: bytes | None) -> None:
        """Store what is said of the networks, and their maps where they have some; the analysis last."""
        if maps is not None:
            self._store.write(MAPS, maps)
        self._store.write(ANALYSIS, json.dumps(analysis.to_json()).encode())

    def write_export(self, name: str, content: bytes) -> None:
        """Store a program or weights below ``exports/``."""
        self._store.write(f"{EXPORTS}{name}", content)

    def announce(self, port: int) -> None:
        """Say at which port this attempt answers.

        On a server by conditional writes, as the pointer is moved later: one that refuses them is found out here.

        Raises:
            StorageError: If the store fails.
        """
        if not self.remote:
            self._store.write(_PORT, str(port).encode())
            return
        # What lay there is nobody's need, damaged or not: the first write makes, the second moves.
        self._store.delete(_PORT)
        for text in (f"{port}\n", str(port)):
            self._switch(_PORT, text.encode())

    def _append(self, key: str) -> None:
        self._stored = [other for other in self._stored if other != key] + [key]

    def _may_delete(self, key: str) -> bool:
        attempt = key.partition("-")[0]
        return attempt.isdecimal() and int(attempt) <= self._attempt

    def _prune(self, progress: Progress) -> None:
        """Delete what need not stay; what could not be deleted costs space until the end, and nothing else."""
        if not self._prunes:
            return
        try:
            self._delete(disposable(self._stored, rung_steps(progress)))
        except Denied as error:
            self._prunes = False
            _log.warning("checkpoints that are not needed any more stay: %s", error)
        except StorageError as error:
            _log.info("a checkpoint that is not needed any more is deleted later: %s", error)

    def _delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._store.delete(key)
            self._stored = [other for other in self._stored if other != key]

    def _pointed(self) -> str | None:
        try:
            found = self._store.read_pointer(POINTER)
            if found is None:
                return None
            self._check_holder(found[0])
            return str(json.loads(found[0])["checkpoint"])
        except (Corrupt, ValueError, KeyError, TypeError) as error:
            _log.warning("the pointer %s is replaced: %s", self._store.url_of(POINTER), error)
            self._store.delete(POINTER)
            return None

    def _check_holder(self, pointer: bytes) -> None:
        if (holder := json.loads(pointer)["attempt"]) > self._attempt:
            where = self._store.url_of(POINTER)
            raise SupersededError(f"{where} belongs to attempt {holder}: attempt {self._attempt} ends here")

    def _switch(self, key: str, data: bytes, check: Callable[[bytes], None] = lambda _: None) -> None:
        """Move a pointer unless ``check`` objects to what it holds; another attempt may be faster, now and then.

        Raises:
            Conflict: If somebody seems to be faster each time.
        """
        for failures in range(_SWITCHES):
            found = self._store.read_pointer(key)
            if found is not None:
                check(found[0])
            try:
                self._store.write_pointer(key, data, found[1] if found else None)
            except Conflict:
                time.sleep(pause_after(failures, _LONGEST_PAUSE))
            else:
                return
        raise Conflict(
            f"{self._store.url_of(key)} could not be moved in {_SWITCHES} tries, as if others were faster each time; "
            f"the server, and what lies before it, must know conditional writes (If-Match, If-None-Match)"
        )


def rung_steps(progress: Progress) -> frozenset[int]:
    """The steps of the evaluations whose scores were reported."""
    reported = {found.rung for found in progress.rungs}
    return frozenset(found.step for found in progress.evaluations if found.number in reported)


def disposable(stored: Sequence[str], rungs: frozenset[int]) -> list[str]:
    """Which checkpoints need not stay while a trial trains; of several of one rung the latest stays.

    Args:
        stored: Their keys, the latest last.
        rungs: Steps at which a rung was reported.
    """
    of_rungs = {_step(key): key for key in stored if _step(key) in rungs}
    kept = {*stored[-_LATEST:], *of_rungs.values()}
    return [key for key in stored if key not in kept]


def encode(snapshot: Snapshot) -> bytes:
    """A checkpoint's bytes."""
    buffer = io.BytesIO()
    content = {
        "progress": snapshot.progress.model_dump_json(by_alias=True),
        "networks": snapshot.networks,
        "momentum": snapshot.momentum,
        "loss_sums": snapshot.loss_sums,
        "conflicts": snapshot.conflicts,
    }
    torch.save(content, buffer)
    return buffer.getvalue()


def decode(data: bytes, where: str) -> Snapshot:
    """The snapshot in a checkpoint's bytes, its tensors on the CPU.

    Raises:
        Corrupt: If it is none; the message names ``where``.
    """
    content = load(data, where)
    try:
        progress = Progress.model_validate_json(content["progress"])
        conflicts = content.get("conflicts", NO_CONFLICTS)
        return Snapshot(progress, content["networks"], content["momentum"], content["loss_sums"], conflicts)
    except (KeyError, ValueError) as error:
        raise Corrupt(f"{where} is no checkpoint of this version: {error}") from error


def load(data: bytes, where: str) -> dict[str, Any]:
    """A dictionary of tensors and plain values that ``torch.save`` has written.

    Raises:
        Corrupt: If it is anything else; the message names ``where``.
        MemoryError: If there is no room for it; torch's allocator raises a RuntimeError for that.
    """
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # torch documents none: pickle, zip and tensor errors all come through
        if "allocate memory" in str(error):
            raise MemoryError(str(error)) from error
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise Corrupt(f"{where} cannot be read by torch.load with weights_only: {reason}") from error
    if not isinstance(content, dict):
        raise Corrupt(f"{where} holds a {type(content).__name__} and not a dictionary of weights")
    return content


def _is_checkpoint(key: str) -> bool:
    return "/" not in key and key.endswith(_SUFFIX)


def _step(key: str) -> int:
    """The step in a checkpoint's name, -1 if there is none."""
    step = key.removesuffix(_SUFFIX).rpartition("-")[2]
    return int(step) if step.isdecimal() else -1


def _furthest(key: str) -> tuple[int, str]:
    return _step(key), key


def _copies(tensors: Iterable[Tensor]) -> list[Tensor]:
    return [tensor.detach().to("cpu", copy=True) for tensor in tensors]
