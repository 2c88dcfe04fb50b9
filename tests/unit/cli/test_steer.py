"""When what was asked of a search shows in its status."""

from __future__ import annotations

from typing import Any

import pytest

from graphsearch.api import DesiredState
from graphsearch.cli.steer import has_come


def _search(reason: str, *, running: int = 0, succeeded: str = "Unknown", generation: int = 2) -> dict[str, Any]:
    conditions = [
        {"type": "Progressing", "status": "True", "reason": reason, "observedGeneration": generation},
        {"type": "Succeeded", "status": succeeded, "reason": reason, "observedGeneration": generation},
    ]
    return {
        "kind": "GraphSearch",
        "metadata": {"name": "s", "namespace": "x", "generation": 2},
        "status": {"conditions": conditions, "trials": {"running": running}},
    }


@pytest.mark.parametrize(
    ("search", "wanted", "expected"),
    [
        (_search("Paused"), "Paused", True),
        (_search("Paused", running=1), "Paused", False),
        (_search("Paused", generation=1), "Paused", False),
        (_search("Searching"), "Paused", False),
        (_search("Searching"), "Running", True),
        (_search("Paused"), "Running", False),
        (_search("Comparing"), "Finishing", False),
        (_search("Completed", succeeded="True"), "Finishing", True),
        (_search("Cancelled", succeeded="False"), "Cancelled", True),
        (_search("Completed", succeeded="True"), "Paused", True),
        ({"kind": "GraphSearch", "metadata": {"name": "s", "generation": 1}}, "Running", False),
    ],
)
def test_what_is_wanted_has_come_when_the_conditions_say_so(search: dict[str, Any], wanted: str, expected: bool):
    """Of this generation, with nothing left running where that is meant; an ended search keeps nobody waiting."""
    assert has_come(search, DesiredState(wanted)) is expected
