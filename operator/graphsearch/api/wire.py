"""Between the API server's JSON and the types: what JSON objects of Kubernetes cannot hold, and where things stand.

A score that is not finite is written as ``notFinite: NaN`` without ``score``. Reading ignores what a newer version may
have added; writing never leaves a required field out. Decided against: nullable fields, which the API conventions
forbid, and scores as strings, which no column could sort.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from graphsearch.api.conditions import Condition, ConditionType
from graphsearch.api.graphsearch import API_VERSION, GraphSearch
from graphsearch.api.graphtrial import ATTEMPT_MESSAGE_LENGTH, GraphTrial, GraphTrialObjectStatus, GraphTrialStatus
from graphsearch.api.manifest import ManifestError
from graphsearch.api.search_status import GraphSearchStatus
from graphtrial.contract import problems, unknown

Object = dict[str, Any]
_Read = TypeVar("_Read", bound=BaseModel)


def where(obj: Mapping[str, Any]) -> str:
    """``GraphSearch namespace/name``, for messages."""
    metadata = obj.get("metadata", {})
    return f"{obj.get('kind', 'object')} {metadata.get('namespace', 'default')}/{metadata.get('name', '')}"


def search_from_object(obj: Mapping[str, Any]) -> GraphSearch:
    """The manifest in an object of the API server, without its ``unknown_fields``.

    Raises:
        ManifestError: With one line per problem, ``spec.graphs[0].edges[4].gate: ...``.
    """
    return _read(GraphSearch, obj, _manifest_in(obj))


def unknown_fields(obj: Mapping[str, Any]) -> tuple[str, ...]:
    """Fields of a manifest that this version does not know, as ``spec.trainer.podLabels``.

    The API server takes none that is misspelt: its definitions are newer, and may have filled in a default.
    """
    try:
        GraphSearch.model_validate(_manifest_in(obj))
    except ValidationError as error:
        return tuple(unknown(error))
    return ()


def _manifest_in(obj: Mapping[str, Any]) -> Object:
    return {key: obj[key] for key in ("apiVersion", "kind", "metadata", "spec") if key in obj}


def search_status_from_object(obj: Mapping[str, Any]) -> GraphSearchStatus:
    """The status of a GraphSearch; empty where none was written yet.

    Raises:
        ManifestError: If somebody wrote what no version of the operator writes.
    """
    return _read(GraphSearchStatus, obj, _without_unknown_conditions(obj.get("status") or {}))


def trial_from_object(obj: Mapping[str, Any]) -> GraphTrial:
    """A trial with its facts.

    Raises:
        ManifestError: With one line per problem.
    """
    facts = {key: value for key, value in (obj.get("status") or {}).items() if key in _FACTS}
    facts["rungs"] = [_rung_from_wire(rung) for rung in facts.get("rungs", ())]
    trial = {"name": obj["metadata"]["name"], "spec": obj.get("spec", {}), "status": facts}
    return _read(GraphTrial, obj, trial)


def trial_object_status(obj: Mapping[str, Any]) -> GraphTrialObjectStatus:
    """What the object shows beside the facts.

    Raises:
        ManifestError: With one line per problem.
    """
    shown = {key: value for key, value in (obj.get("status") or {}).items() if key not in _FACTS}
    return _read(GraphTrialObjectStatus, obj, _without_unknown_conditions(shown))


def trial_spec_to_wire(trial: GraphTrial) -> Object:
    """``spec`` of the object that holds a trial."""
    spec = trial.spec.to_json()
    spec |= {"index": trial.spec.index, "purpose": trial.spec.purpose.value}
    return spec


def trial_status_to_wire(status: GraphTrialStatus) -> Object:
    """``status`` of the object that holds a trial, without what stands at its default."""
    found = status.to_json()
    for rung in found.get("rungs", ()):
        if isinstance(rung["score"], str):
            rung["notFinite"] = rung.pop("score")
    nodes = {name: score for name, score in found.get("nodes", {}).items() if not isinstance(score, str)}
    if "nodes" in found:
        found["nodes"] = nodes
    for attempt in found.get("attempts", ()):
        if len(attempt.get("message", "")) > ATTEMPT_MESSAGE_LENGTH:
            attempt["message"] = attempt["message"][: ATTEMPT_MESSAGE_LENGTH - 3] + "..."
    if len(found.get("message", "")) > ATTEMPT_MESSAGE_LENGTH:
        found["message"] = found["message"][: ATTEMPT_MESSAGE_LENGTH - 3] + "..."
    return found


def search_status_to_wire(status: GraphSearchStatus) -> Object:
    """``status`` of a GraphSearch; numbers stand there also where they are zero."""
    found: Object = json.loads(status.model_dump_json(by_alias=True, exclude_none=True))
    return found


def trial_object(trial: GraphTrial, namespace: str, labels: Mapping[str, str], owner: Object) -> Object:
    """The object of a trial that is to be made, without its status."""
    return {
        "apiVersion": API_VERSION,
        "kind": "GraphTrial",
        "metadata": {
            "name": trial.name,
            "namespace": namespace,
            "labels": dict(labels),
            "ownerReferences": [owner],
        },
        "spec": trial_spec_to_wire(trial),
    }


_FACTS = frozenset(
    field.serialization_alias or field.alias or name for name, field in GraphTrialStatus.model_fields.items()
)


_CONDITIONS = frozenset(kind.value for kind in ConditionType)


def conditions_of(obj: Mapping[str, Any]) -> tuple[Condition, ...]:
    """The conditions of an object; those that a newer version has added are passed over."""
    told = _without_unknown_conditions(obj.get("status") or {}).get("conditions", ())
    return tuple(Condition.model_validate(condition) for condition in told)


def _without_unknown_conditions(status: Mapping[str, Any]) -> Object:
    found = dict(status)
    if "conditions" in found:
        found["conditions"] = [told for told in found["conditions"] if told.get("type") in _CONDITIONS]
    return found


def _rung_from_wire(rung: Mapping[str, Any]) -> Object:
    found = dict(rung)
    if "notFinite" in found:
        found["score"] = float(found.pop("notFinite"))
    return found


def _read(kind: type[_Read], obj: Mapping[str, Any], fields: Mapping[str, Any]) -> _Read:
    try:
        return kind.model_validate(fields, extra="ignore")
    except ValidationError as error:
        raise ManifestError(where(obj), problems(error)) from None
