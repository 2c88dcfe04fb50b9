"""The whole report: its files, its sections for each kind of end, that it loads nothing, that it escapes."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from graphsearch.api import GraphTrial
from graphsearch.report import SearchRecord, build
from graphtrial.contract import ExitCode, Purpose, TrialResult
from graphtrial.storage import Store, open_store

Played = Callable[..., SearchRecord]
COMPARISON = "  comparison: {finalists: 3, repeats: 3}\n"
SECTIONS = {"headline", "graph", "comparison", "curves", "rungs", "cost", "outcomes", "reuse", "details"}
FIXED = """
apiVersion: graphsearch.io/v1alpha1
kind: GraphSearch
metadata: {name: recipe}
spec:
  data: {dataset: digits}
  graphs:
    - nodes: [{name: "1", model: resnet8}]
      edges: [{source: Label, destination: "1", loss: {type: CrossEntropy}}]
  training: {length: {epochs: 4}}
  comparison: {repeats: 2, baselines: []}
"""


class Page(HTMLParser):
    """What a browser would see: identities, text outside scripts, addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.tags: list[str] = []
        self._hidden = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._hidden = tag in ("script", "style")
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "data", "action", "poster", "srcset"):
                self.addresses.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text += data


def written(record: SearchRecord, folder: Path) -> tuple[Page, list[str], Store]:
    """The page of a report just written, the keys, the store."""
    store = open_store(str(folder))
    keys = build(record, store)
    return Page(store.read("report/index.html").decode()), keys, store


def no_curve(_trial: GraphTrial, _evaluation: int) -> float:
    """Every trial diverges at once."""
    return float("nan")


def test_a_whole_search_leaves_every_file(whole: SearchRecord, tmp_path: Path) -> None:
    """Page, pictures, recipe, comparison and the weights of the winner's first run of the comparison."""
    assert whole.found is not None
    store = open_store(str(tmp_path))
    for node in ("1", "2"):
        store.write(f"trials/{whole.found.trial.index}/weights/{node}.safetensors", node.encode())
    keys = build(whole, store)
    assert sorted(keys) == [
        "report/comparison.json",
        "report/comparison.svg",
        "report/curves.svg",
        "report/graph.svg",
        "report/index.html",
        "report/recipe.yaml",
        "report/rungs.svg",
        "report/weights/1.safetensors",
        "report/weights/2.safetensors",
    ]
    assert (whole.found.trial.spec.purpose, whole.found.trial.spec.repeat) == (Purpose.COMPARE, 0)
    assert store.read("report/weights/2.safetensors") == b"2"
    assert all(store.read(key) for key in keys)


def test_what_an_earlier_report_has_left_goes(whole: SearchRecord, tmp_path: Path) -> None:
    """A picture of nothing and a network of the graph that was best before; a user's own files stay."""
    assert whole.found is not None
    store = open_store(str(tmp_path))
    networks = {"report/weights/3.safetensors", "report/compressed/1.onnx"}
    own = {"report/notes.svg", "report/weights/notes.txt"}
    for key in ("report/umap.svg", *networks, *own):
        store.write(key, b"old")
    build(whole, store)
    left = {key for key in store.list("report/") if store.read(key) == b"old"}
    assert left == networks | own
    store.write(f"trials/{whole.found.trial.index}/weights/1.safetensors", b"new")
    build(whole, store)
    left = {key for key in store.list("report/") if store.read(key) == b"old"}
    assert left == {"report/compressed/1.onnx"} | own


def test_a_whole_page_has_every_section(whole: SearchRecord, tmp_path: Path) -> None:
    """Each section once, with the found graph, a sentence per baseline and all three charts."""
    page, _, store = written(whole, tmp_path)
    assert SECTIONS | {"trials", "finalists"} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert {"chart-curves", "chart-rungs", "chart-comparison"} <= set(page.ids)
    assert page.tags.count("h1") == 1
    for baseline in ("independent training", "mutual learning", "distillation"):
        assert baseline in page.text
    table = json.loads(store.read("report/comparison.json"))
    assert [row["names"][0] for row in table["contenders"]] == [
        "Found",
        *(row.names[0] for row in whole.comparison[1:]),
    ]


