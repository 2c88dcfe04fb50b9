"""The charts as data: what is thinned, what is safe, what the pointer finds."""

import json
from collections.abc import Callable

import vl_convert

from graphsearch.report import SearchRecord, charts
from graphtrial.contract import Purpose


def test_the_pointer_finds_text_as_well_as_numbers(whole: SearchRecord) -> None:
    """With a Voronoi overlay Vega-Lite would show a graph as "undefined"."""
    spec = charts.curves(whole)
    assert spec is not None
    compiled = json.dumps(vl_convert.vegalite_to_vega(spec | {"width": 400}))
    assert 'datum[\\"graph\\"]' in compiled.replace('\\\\"', '\\"')
    assert "voronoi" not in compiled


def test_the_chosen_trial_is_marked(whole: SearchRecord) -> None:
    """One trial stands out: the winner."""
    spec = charts.curves(whole)
    assert spec is not None
    marked = [trial["trial"] for trial in spec["datasets"]["trials"] if trial["found"]]
    assert marked == [whole.facts.winner]


def test_many_long_curves_are_thinned(played: Callable[..., SearchRecord], manifest: str) -> None:
    """Each keeps its first, rung and last evaluations, and the page stays small."""
    long = manifest.replace("epochs: 16", "epochs: 400").replace("maxTrials: 24", "maxTrials: 60")
    without_rungs = long.replace("  seed: 1", "  seed: 1\n  scheduler: {}").replace(
        "  comparison: {finalists: 3, repeats: 3}\n", ""
    )
    record = played(without_rungs)
    spec = charts.curves(record)
    assert spec is not None
    points = spec["datasets"]["points"]
    of_first = [row["evaluation"] for row in points if row["trial"] == 0]
    assert (of_first[0], of_first[-1]) == (1, 400)
    assert len(points) < 0.6 * 400 * len(record.of(Purpose.SEARCH))


def test_a_picture_has_no_script(whole: SearchRecord) -> None:
    """What is saved as a picture can be shown anywhere."""
    spec = charts.curves(whole, still=True)
    assert spec is not None
    picture = charts.as_svg(spec)
    assert picture.startswith("<svg")
    assert "<script" not in picture
    assert "params" not in json.dumps(spec)


def test_text_cannot_end_a_script_element() -> None:
    """A chart's JSON holds no angle bracket."""
    assert charts.as_json({"title": "</script><script>"}) == '{"title":"\\u003c/script>\\u003cscript>"}'
