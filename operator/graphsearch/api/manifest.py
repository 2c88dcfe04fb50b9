"""Reads and writes manifests as kubectl does.

YAML is read with kubectl's idea of plain scalars (goyaml v2): ``5e-4`` is a number, ``010`` is eight, ``yes`` and
``y`` are true, a date and ``1:30`` are strings, and a key written twice is an error. What was read is JSON to the
API server, so types are those of JSON: ``"5"`` and ``true`` are no numbers, and ``1e3`` is an integer.

Decided against: YAML 1.2 libraries, which would read ``yes`` and ``010`` differently from the API server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from graphsearch.api.graphsearch import GraphSearch
from graphsearch.api.lengths import length_problem
from graphtrial.contract import problems


class ManifestError(Exception):
    """A manifest that cannot be used; ``problems`` holds one line each."""

    def __init__(self, where: str, found: list[str]) -> None:
        super().__init__("\n".join([f"{where}: {line}" for line in found]))
        self.problems = found


_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """SafeLoader with kubectl's plain scalars and without duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == _TAG + "merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue
            if key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is written twice (line {line})")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes strings which kubectl would take for something else."""


_NUMERIC = list("-+0123456789.")
_INT = re.compile(r"^[-+]?(0_*[bB][_01]*[01]_*|0_*[xX][_0-9a-fA-F]*[0-9a-fA-F]_*|0_*[oO]?[_0-7]*|[1-9][0-9_]*)$")
_FLOAT = re.compile(
    r"^[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"
)
_BOOL = re.compile(r"^(y|Y|n|N)$")
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag.removeprefix(_TAG) not in ("float", "int", "timestamp", "value")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _each in (_Loader, _Dumper):
    _each.add_implicit_resolver(_TAG + "int", _INT, _NUMERIC)
    _each.add_implicit_resolver(_TAG + "float", _FLOAT, _NUMERIC)
    _each.add_implicit_resolver(_TAG + "bool", _BOOL, list("yYnN"))
_Loader.bool_values = yaml.SafeLoader.bool_values | {"y": True, "n": False}


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node)).replace("_", "").lower()
    digits = text.lstrip("+-")
    octal = len(digits) > 1 and digits.isdigit() and digits.startswith("0")
    value = int(digits, 8) if octal else int(digits, 0)
    return -value if text.startswith("-") else value


_Loader.add_constructor(_TAG + "int", _construct_int)


def read_manifest(path: Path) -> GraphSearch:
    """The GraphSearch in a file.

    Raises:
        ManifestError: If the file cannot be read, is no YAML, holds something else or a wrong field.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ManifestError(str(path), ["no such file"]) from None
    except UnicodeDecodeError as error:
        raise ManifestError(str(path), [f"is not UTF-8 text: {error.reason} at byte {error.start}"]) from None
    except OSError as error:
        raise ManifestError(str(path), [f"cannot be read: {error.strerror}"]) from None
    return parse_manifest(text, str(path))


def check_new(manifest: GraphSearch, where: str) -> None:
    """What is asked of a search that is yet to begin; one that an earlier version has begun goes on as it is.

    Raises:
        ManifestError: If no score reaches its goal, or each does; or its trials would be of different lengths.
    """
    asked = {
        "spec.objective.goal": manifest.spec.objective.problem(),
        "spec.training.length.epochs": length_problem(manifest.spec),
    }
    if found := [f"{field}: {problem}" for field, problem in asked.items() if problem]:
        raise ManifestError(where, found)


def parse_manifest(text: str, where: str = "manifest") -> GraphSearch:
    """The GraphSearch in a text; ``where`` names it in errors.

    Raises:
        ManifestError: As ``read_manifest``.
    """
    manifest = _document(text, where)
    if manifest.get("kind") != "GraphSearch":
        raise ManifestError(where, [f"kind: must be GraphSearch (given: {manifest.get('kind')!r})"])
    try:
        text = json.dumps(_as_json(manifest), ensure_ascii=False)
        return GraphSearch.model_validate_json(text.encode(), strict=True)
    except ValidationError as error:
        raise ManifestError(where, problems(error)) from None
    except UnicodeEncodeError as error:
        before = error.object[max(0, error.start - 40) : error.start]
        raise ManifestError(where, [f"holds half a character, {error.object[error.start]!a}, after {before}"]) from None
    except (TypeError, RecursionError) as error:
        raise ManifestError(where, [f"holds what JSON cannot: {error}"]) from None


def _document(text: str, where: str) -> dict[Any, Any]:
    try:
        documents = [document for document in yaml.load_all(text, _Loader) if document is not None]
    except (yaml.YAMLError, ValueError) as error:
        raise ManifestError(where, [f"is not valid YAML: {' '.join(str(error).split())}"]) from None
    except RecursionError:
        raise ManifestError(where, ["is nested too deeply to be a GraphSearch"]) from None
    if len(documents) != 1:
        raise ManifestError(where, [f"must hold one GraphSearch, holds {len(documents)} documents"])
    if not isinstance(documents[0], dict):
        raise ManifestError(where, [f"must hold a GraphSearch, holds a {type(documents[0]).__name__}"])
    return documents[0]


def _as_json(value: Any) -> Any:
    """As kubectl's JSON: a whole number is an integer however it was written."""
    match value:
        case dict():
            return {key: _as_json(item) for key, item in value.items()}
        case list():
            return [_as_json(item) for item in value]
        case float() if value.is_integer() and abs(value) < 1e21:
            return int(value)
    return value


def write_manifest(search: GraphSearch) -> str:
    """YAML of a manifest without defaults."""
    return yaml.dump(search.to_json(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


_ALWAYS_MUTABLE = frozenset({"spec.desiredState", "spec.ttlSecondsAfterFinished"})
MUTABLE = _ALWAYS_MUTABLE | {"spec.budget"}
"""What may change while a search runs; the rest is fixed from birth."""


def differences(old: GraphSearch, new: GraphSearch, *, has_ended: bool = False) -> list[str]:
    """Immutable fields in which two manifests differ, as ``spec.seed: 0 -> 1``; of an ended search its budget too."""
    may_change = _ALWAYS_MUTABLE if has_ended else MUTABLE
    return [
        f"{path}: {_shown(before)} -> {_shown(after)}"
        for path, before, after in _differing("", old.to_json(), new.to_json())
        if not any(path == mutable or path.startswith(mutable + ".") for mutable in may_change)
    ]


def _differing(path: str, old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            found
            for key in [*old, *(key for key in new if key not in old)]
            for found in _differing(f"{path}.{key}" if path else key, old.get(key), new.get(key))
        ]
    return [(path, old, new)] if old != new else []


def _shown(value: Any) -> str:
    text = "(default)" if value is None else yaml.safe_dump(value, default_flow_style=True, width=10_000)
    text = text.removesuffix("\n").removesuffix("\n...")
    return text if len(text) <= 60 else text[:57] + "..."
