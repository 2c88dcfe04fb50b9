"""``graphsearch purge``: deletes what a search on a cluster has left in its bucket, with the user's own credentials.

Nothing else does: a search that is deleted leaves its checkpoints and its report. So this also finds what searches of
the name have left that are gone from the cluster. Teachers belong to all searches of a namespace.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass

from rich.console import Console
from rich.filesize import decimal

from graphsearch.api import CheckpointChoice
from graphsearch.api import names as n
from graphsearch.api.wire import Object, search_from_object
from graphsearch.cli.cluster import Session, on_cluster
from graphsearch.cli.exits import CommandError, Exit
from graphsearch.cli.folders import folder_errors
from graphsearch.cli.search import facts_of, is_decided, opened
from graphtrial.storage import Store

_TEACHERS = "teachers/"


@dataclass(frozen=True)
class Left:
    """What the cluster knows of a search whose objects are to go."""

    namespace: str
    choice: CheckpointChoice
    uid: str
    """Of the search; empty where it is gone from the cluster."""


def run(options: argparse.Namespace) -> Exit:
    """List what will go, ask, and delete it."""
    left = on_cluster(options, lambda session: _left(session, options))
    with folder_errors():
        store = opened(f"{left.choice.uri.rstrip('/')}/{left.namespace}", left.choice, options)
        doomed = _doomed(store, options.search, left.uid, options.teachers)
        total = sum(doomed.values())
        _list(doomed, options)
        if doomed and not _is_agreed(options, f"Delete {len(doomed):,} objects ({decimal(total)})?"):
            return Exit.OK
        # Last what a report or a resumed trial would be found by: a purge that was cut short is simply run again.
        for key in sorted(doomed, key=lambda key: (key.endswith("latest.json"), key)):
            store.delete(key)
    if options.output == "json":
        print(json.dumps({"objects": len(doomed), "bytes": total, "uri": store.url_of("x").removesuffix("/x")}))
    elif doomed:
        print(f"deleted {len(doomed):,} objects ({decimal(total)})")
    return Exit.OK


async def _left(session: Session, options: argparse.Namespace) -> Left:
    """Refuse while anything may still write or read there.

    Raises:
        CommandError: If the search runs, or nobody says where it has saved.
    """
    from graphsearch.cluster.client import PODS, SEARCHES

    searches, _ = await session.client.list(SEARCHES, session.namespace)
    for obj in searches:
        if facts_of(obj).ended_at is None and (options.teachers or obj["metadata"]["name"] == options.search):
            name = obj["metadata"]["name"]
            why = "" if name == options.search else ", and may need the teachers"
            raise CommandError(Exit.REFUSED, f"{name} still runs{why}; wait for it, or: graphsearch cancel {name}")
        if obj["metadata"]["name"] == options.search and not is_decided(obj):
            raise CommandError(Exit.REFUSED, f"{options.search}: its report is not built yet; wait for it")
    pods, _ = await session.client.list(PODS, session.namespace, labels=f"{n.SEARCH_LABEL}={options.search}")
    if alive := [pod["metadata"]["name"] for pod in pods if _is_alive(pod)]:
        raise CommandError(Exit.REFUSED, f"{len(alive)} pods may still save, such as {alive[0]}; wait for them")
    found = [obj for obj in searches if obj["metadata"]["name"] == options.search]
    choice = search_from_object(found[0]).spec.checkpoint if found else CheckpointChoice(uri=options.uri or "")
    if not choice.uri:
        here = "its spec.checkpoint.uri is empty" if found else f"no GraphSearch in namespace {session.namespace}"
        raise CommandError(
            Exit.NOT_FOUND, f"{options.search}: {here}; --uri says where it has saved (its checkpoint.uri)"
        )
    return Left(session.namespace, choice, found[0]["metadata"]["uid"] if found else "")


def _is_alive(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in ("Pending", "Running", "Unknown")


def _doomed(store: Store, search: str, uid: str, teachers: bool) -> dict[str, int]:
    """Keys and sizes of the objects of this search, or of all that ever had its name."""
    pattern = re.compile(rf"{re.escape(search)}-{re.escape(uid[:8]) if uid else '[0-9a-f]{8}'}/.+")
    found = {key: size for key, size in store.sizes(f"{search}-").items() if pattern.fullmatch(key)}
    return found | (store.sizes(_TEACHERS) if teachers else {})


def _list(doomed: dict[str, int], options: argparse.Namespace) -> None:
    """One line per folder of trials, report or teachers; to standard error where the output is for a program."""
    console = Console(stderr=options.output == "json", highlight=False, markup=False)
    if not doomed:
        console.print("nothing is left there")
        return
    folders: dict[str, list[int]] = {}
    for key, size in doomed.items():
        folder = "/".join(key.split("/")[:2]) if not key.startswith(_TEACHERS) else "teachers"
        folders.setdefault(folder, []).append(size)
    for folder, sizes in folders.items():
        console.print(f"{len(sizes):>8,} objects {decimal(sum(sizes)):>10}  {folder}")


def _is_agreed(options: argparse.Namespace, question: str) -> bool:
    if options.yes:
        return True
    if not sys.stdin.isatty():
        raise CommandError(Exit.USAGE, "nobody can be asked here; --yes deletes without asking")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
