"""``graphsearch validate``: whether a manifest is right, and what it means."""

from __future__ import annotations

import argparse

from graphsearch.api import read_manifest
from graphsearch.cli.exits import Exit
from graphsearch.search.settled import settle
from graphsearch.search.space import distinct_size, nominal_size


def run(options: argparse.Namespace) -> Exit:
    """Check the manifest and say what it means."""
    manifest = read_manifest(options.manifest)
    settled = settle(manifest)
    print(f"{options.manifest}: a valid GraphSearch")
    if manifest.spec.space is not None:
        size, distinct = nominal_size(manifest.spec.space), distinct_size(manifest.spec.space)
        shown = "continuous" if size is None else f"{size:,} ways to draw a graph, {distinct:,} distinct"
        print(f"  space: {manifest.spec.space.nodes} nodes, {shown}")
    else:
        print(f"  graphs: {len(manifest.spec.graphs)}")
    rungs = ", ".join(map(str, settled.rungs)) or "none"
    print(f"  evaluations: {settled.evaluations}, rungs: {rungs}")
    return Exit.OK
