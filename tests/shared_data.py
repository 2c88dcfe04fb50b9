"""Real data that lies beside the repository, where it does."""

from __future__ import annotations

from pathlib import Path

from tests.skipping import skip_or_fail

_FOLDER = Path(__file__).parents[2] / "shared" / "data"


def shared_data(name: str) -> Path:
    """The file, or a skip that names it; where nothing may skip, a failure."""
    path = _FOLDER / name
    if not path.exists():
        skip_or_fail(f"needs {name} in ../shared/data")
    return path
