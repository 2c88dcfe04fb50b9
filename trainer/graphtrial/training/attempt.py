"""One attempt of a trial: put together what its spec says, take over where an earlier attempt was, train.

The metrics port opens before the data is read, so that a taken port is known at once and rungs of earlier attempts
are shown as early as can be.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import nn

from graphtrial.compression import MismatchError, Projection, export
from graphtrial.contract import (
    Aggregation,
    Augmentation,
    Device,
    ExitCode,
    Exported,
    Model,
    Precision,
    Purpose,
    Split,
    TrialSpec,
    digest,
    needed_nodes,
)
from graphtrial.data import Batches, DataError, ImageSet, TrialData, load
from graphtrial.evaluation import Evaluator, analyse, look, maps_for_umap, metric_problem
from graphtrial.storage import when_it_answers
from graphtrial.training.averages import MovingAverages
from graphtrial.training.checkpoint import Machine, Snapshot, TrialFolder
from graphtrial.training.errors import RefusedError
from graphtrial.training.events import ended_in_analysis, note_analysis, note_start, put_events
from graphtrial.training.exposition import Exposition
from graphtrial.training.feed import Feed
from graphtrial.training.loop import Parts, Training
from graphtrial.training.memory import keep_freed_memory
from graphtrial.training.networks import build_networks, publish
from graphtrial.training.outbox import Job, Outbox
from graphtrial.training.sgd import Sgd
from graphtrial.training.state import State, result
from graphtrial.training.step import GraphStep
from graphtrial.training.timetable import Timetable

_EVALUATION_BATCH = 512
_SAMPLES = 8
"""Training images with which a program is compared with its network."""
_ANALYSED = (Purpose.SEARCH, Purpose.COMPARE)
"""Runs that a report shows: the few that reach the end of a search, one of which is the best, and the comparison's."""

_ANALYSES = 2
"""Tries: one that kills its process, as for lack of memory, would do so until the trial has failed."""

_log = logging.getLogger(__name__)


def attempt(spec: TrialSpec, state: State, outbox: Outbox, stop_requested: Callable[[], bool]) -> ExitCode:
    """Train until the end or until asked to stop; ``state`` tells how far it got, whatever happens.

    What it has to store is handed to ``outbox``, and may still be on its way when this returns.

    Raises:
        RefusedError: If the spec cannot be trained.
        DataError: If the images cannot be used, or are no longer those of the checkpoint.
        DivergedError: If a loss or score is not finite.
        StorageError: If the folder, a teacher or a place to publish fails.
        StoppedError: If asked to stop while it waits for the store to begin.
    """
    _check(spec)
    device = _prepare_torch(spec)
    machine = _machine(spec)
    folder, patiently = outbox.folder, partial(when_it_answers, stop_requested=stop_requested)
    snapshot = patiently(folder.latest)
    state.rungs.update(patiently(folder.reported_rungs))
    state.events = patiently(folder.events)
    if snapshot is not None:
        _take_over(spec, state, snapshot, machine)
    exposition = Exposition(spec)
    exposition.rungs.update(state.rungs)
    exposition.steps, exposition.evaluations = state.step, len(state.evaluations)
    patiently(lambda: _announce(spec, state, folder, exposition.port))
    note_start(spec, state)
    put_events(outbox, state)
    needed, place = needed_nodes(spec.graph, spec.objective.score_of), spec.checkpoint
    unlabelled = spec.graph.uses_unlabelled(needed)
    data = patiently(lambda: load(spec.data, spec.split, unlabelled=unlabelled, cache=spec.cache, server=place))
    if snapshot is not None:
        _check_unchanged(spec, snapshot.progress.images, data.content_digest)
    if problem := metric_problem(spec.objective.metric, data.classes):
        raise RefusedError(problem)
    parts = patiently(lambda: _put_together(spec, data, machine, device, outbox, exposition))
    if snapshot is not None:
        _check_unchanged(spec, snapshot.progress.total_steps, parts.timetable.total_steps)
    code = Training(parts, state, snapshot).run(stop_requested)
    if code is ExitCode.DONE and state.step >= parts.timetable.total_steps:
        outbox.put(Job("the weights for others", lambda: publish(spec, parts.networks, data.train_digest)))
        outbox.put(Job("the final weights", lambda: folder.export(parts.networks)))
        outbox.put(Job("the removal of checkpoints", folder.tidy))
        if spec.export:
            state.exports = _export(parts, data)
        if spec.purpose in _ANALYSED:
            _analyse(parts, data, device, state)
    return code