def test_a_page_loads_nothing(whole: SearchRecord, tmp_path: Path) -> None:
    """It names no address, and its policy forbids every request."""
    page, _, store = written(whole, tmp_path)
    text = store.read("report/index.html").decode()
    assert page.addresses == []
    assert "Content-Security-Policy\" content=\"default-src 'none'" in text
    assert re.findall(r"@import|url\(\s*['\"]?https?:", text) == []
    for name in ("graph", "curves", "rungs", "comparison"):
        picture = store.read(f"report/{name}.svg").decode()
        assert re.findall(r"(?:href|src)=\"https?:|url\(['\"]?https?:|<script", picture) == []


def test_script_elements_end_where_they_should(whole: SearchRecord, tmp_path: Path) -> None:
    """Three charts, the library and the page's own script; none is cut short by what it holds."""
    page, _, store = written(whole, tmp_path)
    assert page.tags.count("script") == 5
    text = store.read("report/index.html").decode()
    specs = re.findall(r'<script type="application/json" data-chart="(\w+)">(.*?)</script>', text, re.DOTALL)
    assert [name for name, _ in specs] == ["curves", "rungs", "comparison"]
    assert all("layer" in json.loads(spec) for _, spec in specs)


def test_every_trial_has_a_curve_and_stopped_ones_a_cross(whole: SearchRecord, tmp_path: Path) -> None:
    """The chart's data hold each trial of the search, and the end of each that a rung stopped (figure 3.10)."""
    _, _, store = written(whole, tmp_path)
    text = store.read("report/index.html").decode()
    found = re.search(r'data-chart="curves">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])["datasets"]
    searched = whole.of(Purpose.SEARCH)
    assert {row["trial"] for row in data["points"]} == {trial.index for trial in searched}
    stopped = {trial.index: trial.status.rungs[-1] for trial in searched if trial.status.outcome == "Stopped"}
    assert {row["trial"]: row["evaluation"] for row in data["ends"]} == {
        index: rung.evaluation for index, rung in stopped.items()
    }


def test_without_a_comparison_the_page_does_not_boast(played: Played, manifest: str, tmp_path: Path) -> None:
    """Nothing is claimed about the known methods, and the weights are the winning trial's."""
    record = played(manifest.replace(COMPARISON, ""))
    page, keys, _ = written(record, tmp_path)
    assert set(page.ids) >= SECTIONS
    assert "whether it is better than they are is not known" in page.text
    assert "No comparison was asked for." in page.text
    assert "report/comparison.json" not in keys
    assert record.found is not None
    assert record.found.trial.index == record.facts.winner


def test_a_search_whose_budget_was_spent_says_so(played: Played, manifest: str, tmp_path: Path) -> None:
    """It ended before its comparison: the best trial stands alone."""
    spent = manifest.replace("parallelTrials: 4", "parallelTrials: 4, maxGpuHours: 0.05")
    page, _, _ = written(played(spent), tmp_path)
    assert set(page.ids) >= SECTIONS
    assert "because its budget was spent. (maxGpuHours: 0.05 are spent)" in page.text


def test_a_search_in_which_everything_diverged_says_so(played: Played, tmp_path: Path) -> None:
    """No graph, no recipe, no charts, and still a page with every section."""
    page, keys, _ = written(played(curve=no_curve), tmp_path)
    assert set(page.ids) >= SECTIONS
    assert keys == ["report/index.html"]
    assert "No graph was found: no trial reached its last evaluation." in page.text
    assert "No trial reported a score." in page.text
    assert "chart-rungs" not in page.ids
    assert "score nan at evaluation 1" in page.text


def test_a_cancelled_search_says_so(played: Played, manifest: str, tmp_path: Path) -> None:
    """Cancelled at once there is not a single trial to show."""
    page, keys, _ = written(played(manifest.replace("  seed: 1", "  seed: 1\n  desiredState: Cancelled")), tmp_path)
    assert set(page.ids) >= SECTIONS
    assert keys == ["report/index.html"]
    assert "The search was cancelled" in page.text
    assert "No trial was started." in page.text


def test_a_search_that_still_runs_has_a_report(whole: SearchRecord, tmp_path: Path) -> None:
    """The first trials, no end, no winner: the best so far is shown."""
    facts = whole.facts.model_copy(update={"ended_at": None, "reason": None, "winner": None})
    running = SearchRecord(whole.manifest, facts, whole.trials[:24], whole.results)
    page, keys, _ = written(running, tmp_path)
    assert "The search still runs" in page.text
    assert "report/graph.svg" in keys


def test_a_fixed_list_is_shown_by_its_comparison(played: Played, tmp_path: Path) -> None:
    """There is no search: curves are those of the comparison's runs, and nothing is called found by chance."""
    page, keys, _ = written(played(FIXED), tmp_path)
    assert set(page.ids) >= SECTIONS
    assert {"report/curves.svg", "report/comparison.svg", "report/recipe.yaml"} <= set(keys)
    assert "1 given graph on digits, trained for 4 epochs." in page.text
    assert "The given graph reaches" in page.text


def test_a_single_trial_has_a_report(played: Played, manifest: str, tmp_path: Path) -> None:
    """One trial, one evaluation."""
    one = manifest.replace("maxTrials: 24", "maxTrials: 1").replace("epochs: 16", "epochs: 1").replace(COMPARISON, "")
    page, _, _ = written(played(one), tmp_path)
    assert set(page.ids) >= SECTIONS
    assert "1 graph of" in page.text


@pytest.mark.parametrize("score_of", ["Ensemble", "BestNode"])
def test_other_scores_are_shown(played: Played, manifest: str, tmp_path: Path, score_of: str) -> None:
    """An ensemble's accuracy stands in the table of networks; a chosen node is named."""
    record = played(manifest.replace("scoreOf: TargetNode", f"scoreOf: {score_of}"))
    page, _, _ = written(record, tmp_path)
    assert "of all networks" in page.text
    assert ("· target" in page.text) == (score_of == "BestNode")
    if score_of == "BestNode":
        assert f"The node chosen is {record.facts.winner_node}." in page.text


def test_what_failed_is_told_and_escaped(whole: SearchRecord, tmp_path: Path) -> None:
    """A message may hold anything; it appears as text and never as markup."""
    nasty = '<img src=x onerror="alert(1)"> & </script><script>alert(2)</script>'
    last = whole.trials[-1]
    status = last.status.model_copy(update={"outcome": "Failed", "message": nasty})
    facts = whole.facts.model_copy(update={"message": nasty, "reason": "ComparisonFailed"})
    record = SearchRecord(
        whole.manifest, facts, (*whole.trials[:-1], last.model_copy(update={"status": status})), whole.results
    )
    page, _, _ = written(record, tmp_path)
    assert "img" not in page.tags
    assert page.tags.count("script") == 5
    assert page.text.count(nasty) == 2


def test_records_that_do_not_add_up_are_told(whole: SearchRecord, tmp_path: Path) -> None:
    """A page without a trial that there was says so in one line; a whole one says nothing."""
    page, _, _ = written(whole, tmp_path / "whole")
    assert "In doubt" not in page.text
    page, _, _ = written(replace(whole, trials=(*whole.trials[:3], *whole.trials[4:])), tmp_path / "less")
    assert f"In doubt: trials without a record: {whole.trials[3].index};" in page.text


def test_a_search_that_still_runs_is_not_in_doubt(whole: SearchRecord) -> None:
    """Its facts were read while they were written, one after the other."""
    facts = whole.facts.model_copy(update={"ended_at": None, "reason": None, "winner": None})
    assert replace(whole, facts=facts, trials=whole.trials[1:]).doubt == ""


def test_repeated_epochs_are_shown_as_lost(whole: SearchRecord, tmp_path: Path) -> None:
    """In the row of their purpose, with the epochs of its trials besides."""
    index = whole.of(Purpose.FINALIST)[0].index
    last = whole.results[index][-1]
    again = (TrialResult(attempt=1, steps=250), last.model_copy(update={"attempt": 2}))
    page, _, _ = written(replace(whole, results={**whole.results, index: again}), tmp_path)
    cost = page.text[page.text.index("Device time and trained epochs") :]
    trained = 16 * len(whole.of(Purpose.FINALIST))
    assert f"{trained}02.5" in cost


def test_the_manifest_is_escaped(played: Played, tmp_path: Path) -> None:
    """It is shown as it was written, whatever it holds."""
    page, _, _ = written(played(FIXED.replace("digits}", 'digits, uri: "</pre><b>x</b>"}')), tmp_path)
    assert "b" not in page.tags
    assert "uri: </pre><b>x</b>" in page.text


def test_crashed_attempts_are_lost_time(played: Played, manifest: str, tmp_path: Path) -> None:
    """A trial that crashes once goes on; the crashed attempt's seconds are shown as lost."""

    def fault(trial: GraphTrial, evaluation: int) -> int | None:
        first = trial.attempt is not None and trial.attempt.number == 1
        return 1 if trial.index == 0 and evaluation == 2 and first else None

    record = played(manifest.replace(COMPARISON, ""), fault=fault)
    assert [attempt.exit_code for attempt in record.trials[0].status.attempts][:1] == [1]
    page, _, _ = written(record, tmp_path)
    cost = page.text[page.text.index("Device time and trained epochs") :]
    lost = record.trials[0].status.attempts[0].seconds
    assert f"{lost:.1f} s" in cost


def test_weights_that_are_not_there_are_said_to_be_missing(whole: SearchRecord, tmp_path: Path) -> None:
    """Nothing is promised that does not lie there."""
    page, keys, _ = written(whole, tmp_path)
    assert not [key for key in keys if "weights" in key]
    assert "No weights lie here" in page.text


def test_bad_data_ends_with_its_message(played: Played, manifest: str, tmp_path: Path) -> None:
    """The page repeats what the trainer said."""

    def fault(_trial: GraphTrial, _evaluation: int) -> int | None:
        return ExitCode.BAD_DATA

    page, _, _ = written(played(manifest, fault=fault), tmp_path)
    assert "because its data could not be read. (simulated exit code 11)" in page.text


SEMI_SUPERVISED = """
apiVersion: graphsearch.io/v1alpha1
kind: GraphSearch
metadata: {name: fixmatch}
spec:
  data: {dataset: digits, labelled: {count: 100}}
  graphs:
    - nodes: [{name: "1", model: wrn-10-1}, {name: "2", kind: EMA, follows: "1"}]
      edges:
        - {source: Label, destination: "1", loss: {type: CrossEntropy}}
        - {source: "1", destination: "1", loss: {type: ThresholdedPseudoLabel}}
  training: {length: {epochs: 4}}
  comparison: {repeats: 2, baselines: []}
"""


def test_a_semi_supervised_graph_has_a_picture_for_each_view(played: Played, tmp_path: Path) -> None:
    """Gates apart from methods (fig 5.6), with identities of their own."""
    page, keys, _ = written(played(SEMI_SUPERVISED), tmp_path)
    assert {"report/graph-methods.svg", "report/graph-gates.svg"} <= set(keys)
    assert "report/graph.svg" not in keys
    assert len(page.ids) == len(set(page.ids))
    assert "The first picture shows what is learnt along each edge" in page.text
