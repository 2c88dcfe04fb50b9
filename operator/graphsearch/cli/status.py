"""``graphsearch status``: how a search stands, here or on the cluster; without a name, all on the cluster."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from rich.console import RenderableType
from rich.table import Table

from graphsearch.api.wire import Object, search_status_from_object
from graphsearch.cli.cluster import Session, on_cluster, patiently
from graphsearch.cli.exits import CommandError, Exit
from graphsearch.cli.folders import folder_errors, folder_meant
from graphsearch.cli.live import Scene, display, printer, status_table
from graphsearch.local import Folder
from graphsearch.search.ledger import Ledger
from graphsearch.search.replay import doubt
from graphsearch.search.settled import Settled, settle
from graphsearch.search.status import SearchStatus, summarise

_WATCH_SECONDS = 2.0


def run(options: argparse.Namespace) -> Exit:
    """Print the status as a table or as JSON; with ``--watch`` until the search has ended."""
    if options.search is not None and options.all_namespaces:
        raise CommandError(Exit.USAGE, "a name is of one namespace: leave out NAME or -A")
    if options.watch and (options.search is None or options.output == "json"):
        raise CommandError(Exit.USAGE, "--watch shows one search, as a table: give NAME, and leave out -o json")
    if options.search is None:
        _print_all(options)
        return Exit.OK
    with folder_errors():
        folder = folder_meant(options.search, options)
        if options.watch:
            _watch_folder(folder) if folder else on_cluster(options, lambda at: _watch(at, options.search))
        status = _of_folder(folder) if folder else on_cluster(options, lambda at: _of_search(at, options.search))
    if options.output == "json":
        print(status.model_dump_json(by_alias=True, indent=2))
        return Exit.OK
    if not options.watch:
        printer().print(status_table(status))
    if status.doubt:
        print(f"in doubt: {status.doubt}")
    return Exit.OK


def _of_folder(folder: Folder) -> SearchStatus:
    settled = settle(folder.manifest())
    ledger = folder.ledger()
    status = summarise(settled, ledger, time.time())
    if not folder.has_runner():
        status = status.model_copy(update={"doubt": doubt(settled, ledger)})
        if ledger.search.ended_at is None:
            message = "no runner works on it; graphsearch run with its manifest goes on"
            status = status.model_copy(update={"message": message})
    return status


async def _of_search(session: Session, name: str) -> SearchStatus:
    from graphsearch.cli.search import read_search, status_of

    return status_of(await read_search(session, name), time.time())


@dataclass
class _FolderScene:
    """A search on this machine that another process runs."""

    settled: Settled
    ledger: Ledger
    reported: dict[int, int]


def _look(folder: Folder) -> _FolderScene:
    ledger = folder.ledger()
    left = {index: folder.results(index) for index in ledger.running}
    reported = {
        index: results[-1].evaluations[-1].number
        for index, results in left.items()
        if results and results[-1].evaluations
    }
    return _FolderScene(settle(folder.manifest()), ledger, reported)


def _watch_folder(folder: Folder) -> None:
    with display(plain=False, where=str(folder.path)) as watch:
        while True:
            watch(_look(folder))
            if not folder.has_runner():
                return
            time.sleep(_WATCH_SECONDS)


async def _watch(session: Session, name: str) -> None:
    from graphsearch.cli.search import read_search, refresh, status_of

    seen = await read_search(session, name)

    def shown(_: Scene) -> SearchStatus:
        return status_of(seen, time.time())

    with display(plain=False, where=f"{seen.namespace}/{seen.name}", summary=shown) as watch:
        watch(seen)
        while not seen.is_over:
            await asyncio.sleep(_WATCH_SECONDS)
            seen = await patiently(partial(refresh, session, seen))
            watch(seen)


def _print_all(options: argparse.Namespace) -> None:
    async def listed(session: Session) -> list[Object]:
        from graphsearch.cluster.client import SEARCHES

        found, _ = await session.client.list(SEARCHES, None if options.all_namespaces else session.namespace)
        return found

    rows = [_row(obj) for obj in on_cluster(options, listed)]
    if options.output == "json":
        print(json.dumps(rows, indent=2))
    elif rows:
        printer().print(_table(rows, options.all_namespaces, time.time()))
    else:
        print("no searches" if options.all_namespaces else "no searches in this namespace; -A lists those of all")


def _row(obj: Object) -> Object:
    """One search as its operator last wrote it; no trial is read for it."""
    status, metadata = search_status_from_object(obj), obj["metadata"]
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "state": status.state,
        "best": status.best.score if status.best else None,
        "running": status.trials.running,
        "done": status.trials.done,
        "stopped": status.trials.stopped,
        "gpuHours": status.gpu_hours,
        "created": metadata["creationTimestamp"],
    }


def _table(rows: Iterable[Object], all_namespaces: bool, now: float) -> RenderableType:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for column in (*(("namespace",) if all_namespaces else ()), "name", "state"):
        table.add_column(column, no_wrap=True)
    for column in ("best", "running", "done", "stopped", "GPU hours", "age"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        best = "-" if row["best"] is None else f"{row['best']:.4f}"
        age = timedelta(seconds=round(now - datetime.fromisoformat(row["created"]).timestamp()))
        numbers = (str(row[count]) for count in ("running", "done", "stopped"))
        names = (row["namespace"],) if all_namespaces else ()
        table.add_row(*names, row["name"], row["state"] or "-", best, *numbers, row["gpuHours"] or "-", str(age))
    return table
