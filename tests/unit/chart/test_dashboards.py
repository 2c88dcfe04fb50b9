"""Each panel tells its reader what it shows, in which unit, from the source that the reader chose."""

from __future__ import annotations

import json
import re

import pytest
from charts.generate import dashboards

DASHBOARDS = {name: json.loads(text) for name, text in dashboards.built().items()}
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}") for name, one in DASHBOARDS.items() for panel in one["panels"]
]


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_explains_itself(panel):
    """Description, unit, and the data source variable."""
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["targets"]


@pytest.mark.parametrize("panel", PANELS)
def test_rates_follow_the_scrape_interval(panel):
    """Every range is Grafana's own, so that no rate is empty on a slow scrape."""
    for target in panel["targets"]:
        ranges = re.findall(r"rate\([^()]*\[([^\]]*)\]\)", target["expr"])
        assert ranges == ["$__rate_interval"] * target["expr"].count("rate(")


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_fill_rows_and_do_not_overlap(name):
    """A grid of 24 columns without holes at its left."""
    taken = set()
    for panel in DASHBOARDS[name]["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_dashboards_have_names_of_their_own():
    """Grafana tells them apart by uid, and a new version replaces the old one."""
    assert {one["uid"] for one in DASHBOARDS.values()} == {f"graphsearch-{name}" for name in DASHBOARDS}


def test_a_trial_is_told_from_the_name_of_its_pod():
    """The variable takes the trial out of <trial>-a<attempt>-<suffix>."""
    (variable,) = [one for one in DASHBOARDS["trial"]["templating"]["list"] if one["name"] == "trial"]
    pattern = re.compile(variable["regex"].strip("/"))
    assert pattern.match("digits-a-1-t12-a2-x7k9q")[1] == "digits-a-1-t12"
