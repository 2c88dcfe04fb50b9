"""UMAP itself, which takes half a minute to compile: what a report shows of all attention maps (spec 8)."""

from __future__ import annotations

from tests.unit.report.analyses import maps

from graphsearch.report.analysis_charts import umap
from graphsearch.report.embedding import embedded

NODES, IMAGES = ["1", "2", "3"], 40


def test_maps_are_placed_by_umap_and_those_of_nodes_that_look_elsewhere_lie_apart():
    """Each map is nearest to the centre of its own node's, and each time at the same place."""
    content = maps(NODES, IMAGES)
    places = embedded(content)
    assert places is not None
    assert [place["node"] for place in places] == [name for name in NODES for _ in range(IMAGES)]
    assert embedded(content) == places
    centres = {}
    for name in NODES:
        own = [(place["x"], place["y"]) for place in places if place["node"] == name]
        centres[name] = [sum(axis) / len(own) for axis in zip(*own, strict=True)]
    for place in places:
        gaps = {name: (place["x"] - x) ** 2 + (place["y"] - y) ** 2 for name, (x, y) in centres.items()}
        assert min(gaps, key=gaps.__getitem__) == place["node"]
    spec = umap(places)
    assert spec is not None
    assert len(spec["datasets"]["points"]) == len(NODES) * IMAGES


def test_what_holds_no_maps_is_not_placed():
    """The report is written without the picture."""
    assert embedded(b"no archive") == []


def test_too_few_maps_are_not_placed():
    """UMAP needs neighbours."""
    assert embedded(maps(["1"], 3)) == []
