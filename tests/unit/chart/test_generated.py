"""What the chart holds is what its sources say: values, CRDs, dashboards."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from charts.generate import values
from charts.generate.files import generated

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts/graphsearch"


def test_generated_files_are_committed():
    """`make chart` would change nothing."""
    stale = [str(path) for path, text in generated(ROOT).items() if (ROOT / path).read_text() != text]
    assert stale == []


def test_the_chart_holds_every_crd_and_no_other():
    """Its copies are those of crds/, which are the one source."""
    held = sorted(path.name for path in (CHART / "files/crds").glob("*"))
    assert held == sorted(path.name for path in (ROOT / "crds").glob("*.yaml"))
    assert len(held) == 2


def test_the_defaults_satisfy_their_own_schema():
    """An install without values is valid."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load((CHART / "values.yaml").read_text()), schema)


def test_every_value_is_read_by_a_template():
    """None is documented that does nothing."""
    templates = "".join(path.read_text() for path in (CHART / "templates").rglob("*.*"))
    unread = []
    for value in values.documented((CHART / "values.yaml").read_text()):
        group, key = ".".join(value.path[:-1]), value.path[-1]
        whole = f".Values.{'.'.join(value.path)}" in templates
        by_group = group and f".Values.{group}" in templates and f".{key}" in templates
        if not (whole or by_group):
            unread.append(".".join(value.path))
    assert unread == []


def test_a_value_is_told_by_path_default_and_description():
    """Groups are not values; a table of one value is one."""
    text = (
        "group:\n  # -- How many,\n  # in all.\n  # @schema {minimum: 1}\n  count: 3\n# -- Nodes.\nnodeSelector: {}\n"
    )
    assert values.documented(text) == [
        values.Value(("group", "count"), 3, "How many, in all.", {"minimum": 1}),
        values.Value(("nodeSelector",), {}, "Nodes.", {}),
    ]


def test_a_value_without_description_is_named():
    """Whoever adds one is told where the description goes."""
    with pytest.raises(ValueError, match=r"group\.count has no description; write one above it, after `# --`"):
        values.documented("group:\n  count: 3\n")


def test_the_schema_refuses_what_no_template_reads():
    """A misspelt value does not pass silently."""
    schema = json.loads(values.schema(values.documented("group:\n  # -- How many.\n  count: 3\n")))
    jsonschema.validate({"group": {"count": 4}}, schema)
    for wrong in ({"group": {"cuont": 4}}, {"group": {"count": "4"}}, {"gruop": {}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
