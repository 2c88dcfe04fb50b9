"""``graphsearch export``: the trials of a search as runs of a tracking tool.

A run has the graph, its models and the seed as parameters, every evaluation's numbers as metrics over steps, and how
the trial ended as tags. Exporting again brings up to date what has changed since and doubles nothing.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from graphsearch.api import GraphSearch, GraphTrial, Outcome, SearchFacts
from graphsearch.cli.cluster import on_cluster
from graphsearch.cli.exits import CommandError, Exit
from graphsearch.cli.folders import folder_errors, folder_meant
from graphtrial.contract import EVENTS, Edge, Event, EventKind, GateType, Purpose, canonical_json, events_of
from graphtrial.storage import Corrupt, Missing, Store

_READERS = 16
"""Reads at a time: each waits for a bucket, which may be far away."""


@dataclass(frozen=True, slots=True)
class Point:
    """One evaluation."""

    step: int
    time: float
    """Seconds since the epoch."""
    metrics: dict[str, float]
    """Finite ones; names as ``score``, ``scores/mean``, ``nodes/1``, ``losses/1``, ``learning_rate``, ``seconds``."""


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """One trial as a tracking tool wants it."""

    name: str
    uid: str
    """The same whenever the trial is exported."""
    outcome: Outcome | None
    params: dict[str, str]
    tags: dict[str, str]
    points: list[Point]
    started: float
    ended: float | None


def run(options: argparse.Namespace) -> Exit:
    """Export and say where to."""
    if options.tracking_uri is not None and options.to != "mlflow":
        raise CommandError(Exit.USAGE, "--tracking-uri is MLflow's; --to tensorboard takes --output")
    if options.output is not None and options.to != "tensorboard":
        raise CommandError(Exit.USAGE, "--output is TensorBoard's; --to mlflow takes --tracking-uri")
    with folder_errors():
        manifest, runs = _runs(options)
        if not runs:
            raise CommandError(Exit.NO_RESULT, f"{manifest.metadata.name}: no trial has started; there is nothing yet")
        if options.to == "tensorboard":
            from graphsearch.cli.export_tensorboard import write

            where = str(write(runs, options.output or Path(f"{manifest.metadata.name}-tensorboard")))
            hint = f"; see them with: tensorboard --logdir {where}"
        else:
            from graphsearch.cli.export_mlflow import log

            where, hint = log(manifest.metadata.name, runs, options.tracking_uri), ""
    print(f"{len(runs)} runs in {where}{hint}")
    return Exit.OK


def _runs(options: argparse.Namespace) -> tuple[GraphSearch, list[TrackedRun]]:
    """The search that is meant, on this machine or on the cluster, and its trials."""
    if folder := folder_meant(options.search, options):
        ledger, manifest = folder.ledger(), folder.manifest()
        return manifest, tracked(manifest, ledger.search, ledger.trials.values(), folder.store)
    from graphsearch.cli.search import open_root, read_search

    search = on_cluster(options, lambda session: read_search(session, options.search))
    store = open_root(search, options)
    return search.manifest, tracked(search.manifest, search.ledger.search, search.ledger.trials.values(), store)


def tracked(manifest: GraphSearch, facts: SearchFacts, trials: Iterable[GraphTrial], store: Store) -> list[TrackedRun]:
    """The trials that have started, by index.

    Args:
        manifest: Of the search.
        facts: Of the search.
        trials: With their facts.
        store: Of the search's folder, with ``trials/<index>/events.jsonl``.

    Raises:
        StorageError: If the store does not answer.
    """
    shown = [trial for trial in trials if trial.status.attempts and trial.spec.purpose is not Purpose.REPORT]
    shown.sort(key=lambda trial: trial.index)
    with ThreadPoolExecutor(_READERS) as readers:
        events = list(readers.map(lambda trial: _events(store, trial.index), shown))
    return [_run(manifest, facts, trial, told) for trial, told in zip(shown, events, strict=True)]


def _events(store: Store, index: int) -> list[Event]:
    try:
        return events_of(store.read(f"trials/{index}/{EVENTS}").decode(errors="replace"))
    except (Missing, Corrupt):
        return []


def _run(manifest: GraphSearch, facts: SearchFacts, trial: GraphTrial, events: list[Event]) -> TrackedRun:
    times = [attempt.started_at for attempt in trial.status.attempts if attempt.started_at is not None]
    return TrackedRun(
        name=trial.name,
        uid=f"{facts.uid}-t{trial.index}",
        outcome=trial.status.outcome,
        params=dict(_params(manifest, trial)),
        tags=_tags(manifest, trial),
        points=[_point(event) for event in events if event.event is EventKind.EVALUATION],
        started=min([*times, *(event.time for event in events)], default=facts.started_at),
        ended=trial.status.ended_at,
    )


def _params(manifest: GraphSearch, trial: GraphTrial) -> Iterator[tuple[str, str]]:
    """What decides a training, with one parameter for each network and edge, so that runs can be compared by them."""
    graph = trial.spec.graph
    yield "seed", str(trial.spec.seed)
    yield "dataset", manifest.spec.data.dataset
    for node in graph.nodes:
        yield f"model/{node.name}", node.model or node.kind.value
    for edge in graph.edges:
        yield f"edge/{edge.source} to {edge.destination}/{edge.loss.type.value}", _gate(edge)
    yield "graph", canonical_json(graph.to_json())


def _gate(edge: Edge) -> str:
    gate = edge.gate
    if gate.type is GateType.SINE:
        return f"{gate.type.value} {gate.frequency:.4g} {gate.phase:.4g}"
    return gate.type.value


def _tags(manifest: GraphSearch, trial: GraphTrial) -> dict[str, str]:
    outcome = trial.status.outcome
    found = {
        "search": manifest.metadata.name,
        "trial": str(trial.index),
        "purpose": trial.spec.purpose.value,
        "outcome": outcome.value if outcome else "Running",
    }
    if trial.spec.contenders:
        found["contenders"] = ", ".join(trial.spec.contenders)
    return found


def _point(event: Event) -> Point:
    metrics = {
        "score": event.score,
        **{f"scores/{name}": value for name, value in event.scores.items()},
        **{f"nodes/{name}": value for name, value in event.nodes.items()},
        **{f"losses/{name}": value for name, value in event.losses.items()},
        "learning_rate": event.learning_rate,
        "seconds": event.seconds,
    }
    finite = {name: value for name, value in metrics.items() if value is not None and math.isfinite(value)}
    return Point(event.step, event.time, finite)
