"""``graphsearch validate``: whether a manifest is right, and what it means."""

from __future__ import annotations

import argparse

from graphsearch.api import GraphSearchSpec, check_new, read_manifest
from graphsearch.cli.exits import Exit
from graphsearch.search.settled import settle
from graphsearch.search.space import distinct_size, nominal_size


def run(options: argparse.Namespace) -> Exit:
    """Check the manifest and say what it means."""
    manifest = read_manifest(options.manifest)
    check_new(manifest, str(options.manifest))
    settled = settle(manifest)
    print(f"{options.manifest}: a valid GraphSearch")
    print(f"  {described(manifest.spec)}")
    rungs = ", ".join(map(str, settled.rungs)) or "none"
    print(f"  evaluations: {settled.evaluations}, rungs: {rungs}")
    return Exit.OK


def described(spec: GraphSearchSpec) -> str:
    """How many graphs there are to draw or to train."""
    if spec.space is None:
        return f"graphs: {len(spec.graphs)}"
    size, distinct = nominal_size(spec.space), distinct_size(spec.space)
    shown = "continuous" if size is None else f"{size:,} ways to draw a graph, {distinct:,} distinct"
    return f"space: {spec.space.nodes} nodes, {shown}"
