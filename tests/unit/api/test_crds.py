"""The definitions without a server: what is committed, what the API server asks of a schema, and equal defaults."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.invalid_manifests import INVALID
from tests.whole_manifests import DRAWN, FIXED, TRIAL

from graphsearch.api import ManifestError
from graphsearch.api.crds import crd_yaml, crds, search_crd, trial_crd
from graphsearch.api.crds_fact_rules import FACT_RULES
from graphsearch.api.crds_graph_rules import GRAPH_RULES
from graphsearch.api.crds_rules import SPEC_RULES
from graphsearch.api.graphsearch import GraphSearchSpec
from graphsearch.api.manifest import MUTABLE, parse_manifest
from graphsearch.api.wire import search_from_object, trial_from_object
from graphsearch.cli.main import main
from graphsearch.cluster.alone import search_of

Object = dict[str, Any]
COMMITTED = Path(__file__).parents[3] / "crds"
FRAGMENTS = {"affinity", "valueFrom", "persistentVolumeClaim", "emptyDir", "configMap", "secret", "ephemeral"}
LEAST = {"data": {"dataset": "digits"}, "space": {"nodes": 1, "targetModels": ["resnet8"]}}


def schema_of(crd: Object) -> Object:
    found: Object = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def parts(schema: Object, path: str = "") -> Iterator[tuple[str, Object]]:
    """(path, schema) of a schema and of everything in it."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from parts(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from parts(schema[key], f"{path}[{key}]")


BOTH = pytest.mark.parametrize("crd", [search_crd(), trial_crd()], ids=["GraphSearch", "GraphTrial"])


def test_what_is_committed_is_what_is_generated(tmp_path: Path):
    """``graphsearch crds --output crds`` writes exactly the files of crds/."""
    assert main(["crds", "--output", str(tmp_path)]) == 0
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_text() for path in COMMITTED.iterdir()}


def test_both_are_printed_as_one_stream(capsys: pytest.CaptureFixture[str]):
    """For ``graphsearch crds | kubectl apply --server-side -f -``."""
    assert main(["crds"]) == 0
    assert list(yaml.safe_load_all(capsys.readouterr().out)) == list(crds().values())


@BOTH
def test_every_field_is_described(crd: Object):
    """``kubectl explain`` has something to say of each, in plain words."""
    for path, schema in parts(schema_of(crd)):
        for name, child in schema.get("properties", {}).items():
            if (path, name) != ("", "metadata"):
                assert child.get("description"), f"{path}.{name}"
                assert not any(mark in child["description"] for mark in ("Raises:", "``")), f"{path}.{name}"


@BOTH
def test_everything_is_bounded(crd: Object):
    """Texts, lists and maps have a greatest length, without which no rule in CEL is affordable."""
    for path, schema in parts(schema_of(crd)):
        match schema.get("type"):
            case "string":
                is_head = path in (".apiVersion", ".kind")
                assert is_head or "enum" in schema or schema["maxLength"] <= 8192, path
            case "array":
                assert schema["maxItems"] <= 64, path
            case "object" if "additionalProperties" in schema:
                assert schema["maxProperties"] <= 32, path
            case "integer":
                assert schema["format"] in ("int32", "int64"), path


@BOTH
def test_lists_say_of_which_kind_they_are(crd: Object):
    """Lists whose items have a history are maps by a key that is always there; all others are replaced as a whole."""
    kinds = {
        path: schema.get("x-kubernetes-list-map-keys", schema["x-kubernetes-list-type"])
        for path, schema in parts(schema_of(crd))
        if schema.get("type") == "array"
    }
    maps = {path: keys for path, keys in kinds.items() if keys != "atomic"}
    expected = {".status.conditions": ["type"]}
    if crd["spec"]["names"]["kind"] == "GraphTrial":
        expected |= {".status.attempts": ["number"], ".status.rungs": ["evaluation"]}
    else:
        expected |= {".spec.graphs": ["name"]}
    assert maps == expected
    for path, schema in parts(schema_of(crd)):
        for key in schema.get("x-kubernetes-list-map-keys", ()):
            assert key in schema["items"]["required"] or "default" in schema["items"]["properties"][key], path


@BOTH
def test_only_fragments_of_pods_keep_what_is_unknown(crd: Object):
    """Everything else is pruned or refused."""
    loose = [path for path, schema in parts(schema_of(crd)) if "x-kubernetes-preserve-unknown-fields" in schema]
    assert {path.rpartition(".")[2] for path in loose} == FRAGMENTS