def _export(parts: Parts, data: TrialData) -> tuple[Exported, ...]:
    """Hand over the network that was asked for in every form; what was stored before stays, whatever goes wrong."""
    name, shape = parts.spec.export, (1, -1, 1, 1)
    views = parts.feed.images(0).labelled[:_SAMPLES].cpu()
    try:
        made = export(
            parts.networks[name],
            name,
            model=parts.spec.graph.model_of(name),
            mean=data.mean,
            std=data.std,
            images=views * data.std.view(shape) + data.mean.view(shape),
        )
    except MismatchError as error:
        raise RefusedError(str(error)) from error
    for form in made:
        if form.content:
            store = partial(parts.outbox.folder.write_export, form.said.name, form.content)
            parts.outbox.put(Job(f"exports/{form.said.name}", store))
    return tuple(form.said for form in made)


def _analyse(parts: Parts, data: TrialData, device: torch.device, state: State) -> None:
    """Leave what is said of the networks; whatever goes wrong in it, the training is done and stays so."""
    spec, outbox = parts.spec, parts.outbox
    if len(killed := ended_in_analysis(state)) >= _ANALYSES:
        told = " and ".join(map(str, killed))
        _log.warning("the trial is done; attempts %s were killed as they analysed its networks: left out", told)
        return
    note_analysis(spec, state)
    put_events(outbox, state)
    # A server has to have it before anything happens; what was trained lies there then as well.
    outbox.flush()
    try:
        seen = look(parts.networks, parts.evaluator.batches(), precision=spec.training.precision, device=device)
        analysis = analyse(spec.graph, parts.networks, seen, mean=data.mean, std=data.std)
        maps = maps_for_umap(seen)
    except Exception:
        _log.exception("the trial is done, but its networks could not be analysed")
        return
    outbox.put(Job("the analysis", lambda: outbox.folder.leave(analysis, maps)))


def _check(spec: TrialSpec) -> None:
    """Refuse what a valid spec may say and this version cannot do."""
    found: list[str] = []
    if spec.split is Split.FULL and spec.stop_after is not None:
        found.append("stopAfter: a trial on all training images is scored at its last evaluation only; leave it out")
    needed = needed_nodes(spec.graph, spec.objective.score_of)
    found += [f"publish: node {name!r} is not trained; name one that is" for name in spec.publish if name not in needed]
    if spec.device is Device.CUDA and not torch.cuda.is_available():
        found.append("device: torch sees no CUDA device here; use CPU")
    if spec.device is Device.CPU and spec.training.precision is Precision.TF32:
        found.append("training.precision: TF32 is of GPUs; use FP32 on a CPU")
    if found:
        raise RefusedError("; ".join(found))


def _prepare_torch(spec: TrialSpec) -> torch.device:
    torch.set_num_threads(spec.threads)
    if spec.device is Device.CUDA:
        rounded = spec.training.precision is Precision.TF32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = rounded
        if spec.training.deterministic:
            # Read when the first matrix product is asked for.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.backends.cudnn.deterministic = True
            _add_in_one_order()
        return torch.device("cuda")
    keep_freed_memory()
    _add_in_one_order()
    return torch.device("cpu")


def _add_in_one_order() -> None:
    """Refuse scattered additions of several threads, which would come in any order."""
    # Not use_deterministic_algorithms, which imports torch's compiler: seconds of every cold start.
    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _machine(spec: TrialSpec) -> Machine:
    if spec.device is Device.CUDA:
        return Machine(torch=torch.__version__, threads=spec.threads, processor=torch.cuda.get_device_name())
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    processor = f"{model or platform.processor()} ({torch.backends.cpu.get_cpu_capability()})"
    return Machine(torch=torch.__version__, threads=spec.threads, processor=processor)


def _subject(spec: TrialSpec) -> str:
    """A digest of all that decides the weights after a number of steps."""
    parts: dict[str, Model] = {"graph": spec.graph, "data": spec.data, "training": spec.training}
    settings = {name: part.to_json() for name, part in parts.items()}
    score_of, split = spec.objective.score_of.value, spec.split.value
    # Not where a teacher lies: a folder that was moved holds the same one.
    teachers = {node: uri.rpartition("/")[2] for node, uri in spec.teachers.items()}
    return digest(settings | {"seed": spec.seed, "scoreOf": score_of, "split": split, "teachers": teachers})


