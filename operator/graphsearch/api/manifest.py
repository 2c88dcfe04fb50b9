"""Reads and writes manifests as kubectl does.

YAML is read with kubectl's idea of plain scalars: ``5e-4`` is a number, a date is a string, ``1:30`` is a
string, and a key written twice is an error. Decided against: YAML 1.2 libraries, which would read ``yes`` and
``0o17`` differently from the API server.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from graphsearch.api.graphsearch import GraphSearch
from graphtrial.contract import problems


class ManifestError(Exception):
    """A manifest that cannot be used; ``problems`` holds one line each."""

    def __init__(self, where: str, found: list[str]) -> None:
        super().__init__("\n".join([f"{where}: {line}" for line in found]))
        self.problems = found


class _Loader(yaml.SafeLoader):
    """SafeLoader with kubectl's plain scalars and without duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen and key_node.tag != "tag:yaml.org,2002:merge":
                line = key_node.start_mark.line + 1
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is written twice (line {line})")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$")
_INT = re.compile(r"^[-+]?(0b[01_]+|0o?[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$")
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag.rpartition(":")[2] not in ("float", "int", "timestamp", "value")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def read_manifest(path: Path) -> GraphSearch:
    """The GraphSearch in a file.

    Raises:
        ManifestError: If the file cannot be read, is no YAML, holds something else or a wrong field.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ManifestError(str(path), ["no such file"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(str(path), [f"cannot be read: {error}"]) from None
    return parse_manifest(text, str(path))


def parse_manifest(text: str, where: str = "manifest") -> GraphSearch:
    """The GraphSearch in a text; ``where`` names it in errors.

    Raises:
        ManifestError: As ``read_manifest``.
    """
    try:
        documents = [document for document in yaml.load_all(text, _Loader) if document is not None]
    except yaml.YAMLError as error:
        raise ManifestError(where, [f"is not valid YAML: {_one_line(error)}"]) from None
    except ValueError as error:
        raise ManifestError(where, [f"is not valid YAML: {error}"]) from None
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise ManifestError(where, [f"must hold one GraphSearch, holds {len(documents)} documents"])
    manifest = documents[0]
    if manifest.get("kind") != "GraphSearch":
        raise ManifestError(where, [f"kind: must be GraphSearch (given: {manifest.get('kind')!r})"])
    try:
        return GraphSearch.model_validate(manifest)
    except ValidationError as error:
        raise ManifestError(where, problems(error)) from None


def write_manifest(search: GraphSearch) -> str:
    """YAML of a manifest without defaults."""
    head = {"apiVersion": search.api_version, "kind": search.kind}
    return yaml.safe_dump(head | search.to_json(), sort_keys=False, allow_unicode=True, width=120)


MUTABLE = frozenset({"spec.budget", "spec.desiredState", "spec.ttlSecondsAfterFinished"})
"""What may change while a search runs; the rest is fixed from birth."""


def differences(old: GraphSearch, new: GraphSearch) -> list[str]:
    """Immutable fields in which two manifests differ, as ``spec.seed: 0 -> 1``."""
    return [
        f"{path}: {_shown(before)} -> {_shown(after)}"
        for path, before, after in _differing("", old.to_json(), new.to_json())
        if not any(path == mutable or path.startswith(mutable + ".") for mutable in MUTABLE)
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


def _one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())
