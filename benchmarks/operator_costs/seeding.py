"""Finished trials in bulk, as the operator would have left them.

The first is made through the API server, so that its schema and rules have judged it; the others are what it stored of
that one, with names, uids, graphs and scores of their own, written straight into etcd: 19,000 in seconds instead of
minutes.
"""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.request
import uuid
from collections.abc import Iterable
from typing import Any

from graphsearch.api import (
    Attempt,
    AttemptEnd,
    Decision,
    GraphTrial,
    GraphTrialObjectStatus,
    GraphTrialStatus,
    Outcome,
    Rung,
    SearchFacts,
)
from graphsearch.api import names as n
from graphsearch.api.wire import search_from_object, trial_object, trial_spec_to_wire, trial_status_to_wire
from graphsearch.cluster import jobs
from graphsearch.cluster.client import TRIALS, Client
from graphsearch.cluster.ownership import owner_of
from graphsearch.cluster.showing import trial_status
from graphsearch.search.settled import Settled, settle
from graphsearch.search.stages import search_trial

_AT_A_TIME = 100
"""Keys in one transaction of etcd, which takes 128."""


def seed_finished(control_plane, search, count: int) -> None:
    """Make finished trials, each stopped at its first rung.

    Args:
        control_plane: With the search.
        search: Paused, without trials.
        count: Of trials, with the indexes from 0 on.
    """
    if not count:
        return
    obj = search.object
    settled = settle(search_from_object(obj), reports=True)
    first = asyncio.run(_make(control_plane, obj, settled))
    prefix = f"/registry/graphsearch.io/graphtrials/{search.namespace}/"
    stored = _kept(control_plane.etcd_url, prefix + first)
    for start in range(1, count, _AT_A_TIME):
        indexes = range(start, min(count, start + _AT_A_TIME))
        trials = (stopped(search_trial(settled, index)) for index in indexes)
        _keep(control_plane.etcd_url, ((prefix + trial.name, _like(stored, trial, settled)) for trial in trials))


def stopped(trial: GraphTrial) -> GraphTrial:
    """A trial that its first rung has stopped."""
    now = 1.7e9 + trial.index
    attempt = Attempt(
        number=1,
        identity=str(uuid.UUID(int=trial.index)),
        started_at=now,
        ended_at=now + 9,
        end=AttemptEnd.SAVED,
        exit_code=143,
        seconds=9.0,
    )
    score = 0.1 + (trial.index % 97) / 1000
    rung = Rung(evaluation=1, score=score, rank=9, of=10, decision=Decision.STOP, source="Prometheus", time=now + 5)
    status = GraphTrialStatus(
        attempts=(attempt,),
        rungs=(rung,),
        outcome=Outcome.STOPPED,
        message="rank 9 of 10 at evaluation 1",
        score=score,
        ended_at=now + 9,
    )
    return trial.model_copy(update={"status": status})


async def _make(control_plane, obj: dict[str, Any], settled: Settled) -> str:
    """The first trial, through the API server; its name."""
    namespace, uid = obj["metadata"]["namespace"], obj["metadata"]["uid"]
    trial = stopped(search_trial(settled, 0))
    async with Client.connect(str(control_plane.kubeconfig)) as client:
        labels = jobs.labels_of(settled, SearchFacts(uid=uid, started_at=0.0), trial)
        await client.create(trial_object(trial, namespace, labels, owner_of(obj)))
        patch = {"status": _status(trial, settled)}
        await client.patch(TRIALS, namespace, trial.name, patch, subresource="status")
    return trial.name


def _status(trial: GraphTrial, settled: Settled) -> dict[str, Any]:
    shown = trial_status(
        trial,
        None,
        GraphTrialObjectStatus(),
        evaluation=1,
        epochs=settled.training.evaluate_every.epochs,
        generation=1,
        now=trial.status.ended_at or 0.0,
    )
    return trial_status_to_wire(trial.status) | shown.to_json()


def _like(stored: dict[str, Any], trial: GraphTrial, settled: Settled) -> dict[str, Any]:
    """What would be stored of a trial, after another one."""
    labels = stored["metadata"]["labels"] | {n.TRIAL_LABEL: trial.name}
    metadata = stored["metadata"] | {"name": trial.name, "uid": str(uuid.uuid4()), "labels": labels}
    return stored | {"metadata": metadata, "spec": trial_spec_to_wire(trial), "status": _status(trial, settled)}


def _keep(etcd: str, objects: Iterable[tuple[str, dict[str, Any]]]) -> None:
    puts = [{"requestPut": {"key": _coded(key), "value": _coded(json.dumps(obj) + "\n")}} for key, obj in objects]
    _ask(etcd, "/v3/kv/txn", {"success": puts})


def _kept(etcd: str, key: str) -> dict[str, Any]:
    [found] = _ask(etcd, "/v3/kv/range", {"key": _coded(key)})["kvs"]
    obj: dict[str, Any] = json.loads(base64.b64decode(found["value"]))
    return obj


def _ask(etcd: str, path: str, question: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(etcd + path, data=json.dumps(question).encode())
    with urllib.request.urlopen(request, timeout=60) as answer:
        said: dict[str, Any] = json.load(answer)
    return said


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
