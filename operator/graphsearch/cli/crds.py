"""``graphsearch crds``: the definitions of GraphSearch and GraphTrial for ``kubectl apply --server-side``."""

from __future__ import annotations

import argparse

from graphsearch.api.crds import crd_yaml, crds
from graphsearch.cli.exits import Exit
from graphsearch.cli.folders import folder_errors, naming


def run(options: argparse.Namespace) -> Exit:
    """Write one file for each, or print both."""
    texts = {name: crd_yaml(crd) for name, crd in crds().items()}
    if options.output is None:
        print("---\n".join(texts.values()), end="")
        return Exit.OK
    with folder_errors():
        options.output.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            path = options.output / name
            with naming(path):
                path.write_text(text, encoding="utf-8")
    return Exit.OK
