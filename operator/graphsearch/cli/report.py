"""``graphsearch report``: writes the report of a search on this machine, ended or not, from its folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from graphsearch.cli.exits import Exit
from graphsearch.cli.folders import folder_errors, named
from graphsearch.local import Folder


def run(options: argparse.Namespace) -> Exit:
    """Write the report and say where it lies."""
    with folder_errors():
        print(f"report: {write_report(named(options.folder, options.runs))}")
    return Exit.OK


def write_report(folder: Folder) -> Path:
    """Build the report from the facts and results in a folder; the page's path."""
    from graphsearch.report import SearchRecord, build

    ledger = folder.ledger()
    results = {index: found[-1] for index in ledger.trials if (found := folder.results(index))}
    record = SearchRecord(
        manifest=folder.manifest(), facts=ledger.search, trials=tuple(ledger.trials.values()), results=results
    )
    build(record, folder.store)
    return folder.path / "report" / "index.html"
