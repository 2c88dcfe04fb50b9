"""What becomes of a test whose machine lacks something."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def skip_or_fail(message: str) -> NoReturn:
    """Skip with a message that says what is needed; where nothing may skip, fail with it."""
    if os.environ.get("GRAPHSEARCH_NO_SKIPS"):
        pytest.fail(message)
    pytest.skip(message)
