"""Structural schemas for the API server from the Pydantic models.

What Kubernetes asks of a schema and Pydantic does not give: references written out, no null, a kind of list for each
list, one type per value. It must not know the two resources, only models.

Decided against: the libraries that generate such schemas (none writes rules and kinds of lists), and defaults within
graphs: a trial with 49 edges would take 9 KB more than was written, for values that the field's description can say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic.json_schema import GenerateJsonSchema

from graphtrial.contract import Model

Object = dict[str, Any]

_INT32 = 2**31 - 1
_QUANTITY = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([numkKMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?$"
_LIMITS = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}
_DROPPED = ("title", "description", "default", "$ref", "const", *_LIMITS)


@dataclass(frozen=True)
class Rule:
    """A rule in CEL (``x-kubernetes-validations``)."""

    rule: str
    """True of what is right; ``self`` is the object that the rule stands on."""
    message: str
    """What would be right."""
    path: str = ""
    """The field that is to blame, such as ``.batchSize``, where it is not the whole object."""
    shown: str = ""
    """An expression for a message that names what was given; ``message`` stands where it cannot be evaluated."""
    reason: Literal["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired"] = "FieldValueInvalid"
    at_birth: bool = False
    """Judged when the object is made and not at each later write: for costly rules on what never changes."""

    def to_schema(self) -> Object:
        """As it stands in a schema."""
        found = {
            "rule": f"oldSelf.hasValue() || ({self.rule})" if self.at_birth else self.rule,
            "optionalOldSelf": self.at_birth,
            "message": self.message,
            "messageExpression": self.shown,
            "fieldPath": self.path,
            "reason": self.reason,
        }
        return {key: value for key, value in found.items() if value and value != "FieldValueInvalid"}


Rules = Mapping[type[Model], Sequence[Rule]]


def structural_schema(
    model: type[Model],
    *,
    rules: Rules,
    keys: Mapping[type[Model], str],
    without_defaults: Sequence[type[Model]] = (),
) -> Object:
    """The schema of a model for a CustomResourceDefinition.

    Args:
        model: Whose aliases are the field names.
        rules: By the model that they stand on, wherever it occurs.
        keys: For models whose lists are maps: the field that identifies an item.
        without_defaults: Models in which, and in all they hold, defaults are described and not filled in.
    """
    document = model.model_json_schema(schema_generator=_Generator)
    parts = _Parts(
        definitions=document.get("$defs", {}),
        rules={kind.__name__: found for kind, found in rules.items()},
        keys={kind.__name__: key for kind, key in keys.items()},
        without_defaults=frozenset(kind.__name__ for kind in without_defaults),
    )
    return _object(document, model.__name__, parts, defaults=model not in without_defaults)


class _Generator(GenerateJsonSchema):
    """Pydantic's generator, with defaults as a user would write them."""

    def encode_default(self, dft: Any) -> Any:
        """The default in JSON, whole (rules judge it before the API server fills it in) but for what is empty."""
        match dft:
            case Model():
                return _without_empty(json.loads(dft.model_dump_json(by_alias=True)))
            case tuple():
                return [self.encode_default(item) for item in dft]
        return super().encode_default(dft)


def _without_empty(value: Any) -> Any:
    match value:
        case dict():
            return {key: _without_empty(item) for key, item in value.items() if item not in (None, "", [], {})}
        case list():
            return [_without_empty(item) for item in value]
    return value


@dataclass(frozen=True)
class _Parts:
    definitions: Mapping[str, Object]
    rules: Mapping[str, Sequence[Rule]]
    keys: Mapping[str, str]
    without_defaults: frozenset[str]