def _take_over(spec: TrialSpec, state: State, snapshot: Snapshot, machine: Machine) -> None:
    progress = snapshot.progress
    if progress.subject != _subject(spec):
        raise RefusedError(
            f"checkpoint.uri: the checkpoint in {spec.checkpoint.uri} is of another graph, data, training or seed; "
            f"name an empty folder"
        )
    state.step = state.resumed_at = state.saved_at = progress.step
    state.evaluations = list(progress.evaluations)
    state.rungs = {found.rung: found.score for found in progress.rungs} | state.rungs
    state.seconds_before = progress.seconds
    in_any_order = spec.device is Device.CUDA and not spec.training.deterministic
    state.inexact = progress.inexact or _difference(progress.machine, machine, in_any_order=in_any_order)


def _check_unchanged(spec: TrialSpec, before: str | int, now: str | int) -> None:
    """Refuse to train on with other images than before; a checkpoint of an earlier version may not know of which."""
    if before and before != now:
        images = spec.data.uri or spec.data.dataset
        raise DataError(
            f"data.uri: the training images in {images} are no longer those that the checkpoint in "
            f"{spec.checkpoint.uri} was trained on; put those back, or name an empty folder in checkpoint.uri"
        )


def _difference(before: Machine, now: Machine, *, in_any_order: bool) -> str:
    """Why a run resumed on this machine is not bit-equal to one that was not interrupted; empty if it is."""
    if in_any_order:
        return "resumed on CUDA without training.deterministic: sums are not repeatable to the bit"
    changed = [
        f"{name} {value} instead of {getattr(before, name)}" for name, value in now if value != getattr(before, name)
    ]
    return f"resumed with {', '.join(changed)}: not bit-equal to an undisturbed run" if changed else ""


def _announce(spec: TrialSpec, state: State, folder: TrialFolder, port: int) -> None:
    """Store what is known already; a server that lets this process read and not write is found out here."""
    if state.rungs or folder.remote:
        folder.report(result(spec, state))
    folder.announce(port)


def _put_together(
    spec: TrialSpec,
    data: TrialData,
    machine: Machine,
    device: torch.device,
    outbox: Outbox,
    exposition: Exposition,
) -> Parts:
    training = spec.training
    needed = needed_nodes(spec.graph, spec.objective.score_of)
    networks = build_networks(
        spec, needed, classes=data.classes, channels=data.channels, image_size=data.image_size,
        train_digest=data.train_digest, device=device,
    )  # fmt: skip

    def batches(images: ImageSet, size: int, *augmentations: Augmentation) -> Batches:
        return Batches(
            images, augmentations=augmentations, mean=data.mean, std=data.std, device=device, batch_size=size
        )

    views = training.unlabelled
    unlabelled = (
        None if data.unlabelled is None else batches(data.unlabelled, views.batch_size, views.destination, views.source)
    )
    feed = Feed(batches(data.train, training.batch_size, training.augmentation), unlabelled, training, spec.seed)
    timetable = Timetable.of(spec, feed.steps_per_epoch)
    step = GraphStep(
        spec.graph,
        networks,
        needed=needed,
        total_steps=timetable.total_steps,
        training=training,
        device=device,
    )
    step.check_statistics(torch.zeros(1, data.channels, data.image_size, data.image_size, device=device))
    scored = batches(data.evaluation, _EVALUATION_BATCH)
    evaluator = Evaluator(
        spec.graph,
        networks,
        scored.evaluation_batches,
        objective=spec.objective,
        training=training,
        device=device,
    )
    return Parts(
        spec,
        _subject(spec),
        machine,
        data.content_digest,
        timetable,
        networks,
        step,
        Sgd(_learning(spec, step.names, networks), training),
        _projection(spec, step, networks),
        MovingAverages(spec.graph, networks),
        feed,
        evaluator,
        outbox,
        exposition,
    )


def _projection(spec: TrialSpec, step: GraphStep, networks: Mapping[str, nn.Module]) -> Projection | None:
    aggregation = spec.training.aggregation
    if aggregation is Aggregation.SUM:
        return None
    (name,) = step.names
    return Projection(step.edges, networks[name], aggregation, spec.seed)


def _learning(spec: TrialSpec, names: Iterable[str], networks: Mapping[str, nn.Module]) -> list[list[nn.Module]]:
    """The networks that learn, those that share a trunk together."""
    groups: dict[tuple[str, str], list[nn.Module]] = {}
    for name in names:
        trunk = spec.graph.node(name).trunk
        groups.setdefault((trunk, "" if trunk else name), []).append(networks[name])
    return list(groups.values())
