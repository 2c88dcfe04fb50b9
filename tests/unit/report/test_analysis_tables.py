"""What stands in each table, sentence and picture of the networks, to the cell."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from html import unescape
from importlib import import_module
from pathlib import Path

import pytest
from tests.unit.report.test_build import COMPARISON, Played

from graphsearch.report import SearchRecord, build
from graphsearch.report.analysis_charts import efficiency
from graphsearch.report.analysis_sections import (
    attention_section,
    classes_section,
    diversity_section,
    networks_section,
)
from graphtrial.contract import (
    MAPS,
    Analysis,
    Metric,
    OutputAnalysis,
    PairAnalysis,
    Purpose,
    SampleAnalysis,
    SubsetAnalysis,
)
from graphtrial.storage import open_store

building = import_module("graphsearch.report.build")  # the room gives its name to the function


def output(accuracy: float, parameters: int, recall: tuple[float | None, ...] = (0.5, None)) -> OutputAnalysis:
    """Of a node or an ensemble; the other metrics follow from the accuracy."""
    others = {
        Metric.TOP5_ACCURACY: accuracy + 0.2,
        Metric.BALANCED_ACCURACY: accuracy - 0.01,
        Metric.MACRO_F1: accuracy - 0.02,
        Metric.NEGATIVE_LOG_LOSS: accuracy - 1.5,
    }
    return OutputAnalysis(
        parameters=parameters,
        flops=140 * parameters,
        accuracy=accuracy,
        metrics=others,
        entropy=0.4321,
        calibration_error=0.056,
        recall=recall,
    )


def pair(first: str, second: str, mutual_kl: float, gain: float, error: float | None = None) -> PairAnalysis:
    """Of two nodes."""
    distance = None if error is None else error / 10
    return PairAnalysis(
        first=first,
        second=second,
        mutual_kl=mutual_kl,
        delta_accuracy=gain,
        attention_error=error,
        attention_distance=distance,
    )


THREE = Analysis(
    images=500,
    outputs={
        "1": output(0.70, 470_000, (0.25, None)),
        "2": output(0.72, 1_700_000, (0.75, None)),
        "3": output(0.65, 470_000, (1.0, None)),
        "ensemble": output(0.76, 2_640_000, (0.5, None)),
    },
    subsets=(
        SubsetAnalysis(members=("1", "2"), accuracy=0.74, parameters=2_170_000),
        SubsetAnalysis(members=("1", "3"), accuracy=0.73, parameters=940_000),
        SubsetAnalysis(members=("2", "3"), accuracy=0.75, parameters=2_170_000),
        SubsetAnalysis(members=("1", "2", "3"), accuracy=0.76, parameters=2_640_000),
    ),
    pairs=(
        pair("1", "2", 0.1, 0.03, error=12.3),
        pair("1", "3", 0.2, 0.055),
        pair("2", "3", 0.3, 0.065, error=7.0),
    ),
    samples=(SampleAnalysis(image="SU1H", label=4, guesses={"1": 4, "2": 7}, maps={"1": "T05F", "2": "VFdP"}),),
)
"""Three nodes of which the third has a map of another size than the first."""


def of_best(record: SearchRecord, analysis: Analysis) -> SearchRecord:
    """The record with this as what its best graph left."""
    assert record.found is not None
    return replace(record, analyses={record.found.trial.index: analysis})


def rows(html: object, caption: str) -> list[list[str]]:
    """The cells of the table with this caption, its head first."""
    found = re.search(rf"<caption>{re.escape(caption)}</caption>(.*?)</table>", str(html), re.DOTALL)
    assert found is not None, caption
    lines = re.findall(r"<tr[^>]*>(.*?)</tr>", found[1], re.DOTALL)
    return [[plain(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line, re.DOTALL)] for line in lines]


def plain(html: object) -> str:
    """Without its tags."""
    return unescape(re.sub(r"<[^>]+>", "", str(html))).strip()


@pytest.fixture
def best(played: Played, manifest: str) -> SearchRecord:
    """A search without a comparison, with the three nodes as its best graph."""
    return of_best(played(manifest.replace(COMPARISON, "")), THREE)


def test_every_network_has_its_row(best: SearchRecord) -> None:
    """Accuracy, entropy, calibration, parameters and FLOPs, the ensemble last."""
    assert rows(networks_section(best, []), "What each network says") == [
        ["Network", "Accuracy", "Entropy (nats)", "Calibration error", "Parameters", "FLOPs per image"],
        ["1", "70.0 %", "0.432", "5.6 %", "470 k", "65.8 M"],
        ["2", "72.0 %", "0.432", "5.6 %", "1.7 M", "238 M"],
        ["3", "65.0 %", "0.432", "5.6 %", "470 k", "65.8 M"],
        ["ensemble", "76.0 %", "0.432", "5.6 %", "2.64 M", "370 M"],
    ]


def test_every_network_is_measured_by_every_metric(best: SearchRecord) -> None:
    """Whichever the search was judged by; one that was not measured, as for few classes, is left out."""
    table = rows(networks_section(best, []), "By other metrics")
    assert table[0] == ["Network", "Top-5 accuracy", "Balanced accuracy", "Macro F1", "Negative log loss"]
    assert table[1] == ["1", "90.0 %", "69.0 %", "68.0 %", "-0.800"]
    assert [row[0] for row in table] == ["Network", *THREE.outputs]
    few = {name: out.model_copy(update={"metrics": {Metric.MACRO_F1: 0.5}}) for name, out in THREE.outputs.items()}
    table = rows(networks_section(of_best(best, THREE.model_copy(update={"outputs": few})), []), "By other metrics")
    assert table[:2] == [["Network", "Macro F1"], ["1", "50.0 %"]]


def test_the_four_scores_stand_side_by_side(best: SearchRecord) -> None:
    """Spec 5.3: target, best node, mean of the nodes, ensemble."""
    said = "Accuracy of the target 70.0 %, best node 72.0 %, mean of the nodes 69.0 %, ensemble 76.0 %."
    assert said in plain(networks_section(best, []))


def test_every_ensemble_of_nodes_stands_in_its_table(best: SearchRecord) -> None:
    """Table 4.8: large ones first, the best of a size before the others."""
    section = networks_section(best, [])
    assert rows(section, "Accuracy of the ensembles of its nodes") == [
        ["Nodes", "Which", "Accuracy", "Parameters"],
        ["3", "1, 2, 3", "76.0 %", "2.64 M"],
        ["2", "2, 3", "75.0 %", "2.17 M"],
        ["2", "1, 2", "74.0 %", "2.17 M"],
        ["2", "1, 3", "73.0 %", "940 k"],
    ]
    assert "Every ensemble of its nodes" in section


def test_of_more_than_ten_nodes_the_page_says_which_ensembles_were_measured(best: SearchRecord) -> None:
    """All pairs and all together, of 2,036 that there are of eleven."""
    names = [str(number) for number in range(1, 12)]
    members = [*itertools.combinations(names, 2), tuple(names)]
    subsets = tuple(SubsetAnalysis(members=each, accuracy=0.7, parameters=1000) for each in members)
    many = THREE.model_copy(update={"outputs": {name: output(0.6, 500) for name in names}, "subsets": subsets})
    section = networks_section(of_best(best, many), [])
    assert "Of 11 nodes there are 2,036 ensembles; pairs and all were measured." in plain(section)
    assert "Every ensemble" not in section


def test_every_pair_has_its_row(best: SearchRecord) -> None:
    """MutualKL (4.2), gain (4.4), attention error (table 4.6); a dash where maps cannot be compared."""
    section = diversity_section(best, ["diversity"])
    assert rows(section, "Pairs of nodes") == [
        ["Nodes", "MutualKL", "Gain (points)", "Attention error", "The same, maps of norm 1"],
        ["1 and 2", "0.100", "+3.00", "12.3", "1.23"],
        ["1 and 3", "0.200", "+5.50", "–", "–"],
        ["2 and 3", "0.300", "+6.50", "7", "0.7"],
    ]
    # By hand: deviations (-1, 0, 1) and (-2, 0.5, 1.5), so 3.5 / sqrt(2 * 6.5).
    assert "Over the 3 pairs shown their correlation is 0.97." in plain(section)


def test_too_few_pairs_have_no_correlation(best: SearchRecord) -> None:
    """Through two points every line is straight."""
    few = THREE.model_copy(update={"pairs": THREE.pairs[:2]})
    assert "too few different pairs for a correlation" in plain(diversity_section(of_best(best, few), ["diversity"]))


def test_contenders_stand_side_by_side(whole: SearchRecord) -> None:
    """Table 4.6: mean and deviation over the runs of the nodes' mean, of the ensemble and of the attention error."""
    compared = whole.of(Purpose.COMPARE)
    found = [trial.index for trial in compared if "Found" in trial.spec.contenders]
    better = THREE.model_copy(
        update={
            "outputs": THREE.outputs | {"ensemble": output(0.80, 2_640_000)},
            "pairs": (pair("1", "2", 0.1, 0, 20.3),),
        }
    )
    alone = Analysis(images=500, outputs={"1": output(0.6, 470_000)})
    analyses = {trial.index: alone for trial in compared} | dict.fromkeys(found, THREE) | {found[0]: better}
    table = rows(diversity_section(replace(whole, analyses=analyses), ["diversity"]), "Nodes, ensembles and attention")
    assert table == [
        ["Graph", "Mean of nodes (%)", "Ensemble (%)", "Attention error", "Runs"],
        # Two runs of three have the pairs' mean 9.65, one has 20.3.
        ["The found graph", "69.0 ± 0.0", "77.3 ± 2.3", "13.2 ± 6.1", "3"],
    ]