def _value(schema: Object, parts: _Parts, *, defaults: bool) -> Object:
    """Any schema of Pydantic's as a structural one."""
    given = _single(schema)
    name = given.get("$ref", "").rpartition("/")[2]
    if name:
        given = {**parts.definitions[name], **given}
    given = {key: value for key, value in given.items() if value is not None}
    if given.get("type") == "object" and "properties" in given:
        found = _object(given, name, parts, defaults=defaults and name not in parts.without_defaults)
    elif given.get("type") == "object":
        found = _map(given, parts, defaults=defaults)
    elif given.get("type") == "array":
        found = _list(given, parts, defaults=defaults)
    else:
        found = _scalar(given)
    return _described(found, given, defaults=defaults)


def _single(schema: Object) -> Object:
    """One alternative beside null is not nullable but optional; several are a quantity of Kubernetes."""
    alternatives = [item for item in schema.get("anyOf", [schema]) if item.get("type") != "null"]
    if len(alternatives) > 1:
        assert {item["type"] for item in alternatives} == {"string", "integer"}
        return {**schema, "type": "quantity"}
    return {**alternatives[0], **{key: value for key, value in schema.items() if key != "anyOf"}}


def _object(schema: Object, name: str, parts: _Parts, *, defaults: bool) -> Object:
    properties = {key: _value(value, parts, defaults=defaults) for key, value in schema["properties"].items()}
    found: Object = {"type": "object", "description": _text(schema.get("description", ""))}
    if required := schema.get("required"):
        found["required"] = list(required)
    found["properties"] = properties
    if rules := parts.rules.get(name):
        found["x-kubernetes-validations"] = [rule.to_schema() for rule in rules]
    return found


def _map(schema: Object, parts: _Parts, *, defaults: bool) -> Object:
    values = schema.get("additionalProperties", True)
    if values is True:
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    bound = {"maxProperties": schema["maxProperties"]}
    return {"type": "object", **bound, "additionalProperties": _value(values, parts, defaults=defaults)}


def _list(schema: Object, parts: _Parts, *, defaults: bool) -> Object:
    found: Object = {key: schema[key] for key in ("type", "minItems", "maxItems") if key in schema}
    key = parts.keys.get(schema["items"].get("$ref", "").rpartition("/")[2])
    found["x-kubernetes-list-type"] = "map" if key else "atomic"
    items = _value(schema["items"], parts, defaults=defaults)
    if key:
        found["x-kubernetes-list-map-keys"] = [key]
        if key not in items["required"]:
            items["properties"][key]["default"] = ""
    return {**found, "items": items}


def _scalar(schema: Object) -> Object:
    if schema["type"] == "quantity":
        return {"x-kubernetes-int-or-string": True, "maxLength": 64, "pattern": _QUANTITY}
    found = {key: value for key, value in schema.items() if key not in _DROPPED}
    if "const" in schema:
        found["enum"] = [schema["const"]]
    whole = schema["type"] == "integer"
    for exclusive, limit in _LIMITS.items():
        if exclusive in schema and whole:
            found[limit] = schema[exclusive] + (1 if limit == "minimum" else -1)
        elif exclusive in schema:
            found |= {limit: schema[exclusive], exclusive: True}
    if whole:
        found["format"] = "int32" if found.get("maximum", _INT32 + 1) <= _INT32 else "int64"
    return found


def _described(found: Object, given: Object, *, defaults: bool) -> Object:
    """With its type and description first; a default that is not filled in is told."""
    text, default = _text(given.get("description", "")), given.get("default")
    told = default not in (None, "", [], {})
    if defaults and (told or (default == {} and "properties" in found)):
        found = {**found, "default": default}
    elif told:
        shown = default if isinstance(default, str) else json.dumps(default)
        text = f"{text} Left out: {shown}."
    first = {key: found[key] for key in ("type",) if key in found}
    return first | ({"description": text} if text else {}) | {k: v for k, v in found.items() if k != "description"}


def _text(docstring: str) -> str:
    """The prose of a docstring on one line, without markup and without its sections."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in docstring.split("\n\n")]
    prose = [text for text in paragraphs if not text.startswith(("Raises:", "Args:", "Attributes:"))]
    return " ".join(prose).replace("``", "`")
