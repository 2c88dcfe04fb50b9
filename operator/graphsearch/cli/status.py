"""``graphsearch status``: how a search on this machine stands, running or not."""

from __future__ import annotations

import argparse
import time

from rich.console import Console

from graphsearch.cli.exits import Exit
from graphsearch.cli.folders import folder_errors, named
from graphsearch.cli.live import status_table
from graphsearch.search.settled import settle
from graphsearch.search.status import summarise


def run(options: argparse.Namespace) -> Exit:
    """Print the status as a table or as JSON."""
    with folder_errors():
        folder = named(options.folder, options.runs)
        settled = settle(folder.manifest())
        ledger = folder.ledger()
        status = summarise(settled, ledger, time.time())
        if ledger.search.ended_at is None and not folder.has_runner():
            message = "no runner works on it; graphsearch run with its manifest goes on"
            status = status.model_copy(update={"message": message})
    if options.output == "json":
        print(status.model_dump_json(by_alias=True, indent=2))
    else:
        Console().print(status_table(status))
    return Exit.OK
