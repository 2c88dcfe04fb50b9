"""The base of every model in the contract, and how its errors read.

Decided against: dataclasses with hand-written checks. Pydantic gives field locations, JSON schema and
(de)serialisation; the rules that need more than one field are small pure functions beside the models.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import InitErrorDetails, PydanticCustomError

Location = tuple[str | int, ...]


class Model(BaseModel):
    """Frozen, closed, camelCase in JSON, snake_case in Python; NaN and infinity travel as strings."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        ser_json_inf_nan="strings",
        use_attribute_docstrings=True,
    )

    def to_json(self) -> dict[str, Any]:
        """The JSON object without defaults: a field added later does not change what was written before."""
        # model_dump(mode="json") would leave NaN and infinity as floats, which JSON cannot hold.
        fields: dict[str, Any] = json.loads(self.model_dump_json(by_alias=True, exclude_defaults=True))
        return fields


class Violation(NamedTuple):
    """One broken rule."""

    location: Location
    """Relative to the model that was checked, such as ``("edges", 4, "gate")``."""
    message: str
    """What is wrong and what would be right."""


def refuse(title: str, violations: Sequence[Violation]) -> None:
    """Raise one ValidationError that holds every violation at its own location; nothing if there are none.

    Raises:
        ValidationError: If ``violations`` is not empty.
    """
    if not violations:
        return
    details = [
        InitErrorDetails(type=PydanticCustomError("rule", "{message}", {"message": message}), loc=location, input=None)
        for location, message in violations
    ]
    raise ValidationError.from_exception_data(title, details)


def problems(error: ValidationError, root: str = "") -> list[str]:
    """One line per problem, ``graph.edges[4].gate: what is wrong``, in the order in which they were found."""
    return [f"{_path(root, problem['loc'])}: {_sentence(problem)}" for problem in error.errors()]


def unknown(error: ValidationError) -> list[str]:
    """Fields that no model knows, as ``graph.edges[4].gatte``."""
    return [_path("", problem["loc"]) for problem in error.errors() if problem["type"] == "extra_forbidden"]


def _path(root: str, location: Sequence[str | int]) -> str:
    path = root
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path or "manifest"


def _sentence(problem: Any) -> str:
    match problem["type"]:
        case "extra_forbidden":
            return "unknown field; check its spelling and where it stands"
        case "missing":
            return "is required and missing"
        case "rule":
            return str(problem["msg"])
        case _:
            message = str(problem["msg"]).removeprefix("Value error, ")
            given = problem.get("input")
            shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
            return message + shown
