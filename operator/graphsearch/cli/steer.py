"""``graphsearch pause``, ``resume``, ``finish`` and ``cancel``: what is wanted of a search on a cluster.

Each sets ``spec.desiredState`` and leaves the judgement to the API server, whose rules know which states are final.
"""

from __future__ import annotations

import argparse
import asyncio
import json

from graphsearch.api import Condition, ConditionStatus, ConditionType, DesiredState, Reason
from graphsearch.api.wire import Object, search_status_from_object
from graphsearch.cli.cluster import Session, on_cluster, patiently
from graphsearch.cli.exits import Exit
from graphsearch.cli.search import is_decided

_POLL_SECONDS = 1.0


def run(options: argparse.Namespace) -> Exit:
    """Set the desired state, and with ``--wait`` return when it shows."""
    wanted = DesiredState(options.wanted)
    obj = on_cluster(options, lambda session: _steer(session, options.search, wanted, options.wait))
    status = search_status_from_object(obj)
    ended = status.facts is not None and status.facts.ended_at is not None
    if options.output == "json":
        names = {key: obj["metadata"][key] for key in ("namespace", "name")}
        print(json.dumps(names | {"desiredState": wanted.value, "state": status.state, "ended": ended}, indent=2))
    elif ended:
        print(f"{options.search}: has ended ({status.state})")
    else:
        print(f"{options.search}: desiredState is {wanted.value}, state {status.state or 'not known yet'}")
    return Exit.OK


async def _steer(session: Session, name: str, wanted: DesiredState, wait: bool) -> Object:
    from graphsearch.cluster.client import SEARCHES

    obj = await session.get(SEARCHES, name)
    patch = {"metadata": {"uid": obj["metadata"]["uid"]}, "spec": {"desiredState": wanted.value}}
    obj = await session.client.patch(SEARCHES, session.namespace, name, patch)
    while wait and not has_come(obj, wanted):
        await asyncio.sleep(_POLL_SECONDS)
        obj = await patiently(lambda: session.get(SEARCHES, name))
    return obj


def has_come(obj: Object, wanted: DesiredState) -> bool:
    """Whether a search's status shows what is wanted of it; of one that has ended, or is refused, nothing more will.

    Paused has come when nothing trains any more, Running when the operator has taken note, the final states when the
    search has ended.
    """
    status = search_status_from_object(obj)
    conditions = {condition.type: condition for condition in status.conditions}
    if is_decided(obj):
        return True
    accepted = conditions.get(ConditionType.ACCEPTED)
    is_seen = accepted is not None and accepted.observed_generation >= obj["metadata"]["generation"]
    if accepted is not None and is_seen and accepted.status is ConditionStatus.FALSE:
        return True
    progressing = conditions.get(ConditionType.PROGRESSING)
    if progressing is None or progressing.observed_generation < obj["metadata"]["generation"]:
        return False
    match wanted:
        case DesiredState.PAUSED:
            return _is_paused(progressing) and status.trials.running == 0
        case DesiredState.RUNNING:
            return not _is_paused(progressing)
    return False


def _is_paused(progressing: Condition) -> bool:
    return progressing.reason == Reason.PAUSED
