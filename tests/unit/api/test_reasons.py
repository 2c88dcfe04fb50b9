"""docs/cluster.md lists every word that a condition, an outcome, an attempt or an Event can carry, and no other."""

from __future__ import annotations

import ast
import inspect
import re
from enum import StrEnum
from pathlib import Path

import pytest

from graphsearch.api import AttemptEnd, EventReason, MetricsReason, Outcome, Reason, TrialReason

_PAGE = (Path(__file__).parents[3] / "docs" / "cluster.md").read_text()


def described(kind: type[StrEnum]) -> list[tuple[str, str]]:
    """Every member's value with the docstring below it."""
    (body,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(body, ast.ClassDef)
    found = []
    for assigned, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(assigned, ast.Assign):
            assert isinstance(below, ast.Expr)
            found.append((ast.literal_eval(assigned.value), ast.literal_eval(below.value)))
    return found


@pytest.mark.parametrize("kind", [Reason, MetricsReason, TrialReason, Outcome, AttemptEnd, EventReason])
def test_every_reason_is_documented(kind: type[StrEnum]):
    """In the table that the enum's name marks, in its order and in the words of its docstrings."""
    assert [value for value, _ in described(kind)] == list(kind)
    table = _PAGE.partition(f"<!-- {kind.__name__} -->\n")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE) == described(kind)