def test_nodes_and_ensembles_are_points_of_accuracy_over_parameters(best: SearchRecord) -> None:
    """In percent; squares are nodes, circles ensembles, and the ensemble of all is one of them."""
    spec = efficiency(best)
    assert spec is not None
    points = [(p["nodes"], p["parameters"], p["accuracy"], p["kind"]) for p in spec["datasets"]["points"]]
    assert points == [
        ("1", 470_000, 70.0, "one node"),
        ("2", 1_700_000, 72.0, "one node"),
        ("3", 470_000, 65.0, "one node"),
        ("1 + 2", 2_170_000, 74.0, "ensemble of nodes"),
        ("1 + 3", 940_000, 73.0, "ensemble of nodes"),
        ("2 + 3", 2_170_000, 75.0, "ensemble of nodes"),
        ("1 + 2 + 3", 2_640_000, 76.0, "ensemble of nodes"),
    ]


def test_recall_stands_in_a_table_too(best: SearchRecord) -> None:
    """A class without images has a dash."""
    assert rows(classes_section(best, ["recall"]), "Recall of each class") == [
        ["Class", "1", "2", "3", "ensemble"],
        ["0", "25.0 %", "75.0 %", "100.0 %", "50.0 %"],
        ["1", "–", "–", "–", "–"],
    ]


