"""The report of a compression (spec 9): its table 4.9, its conflicts, its files and the lines that load them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from graphsearch.api import Outcome
from graphsearch.report import SearchRecord, build
from graphsearch.report.compression_sections import compression_section, copy_exports
from graphsearch.search.compression import result_of, tries
from graphtrial.contract import Aggregation, Conflict, Exported, LossType, Purpose
from graphtrial.storage import open_store

Played = Callable[..., SearchRecord]
CHOICE = "  compression: {student: resnet14, temperatures: [1, 5], repeats: 2}\n"
MADE = (
    Exported(name="student.safetensors", kind="safetensors", shape=(3, 32, 32), size=2000, difference=0.0),
    Exported(name="student.pt2", kind="torch.export", shape=(3, 32, 32), size=3_000_000, difference=2e-6),
    Exported(name="", kind="ONNX", shape=(3, 32, 32), problem="onnx not installed"),
)


def text_of(html: str) -> str:
    """What a reader sees."""
    return unescape(re.sub(r"<[^>]+>", " ", html))


def rows_of(html: str, caption: str) -> list[list[str]]:
    """Cells of the table with that caption, without its head."""
    found = re.search(rf"<caption>{caption}</caption>.*?<tbody>(.*?)</tbody>", html, re.DOTALL)
    assert found is not None, caption
    rows = re.findall(r"<tr.*?</tr>", found[1], re.DOTALL)
    return [[text_of(cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)] for row in rows]


@pytest.fixture
def compressed(played: Played, manifest: str) -> SearchRecord:
    """A search that compressed, with what its trainers would have left."""
    record = played(manifest.replace("  seed: 1\n", CHOICE + "  seed: 1\n"))
    results = dict(record.results)
    for trial in record.of(Purpose.COMPRESS):
        way = trial.spec.distillation
        left = {"exports": MADE} if trial == result_of(record.of(Purpose.COMPRESS)) else {}
        if way and way.aggregation is Aggregation.PROJECT:
            left["conflicts"] = (
                Conflict(loss=LossType.KL, sources=("1", "2"), count=0),
                Conflict(loss=LossType.KL, sources=("2", "3"), count=1234),
            )
        results[trial.index] = (results[trial.index][0].model_copy(update=left),)
    return replace(record, results=results)


def test_each_way_is_a_row_at_its_best_temperature(compressed: SearchRecord) -> None:
    """Mean and deviation over the repeats; all temperatures below."""
    html = compression_section(compressed, [])
    rows = rows_of(html, "Ways of distilling, on the validation images")
    assert [row[:2] for row in rows] == [
        ["Mean probability of the ensemble", "summed"],
        ["Probability of each teacher", "summed"],
        ["Probability of each teacher", "projected"],
    ]
    assert all(re.fullmatch(r"\d+\.\d ± \d+\.\d %", row[3]) for row in rows)
    assert {row[4] for row in rows} == {"2"}
    everything = rows_of(html, "Every way at every temperature")
    assert [row[2] for row in everything] == ["1", "1", "5", "1", "5"]
    best = max(everything[1:3], key=lambda row: float(row[3].split()[0]))
    assert rows[1][2] == best[2]


def test_the_best_temperature_is_the_one_that_is_used(compressed: SearchRecord) -> None:
    """A run that diverged counts against it in the table as it does in the choice."""
    before = rows_of(compression_section(compressed, []), "Ways of distilling, on the validation images")
    best, ways = float(before[2][2]), tries(compressed.of(Purpose.COMPRESS))
    diverging = next(
        runs[0] for way, runs in ways.items() if way.temperature == best and way.aggregation is Aggregation.PROJECT
    )
    status = diverging.status.model_copy(update={"outcome": Outcome.DIVERGED})
    diverged = diverging.model_copy(update={"status": status})
    trials = tuple(diverged if trial.index == diverged.index else trial for trial in compressed.trials)
    after = rows_of(
        compression_section(replace(compressed, trials=trials), []), "Ways of distilling, on the validation images"
    )
    assert float(after[2][2]) != best


def test_the_network_is_told_with_its_score_beside_the_ensembles(compressed: SearchRecord) -> None:
    """How many taught it, what it is, how it learned."""
    assert re.search(
        r"networks? taught one resnet14, which reaches \d+\.\d % test accuracy in one run; their ensemble reaches",
        text_of(compression_section(compressed, [])),
    )


def test_conflicts_are_a_table_of_pairs(compressed: SearchRecord) -> None:
    """Tables 4.10, 4.11: only where gradients were projected."""
    html = compression_section(compressed, [])
    assert rows_of(html, "Conflicts of gradients") == [["1-2", "0"], ["2-3", "1,234"]]
    assert "KL of probability of each teacher, projected" in text_of(html)


def test_files_are_copied_and_shown_with_the_lines_that_load_them(compressed: SearchRecord, tmp_path: Path) -> None:
    """Sizes, differences, and for what could not be made the reason."""
    store, result = open_store(str(tmp_path)), result_of(compressed.of(Purpose.COMPRESS))
    assert result is not None
    for name in ("student.safetensors", "student.pt2"):
        store.write(f"trials/{result.index}/exports/{name}", name.encode())
    keys = build(compressed, store)
    assert {"report/compressed/student.safetensors", "report/compressed/student.pt2"} <= set(keys)
    assert store.read("report/compressed/student.pt2") == b"student.pt2"
    page = store.read("report/index.html").decode()
    assert rows_of(page, "Files of the compressed network") == [
        ["compressed/student.safetensors", "safetensors", "2 kB", "0"],
        ["compressed/student.pt2", "torch.export", "3 MB", "2e-06"],
    ]
    assert (
        "import torch\n"
        'network = torch.export.load("compressed/student.pt2").module()\n'
        "logits = network(torch.zeros(1, 3, 32, 32))"
    ) in unescape(page)
    assert "No ONNX: onnx not installed." in text_of(page)


def test_files_that_are_gone_are_said_to_be(compressed: SearchRecord, tmp_path: Path) -> None:
    """A report of a folder that was cleared."""
    store = open_store(str(tmp_path))
    assert copy_exports(compressed, store, store) == []
    assert "No files lie here" in text_of(compression_section(compressed, []))


def test_without_compression_there_is_no_section(whole: SearchRecord) -> None:
    """Nothing was asked for."""
    assert compression_section(whole, []) == ""


def test_a_compression_of_which_nothing_came_says_why(compressed: SearchRecord) -> None:
    """The ways that were tried are shown all the same."""
    trials = tuple(
        trial.model_copy(update={"status": trial.status.model_copy(update={"outcome": Outcome.FAILED})})
        if trial.spec.purpose is Purpose.COMPRESS
        else trial
        for trial in compressed.trials
    )
    facts = compressed.facts.model_copy(update={"message": "no network was distilled; the last trial, s-t9: <nan>"})
    html = compression_section(SearchRecord(compressed.manifest, facts, trials, compressed.results), [])
    assert "No resnet14 came out of the compression: no network was distilled" in text_of(html)
    assert "<nan>" not in html
    rows = rows_of(html, "Ways of distilling, on the validation images")
    assert [row[3:] for row in rows] == [["–", "0 of 2"]] * 3
    assert len(tries(list(trials))) == 5


def test_a_search_that_ended_before_it_says_so(compressed: SearchRecord) -> None:
    """No Compress trial was made."""
    trials = tuple(trial for trial in compressed.trials if trial.spec.purpose is not Purpose.COMPRESS)
    html = compression_section(SearchRecord(compressed.manifest, compressed.facts, trials, {}), [])
    assert "ended before its networks were compressed" in html
