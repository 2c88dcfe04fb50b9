"""What a report shows of networks beyond their scores, and that it shows nothing where nothing was left."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.report.analyses import analysed, analysis, maps
from tests.unit.report.test_build import FIXED, Page

from graphsearch.report import SearchRecord, build, gather
from graphsearch.report.analysis_charts import diversity, efficiency, recall
from graphsearch.report.analysis_sections import networks_section
from graphsearch.report.embedding import embedded
from graphsearch.report.record import contender_analyses
from graphtrial.contract import ANALYSIS, MAPS, Purpose
from graphtrial.storage import Store, open_store

Played = Callable[..., SearchRecord]
SECTIONS = ["networks", "diversity", "attention", "classes"]


def written(record: SearchRecord, folder: Path) -> tuple[Page, str, Store]:
    """The page of a report just written, its text, the store."""
    store = open_store(str(folder))
    build(record, store)
    text = store.read("report/index.html").decode()
    return Page(text), text, store


def test_every_section_stands_once_with_its_chart(whole: SearchRecord, tmp_path: Path) -> None:
    """In their order; charts lie beside the page as pictures as well."""
    page, _, store = written(analysed(whole), tmp_path)
    assert [identity for identity in page.ids if identity in SECTIONS] == SECTIONS
    assert len(page.ids) == len(set(page.ids))
    for name in ("efficiency", "diversity", "recall"):
        assert f"chart-{name}" in page.ids
        assert store.exists(f"report/{name}.svg")
    assert page.addresses
    assert [address for address in page.addresses if not address.startswith("data:image/png;base64,")] == []


def test_without_analyses_nothing_of_them_is_there(whole: SearchRecord, tmp_path: Path) -> None:
    """Trials of an earlier version left none."""
    page, _, store = written(whole, tmp_path)
    assert set(SECTIONS) & set(page.ids) == set()
    assert not store.exists("report/efficiency.svg")


def test_a_single_network_has_no_pairs(played: Played, tmp_path: Path) -> None:
    """What it says, where it looks and what it knows are shown all the same."""
    page, _, _ = written(analysed(played(FIXED)), tmp_path)
    assert [identity for identity in page.ids if identity in SECTIONS] == ["networks", "attention", "classes"]


def test_the_numbers_are_those_of_the_run_whose_weights_are_handed_back(whole: SearchRecord) -> None:
    """Accuracy, entropy, calibration, parameters and FLOPs of every node, and every ensemble of table 4.8."""
    record = analysed(whole)
    assert record.found is not None
    found = record.analyses[record.found.trial.index]
    page = Page(str(networks_section(record, ["efficiency"])))
    for output in found.outputs.values():
        assert f"{100 * output.accuracy:.1f} %" in page.text
        assert f"{output.entropy:.3f}" in page.text
    for subset in found.subsets:
        assert ", ".join(subset.members) in page.text
    assert "mean of the nodes" in page.text


def test_pairs_of_every_contender_are_points(whole: SearchRecord) -> None:
    """MutualKL (4.2) against what the pair gains (4.4), with the correlation over all of them."""
    record = analysed(whole)
    spec = diversity(record)
    assert spec is not None
    points = spec["datasets"]["points"]
    expected = [pair for analyses in contender_analyses(record).values() for a in analyses for pair in a.pairs]
    assert [point["mutual"] for point in points] == [round(pair.mutual_kl, 4) for pair in expected]
    assert [point["gain"] for point in points] == [round(100 * pair.delta_accuracy, 3) for pair in expected]
    assert next(iter(contender_analyses(record))) == "The found graph"


def test_nodes_and_ensembles_stand_over_their_parameters(whole: SearchRecord) -> None:
    """One point for each node and each ensemble of the first run of every contender."""
    record = analysed(whole)
    spec = efficiency(record)
    assert spec is not None
    firsts = [analyses[0] for analyses in contender_analyses(record).values()]
    count = sum(len(first.outputs) - ("ensemble" in first.outputs) + len(first.subsets) for first in firsts)
    assert len(spec["datasets"]["points"]) == count


def test_a_class_without_images_has_no_cell() -> None:
    """The others have one for each node."""
    spec = recall(analysis(["1", "2"]))
    assert spec is not None
    assert {(point["node"], point["class"]) for point in spec["datasets"]["points"]} == {
        (node, number) for node in ("1", "2", "ensemble") for number in range(9)
    }


def test_analyses_are_gathered_of_what_is_shown(whole: SearchRecord, tmp_path: Path) -> None:
    """The comparison's runs and the graph that was found; a damaged one is left out."""
    record = analysed(whole)
    store = open_store(str(tmp_path))
    searched = whole.of(Purpose.SEARCH)[0].index
    for index in [*record.analyses, searched]:
        content = analysis(["1"], index) if index == searched else record.analyses[index]
        store.write(f"trials/{index}/{ANALYSIS}", json.dumps(content.to_json()).encode())
    first, *others = record.analyses
    (tmp_path / f"trials/{first}/{ANALYSIS}").write_text("damaged")
    again = gather(whole.manifest, whole.facts, whole.trials, store)
    assert again.analyses == {index: record.analyses[index] for index in others}


def test_without_umap_the_page_says_what_to_install(
    whole: SearchRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing else passes for it."""
    monkeypatch.setitem(sys.modules, "umap", None)
    record = analysed(whole)
    assert record.found is not None
    content = maps([node.name for node in record.found.graph.nodes])
    open_store(str(tmp_path)).write(f"trials/{record.found.trial.index}/{MAPS}", content)
    page, _, store = written(record, tmp_path)
    assert embedded(content) is None
    assert "(UMAP) install graphsearch[analysis] and write the report again." in page.text
    assert "chart-umap" not in page.ids
    assert not store.exists("report/umap.svg")


def test_equal_graphs_of_a_fixed_list_are_one_contender_with_its_networks(played: Played) -> None:
    """Whichever of their names the comparison puts first."""
    graph = "    - {name: NAME, nodes: [{name: '1', model: resnet8}, {name: '2', model: resnet14}], edges: EDGES}\n"
    edges = ", ".join(f"{{source: Label, destination: '{n}', loss: {{type: CrossEntropy}}}}" for n in "12")
    two = "".join(graph.replace("NAME", name).replace("EDGES", f"[{edges}]") for name in ("first", "second"))
    begin, end = FIXED.index("    - nodes"), FIXED.index("  training")
    record = analysed(played(FIXED[:begin] + two + FIXED[end:]))
    (row,) = record.comparison
    assert set(row.names) == {"first", "second"}
    assert [len(analyses) for analyses in contender_analyses(record).values()] == [2]