def test_maps_lie_over_their_image(best: SearchRecord) -> None:
    """A column for each node that has maps; below them what it takes the image for, and whether that is right."""
    section = str(attention_section(best, [], umap_missing=False))
    assert rows(section, "Attention on sample images") == [["Image", "1", "2"], ["class 4", "4 ✓", "7"]]
    cells = re.findall(r"<td>(.*?)</td>", section, re.DOTALL)
    layers = [re.findall(r'href="data:image/png;base64,(\w+)"', cell) for cell in cells]
    assert layers == [["SU1H"], ["SU1H", "T05F"], ["SU1H", "VFdP"]]


@pytest.mark.parametrize(
    ("placed", "told"),
    [(500, "All 500 images are shown."), (166, "166 of the 500 images are shown, evenly spread")],
)
def test_the_map_of_maps_says_of_how_many_images_it_is(best: SearchRecord, placed: int, told: str) -> None:
    """A trainer keeps 5,000 maps of all nodes together (spec 8 has all); without the picture nothing is said."""
    section = attention_section(best, ["umap"], umap_missing=False, images_placed=placed)
    assert told in plain(section)
    assert "shown" not in plain(attention_section(best, [], umap_missing=True))


def test_a_page_counts_the_images_of_its_map_of_maps(
    best: SearchRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of one node: all have the same."""
    assert best.found is not None
    store = open_store(str(tmp_path))
    store.write(f"trials/{best.found.trial.index}/{MAPS}", b"maps")
    places = [{"node": node, "x": 0.1 * place, "y": 0.5} for node in "12" for place in range(40)]
    monkeypatch.setattr(building, "embedded", {b"maps": places}.__getitem__)
    build(best, store)
    assert "40 of the 500 images are shown" in plain(store.read("report/index.html").decode())
