"""Attention maps of all nodes in two dimensions by UMAP (spec 8), which is an optional extra.

Decided against: PCA where UMAP is missing. It shows other things, and a reader would take it for the thesis's picture.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from typing import Any

MISSING = "install graphsearch[analysis] and write the report again"
"""What to do where umap-learn is not there."""


def embedded(content: bytes) -> list[dict[str, Any]] | None:
    """The place of every map, ``{"node": name, "x": ..., "y": ...}``; None where umap-learn is not installed.

    Of a content that holds no maps, as of another version's, none is placed.

    Args:
        content: The object ``MAPS`` of a trial.
    """
    try:
        with warnings.catch_warnings():
            # Of TensorFlow, which only its parametric variant needs.
            warnings.simplefilter("ignore", ImportWarning)
            import numpy as np
            from umap import UMAP
    except ImportError:
        return None
    try:
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        nodes, maps = loaded["nodes"].tolist(), loaded["maps"]
    except (ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile):
        return []
    rows = maps.reshape(maps.shape[0] * maps.shape[1], -1).astype(np.float32)
    if len(rows) < 4:
        return []
    # With a seed the picture is the same each time; UMAP then works on one core.
    places = UMAP(n_neighbors=min(15, len(rows) - 1), random_state=0, n_jobs=1).fit_transform(rows)
    names = [name for name in nodes for _ in range(maps.shape[1])]
    return [
        {"node": name, "x": round(float(x), 3), "y": round(float(y), 3)}
        for name, (x, y) in zip(names, places, strict=True)
    ]
