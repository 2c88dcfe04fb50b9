"""Real data that lies beside the repository, where it does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parents[2] / "shared" / "data"


def shared_data(name: str) -> Path:
    """The file, or a skip that names it; where nothing may skip, a failure."""
    path = _FOLDER / name
    if not path.exists():
        message = f"needs {name} in ../shared/data"
        if os.environ.get("GRAPHSEARCH_NO_SKIPS"):
            pytest.fail(message)
        pytest.skip(message)
    return path