@BOTH
def test_nothing_is_left_of_what_a_structural_schema_forbids(crd: Object):
    """References, null, titles, closed objects and sets of items."""
    forbidden = {"$ref", "$defs", "anyOf", "nullable", "title", "uniqueItems", "const", "propertyNames"}
    for path, schema in parts(schema_of(crd)):
        assert not forbidden & set(schema), path
        assert schema.get("additionalProperties") is not False, path
        for limit in ("exclusiveMinimum", "exclusiveMaximum"):
            assert schema.get(limit, True) is True, path


@BOTH
def test_columns_and_selectors_name_fields_that_exist(crd: Object):
    """A path that leads nowhere would show nothing and complain of nothing."""
    version = crd["spec"]["versions"][0]
    known = {path: schema.get("type") for path, schema in parts(schema_of(crd))}
    for column in version["additionalPrinterColumns"]:
        if column["jsonPath"] != ".metadata.creationTimestamp":
            assert known[column["jsonPath"]] == column["type"], column["name"]
    for field in version["selectableFields"]:
        assert known[field["jsonPath"]] == "string"


def test_every_rule_stands_in_a_definition():
    """None is lost because its model is called otherwise in the schema."""
    placed = {
        rule["rule"]
        for crd in crds().values()
        for _, schema in parts(schema_of(crd))
        for rule in schema.get("x-kubernetes-validations", ())
    }
    written = {
        rule.to_schema()["rule"]
        for table in (GRAPH_RULES, SPEC_RULES, FACT_RULES)
        for rules in table.values()
        for rule in rules
    }
    assert placed == written


def test_what_may_change_is_what_may_change_locally():
    """All fields of a search are fixed from birth but those of ``manifest.MUTABLE``."""
    spec = schema_of(search_crd())["properties"]["spec"]
    fixed = {
        rule["fieldPath"].removeprefix(".")
        for rule in spec["x-kubernetes-validations"]
        if rule["message"].startswith("is fixed from birth")
    }
    fields = {field.alias or name for name, field in GraphSearchSpec.model_fields.items()}
    assert fields - fixed == {path.removeprefix("spec.") for path in MUTABLE}
    assert fixed <= set(spec["properties"])


def filled_in(value: Any, schema: Object) -> Any:
    """What the API server makes of a value: absent fields that have a default are there."""
    if isinstance(value, dict) and "properties" in schema:
        for name, child in schema["properties"].items():
            if name not in value and "default" in child:
                value[name] = copy.deepcopy(child["default"])
            if name in value:
                value[name] = filled_in(value[name], child)
    if isinstance(value, list):
        return [filled_in(item, schema["items"]) for item in value]
    return value


@pytest.mark.parametrize("manifest", [DRAWN | {"spec": LEAST}, DRAWN, FIXED], ids=["least", "drawn", "fixed"])
def test_defaults_of_the_schema_are_those_of_the_models(manifest: Object):
    """A manifest means the same with them and without."""
    complete = filled_in(copy.deepcopy(manifest), schema_of(search_crd()))
    assert complete["spec"]["desiredState"] == "Running"
    assert search_from_object(complete) == search_from_object(manifest)


def test_nothing_is_filled_in_within_graphs_and_trials():
    """A trial stays as small as it was written; the description says what a field left out means."""
    graphs = schema_of(search_crd())["properties"]["spec"]["properties"]["graphs"]
    for path, schema in [*parts(graphs, "graphs"), *parts(schema_of(trial_crd()))]:
        assert schema.get("default", "") == "", path
    loss = graphs["items"]["properties"]["edges"]["items"]["properties"]["loss"]
    assert loss["properties"]["temperature"]["description"].endswith("Left out: 1.0.")


def test_a_definition_is_small_enough_for_every_way_of_applying_it():
    """Client-side apply keeps a copy in an annotation of at most 256 KiB."""
    for name, crd in crds().items():
        assert len(crd_yaml(crd)) < 128 * 1024, name


@pytest.mark.parametrize("manifest", [DRAWN, FIXED, TRIAL], ids=["drawn", "fixed", "trial"])
def test_the_manifests_that_are_spoilt_below_are_good(manifest: Object):
    """Else each row would be refused for the wrong reason."""
    read(manifest)


@pytest.mark.parametrize("row", [row for row in INVALID if row.field], ids=lambda row: row.name)
def test_an_invalid_manifest_is_refused_by_the_models_where_it_is_wrong(row: Any):
    """The operator says the same of it as the API server does."""
    with pytest.raises(ManifestError) as refusal:
        read(row.manifest)
    assert any(line.startswith(row.field) for line in refusal.value.problems), refusal.value.problems


def read(manifest: Object) -> object:
    """A trial as the operator reads it, a search as ``graphsearch validate`` does: fields that nobody knows count."""
    if manifest["kind"] == "GraphTrial":
        return search_of(trial_from_object(manifest), manifest)
    return parse_manifest(json.dumps(manifest))
