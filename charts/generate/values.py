"""The chart's values as its README's table and as its JSON schema, both from the comments of values.yaml.

A value has a description on the line or lines above it that begin with ``# --`` (helm-docs' convention), and where its
default does not say enough of its type, a fragment of JSON schema behind ``# @schema``. It knows nothing of what the
values are for. Decided against: helm-docs and a schema plugin, two more binaries which between them want every
description twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


@dataclass(frozen=True, slots=True)
class Value:
    """One documented value.

    Attributes:
        path: The keys that lead to it.
        default: As values.yaml has it.
        description: One paragraph of Markdown.
        constraint: The schema's fragment; empty where the default says it all.
    """

    path: tuple[str, ...]
    default: Any
    description: str
    constraint: dict[str, Any]


def documented(text: str) -> list[Value]:
    """The values of a values.yaml, in its order.

    Raises:
        ValueError: If a value that is not a group of others has no description.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    return list(_walk(root, (), text.splitlines()))


def _walk(node: yaml.MappingNode, above: tuple[str, ...], lines: Sequence[str]) -> Iterator[Value]:
    for key, value in node.value:
        path = (*above, key.value)
        description, constraint = _comment(lines, key.start_mark.line)
        if description:
            yield Value(path, yaml.safe_load(yaml.serialize(value)), description, constraint)
        elif isinstance(value, yaml.MappingNode) and value.value:
            yield from _walk(value, path, lines)
        else:
            raise ValueError(f"{'.'.join(path)} has no description; write one above it, after `# --`")


def _comment(lines: Sequence[str], line: int) -> tuple[str, dict[str, Any]]:
    """Description and schema fragment that stand directly above a line."""
    above: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("# "):
        line -= 1
        above.insert(0, lines[line].strip())
    schema = [text.removeprefix("# @schema ") for text in above if text.startswith("# @schema ")]
    prose = [text.removeprefix("# ").removeprefix("-- ") for text in above if not text.startswith("# @schema ")]
    if not any(text.startswith("# -- ") for text in above):
        return "", {}
    return " ".join(prose), yaml.safe_load(schema[0]) if schema else {}


def schema(values: Sequence[Value]) -> str:
    """values.schema.json: every value by its default's type and its constraint; unknown ones are refused."""
    root: dict[str, Any] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": False,
        "properties": {"global": {"type": "object", "description": "Helm's own; nothing here reads it."}},
    }
    for value in values:
        group = root
        for key in value.path[:-1]:
            empty = {"type": "object", "additionalProperties": False, "properties": {}}
            group = group["properties"].setdefault(key, empty)
        found = {"type": _TYPES[type(value.default)], "description": value.description}
        group["properties"][value.path[-1]] = found | value.constraint
    return json.dumps(root, indent=2, ensure_ascii=False) + "\n"


def table(values: Sequence[Value]) -> str:
    """The README's table of values."""
    rows = ["| value | default | |", "|---|---|---|"]
    for value in values:
        default = json.dumps(value.default, ensure_ascii=False)
        rows.append(f"| `{'.'.join(value.path)}` | `{default}` | {value.description.replace('|', chr(92) + '|')} |")
    return "\n".join(rows) + "\n"
