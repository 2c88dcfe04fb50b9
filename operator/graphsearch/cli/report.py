"""``graphsearch report``: writes the report of a search on this machine again, or fetches it from a cluster's bucket.

``graphsearch report build`` is what the last Job of a search on a cluster runs: it gets the facts in files and asks no
API server.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from graphsearch.cli.cluster import on_cluster
from graphsearch.cli.exits import CommandError, Exit
from graphsearch.cli.folders import folder_errors, folder_meant, naming
from graphsearch.local import Folder
from graphtrial.storage import Store, open_store, when_it_answers


def run(options: argparse.Namespace) -> Exit:
    """Write or fetch the report and say where it lies."""
    if options.facts or options.store:
        return _build(options)
    with folder_errors():
        folder = folder_meant(options.search, options)
        page = str(_from_folder(folder, options.folder) if folder else _from_cluster(options))
    print(json.dumps({"report": page}) if options.output == "json" else f"report: {page}")
    return Exit.OK


def write_report(folder: Folder) -> Path:
    """Build the report from the facts and results in a folder; the page's path."""
    from graphsearch.report import build, gather

    ledger = folder.ledger()
    build(gather(folder.manifest(), ledger.search, ledger.trials.values(), folder.store), folder.store)
    return folder.path / "report" / "index.html"


def _from_folder(folder: Folder, to: Path | None) -> Path:
    """Write the report of a search on this machine, and copy it where it is wanted as well."""
    page = write_report(folder)
    return _fetch(folder.store, to) if to else page


def _build(options: argparse.Namespace) -> Exit:
    """The Report Job: facts from files, results from the store, the report into the store."""
    from graphsearch.report import build, gather
    from graphsearch.search.archive import PARTS, ArchiveError, unpack

    if options.search != "build" or not options.facts or not options.store:
        raise CommandError(Exit.USAGE, "--facts and --store belong together: graphsearch report build --facts --store")
    with folder_errors():
        store = open_store(
            options.store, endpoint=options.endpoint, region=options.region, path_style=options.path_style
        )
        parts = [path.read_bytes() for path in sorted(options.facts.glob(PARTS))]
        try:
            manifest, facts, trials = unpack(parts)
        except ArchiveError as error:
            raise CommandError(Exit.USAGE, f"{options.facts}: {error}") from None
        # Attempts of a Job follow one another at once: an outage would cost them all, and the search its report.
        when_it_answers(lambda: build(gather(manifest, facts, trials, store), store))
        print(f"report: {store.url_of('report/index.html')}")
    return Exit.OK


def _from_cluster(options: argparse.Namespace) -> Path:
    """Fetch the report, or build it here from the cluster's facts where it is not there or ``--build`` asks for it."""
    from graphsearch.cli.search import open_root, read_search
    from graphsearch.report import build, gather

    search = on_cluster(options, lambda session: read_search(session, options.search))
    folder = options.folder or Path(f"{search.name}-report")
    store = open_root(search, options)
    if not options.build and store.exists("report/index.html"):
        return _fetch(store, folder)
    with TemporaryDirectory() as scratch:
        built = open_store(scratch)
        build(gather(search.manifest, search.ledger.search, search.ledger.trials.values(), store), store, built)
        return _fetch(built, folder)


def _fetch(store: Store, folder: Path) -> Path:
    """Copy ``report/`` of a store into a folder, the page last; the page's path."""
    keys = sorted(store.list("report/"), key=lambda key: (key == "report/index.html", key))
    for key in keys:
        path = folder / key.removeprefix("report/")
        data = store.read(key)
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return folder.absolute() / "index.html"
