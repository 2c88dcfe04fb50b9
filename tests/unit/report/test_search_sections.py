"""How it was found, to the cell: what each set of gates gave, what the search cost in time."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from tests.unit.report.test_analysis_tables import rows
from tests.unit.report.test_build import FIXED, Played

from graphsearch.api import Attempt, AttemptEnd, Decision, Outcome, Rung
from graphsearch.report import SearchRecord
from graphsearch.report.found_sections import comparison_section, headline
from graphsearch.report.search_sections import cost_section, gates_section
from graphsearch.report.tables import GateSet, gate_sets, updates, wall_clock
from graphtrial.contract import GateType, Graph, Labelled, Purpose

TWO = """
apiVersion: graphsearch.io/v1alpha1
kind: GraphSearch
metadata: {name: two}
spec:
  data: {dataset: digits}
  space: {nodes: 2, targetModels: [resnet8], auxiliaryModels: [resnet8]}
  training: {length: {epochs: 4}}
  budget: {maxTrials: 5, parallelTrials: 3}
"""
THROUGH, CUTOFF, LINEAR, CORRECT = GateType.THROUGH, GateType.CUTOFF, GateType.LINEAR, GateType.CORRECT


def graph(*gates: str, follows: bool = False) -> Graph:
    """Two nodes with these gates on Label -> 1, Label -> 2, 1 -> 2 and 2 -> 1; the second may be an average."""
    ends = [("Label", "1"), ("Label", "2"), ("1", "2"), ("2", "1")]
    other = {"name": "2", "kind": "EMA", "follows": "1"} if follows else {"name": "2", "model": "resnet8"}
    edges = [
        {
            "source": source,
            "destination": destination,
            "loss": {"type": "CrossEntropy" if source == "Label" else "KL"},
            "gate": {"type": gate},
        }
        for (source, destination), gate in zip(ends, gates, strict=True)
        if not (follows and destination == "2")
    ]
    return Graph.model_validate({"nodes": [{"name": "1", "model": "resnet8"}, other], "edges": edges, "target": "1"})


def searched(played: Played, *graphs: tuple[Graph, float | None, int]) -> SearchRecord:
    """A search of these graphs, with what each scored, None for nothing, and after how many of 4 evaluations."""
    record = played(TWO)
    trials = []
    for trial, (drawn, score, reached) in zip(record.of(Purpose.SEARCH), graphs, strict=True):
        rungs = (
            ()
            if score is None
            else (Rung(evaluation=reached, score=score, rank=1, of=1, decision=Decision.STOP, time=0.0),)
        )
        outcome = Outcome.FAILED if score is None else Outcome.SUCCEEDED if reached == 4 else Outcome.STOPPED
        status = trial.status.model_copy(update={"rungs": rungs, "score": score, "outcome": outcome})
        trials.append(
            trial.model_copy(
                update={"status": status, "spec": trial.spec.model_copy(update={"graph": drawn})},
            )
        )
    return replace(record, trials=tuple(trials), results={})


@pytest.fixture
def ablated(played: Played) -> SearchRecord:
    """Two graphs of Through alone, one with Cutoff as well, one with Linear as well, one with all."""
    return searched(
        played,
        (graph("Correct", "Through", "Through", "Through"), 0.6, 4),
        (graph("Through", "Through", "Through", "Through"), 0.7, 1),
        (graph("Through", "Through", "Cutoff", "Cutoff"), 0.65, 4),
        (graph("Linear", "Through", "Through", "Linear"), None, 0),
        (graph("Through", "Linear", "Correct", "Cutoff"), 0.9, 2),
    )


def test_each_set_of_gates_has_the_best_of_its_trials(ablated: SearchRecord) -> None:
    """Table 3.5 out of one search; who reached its end comes before who scored more on the way there."""
    trials = ablated.trials
    assert gate_sets(ablated) == [
        GateSet((THROUGH,), 2, 1, trials[0]),
        GateSet((THROUGH, CUTOFF), 3, 2, trials[2]),
        GateSet((THROUGH, LINEAR), 3, 1, trials[0]),
        GateSet((THROUGH, CUTOFF, LINEAR), 4, 2, trials[2]),
        GateSet((THROUGH, CUTOFF, LINEAR, CORRECT), 5, 2, trials[2]),
    ]


def test_a_set_whose_trials_have_no_score_says_so(played: Played) -> None:
    """Failed trials count among the trials, and name no best; what was cut off is told by how far it came."""
    cut, whole = graph("Through", "Through", "Cutoff", "Cutoff"), graph(*4 * ["Through"])
    record = searched(played, (whole, None, 0), *((cut, score, 2) for score in (0.3, 0.25, 0.2, 0.1)))
    html = str(gates_section(record))
    assert rows(html, "The best trial with each set of gates")[1:] == [
        ["Through", "1", "0", "–", "–", "–"],
        ["Through, Cutoff", "5", "0", "1", "2 of 4", "30.0 %"],
    ]
    assert "A smaller set had fewer tries" in html


def test_sets_of_gates_are_a_table_of_the_page(ablated: SearchRecord) -> None:
    """Gates, how many trials, how many came to their end, and which was best."""
    third = str(ablated.trials[2].index)
    assert rows(gates_section(ablated), "The best trial with each set of gates")[1:] == [
        ["Through", "2", "1", "0", "4 of 4", "60.0 %"],
        ["Through, Cutoff", "3", "2", third, "4 of 4", "65.0 %"],
        ["Through, Linear", "3", "1", "0", "4 of 4", "60.0 %"],
        ["Through, Cutoff, Linear", "4", "2", third, "4 of 4", "65.0 %"],
        ["Through, Cutoff, Linear, Correct", "5", "2", third, "4 of 4", "65.0 %"],
    ]


def test_an_average_has_no_edges_that_are_cut(played: Played) -> None:
    """An EMA node learns from nobody, which is no gate; a node whose edges are cut has Cutoff."""
    follower, cut = graph(*4 * ["Through"], follows=True), graph("Through", "Cutoff", "Cutoff", "Through")
    record = searched(played, *[(follower, 0.5, 4)] * 4, (cut, 0.4, 4))
    assert [(found.gates, found.trials) for found in gate_sets(record)] == [((THROUGH,), 4), ((THROUGH, CUTOFF), 5)]


@pytest.mark.parametrize("gate", ["Through", "Linear"])
def test_one_set_of_gates_is_no_table(played: Played, gate: str) -> None:
    """Nothing can be told from it; nor from a fixed list."""
    assert gates_section(searched(played, *[(graph(*4 * [gate]), 0.5, 4)] * 5)) == ""
    assert gates_section(played(FIXED)) == ""


def lasting(record: SearchRecord, *spans: tuple[float | None, float | None]) -> SearchRecord:
    """The first trials with one attempt each that started and ended then; the others have none."""
    given = [*spans, *[None] * (len(record.trials) - len(spans))]
    trials = []
    for trial, span in zip(record.trials, given, strict=True):
        attempts = ()
        if span is not None:
            started, ended = span
            end = None if ended is None else AttemptEnd.DONE
            attempts = (Attempt(number=1, started_at=started, ended_at=ended, end=end, seconds=1.0),)
        status = trial.status.model_copy(update={"attempts": attempts, "ended_at": None})
        trials.append(trial.model_copy(update={"status": status}))
    return replace(record, trials=tuple(trials))


def test_the_wall_clock_is_from_the_first_start_to_the_last_end(ablated: SearchRecord) -> None:
    """A row of table 3.6, beside the nodes of its graphs; trials at the same time count once."""
    record = lasting(ablated, (130.0, 400.0), (100.0, 250.0), (120.0, 4300.0))
    assert wall_clock(record, Purpose.SEARCH) == 4200.0
    html = str(cost_section(record))
    told = "Searching 5 graphs of 2 nodes took 1 h 10 min of wall clock, with up to 3 trials at a time."
    assert told in html
    assert [row[:2] for row in rows(html, "Device time and trained epochs")[1:]] == [["Search", "1 h 10 min"]]


def test_trials_at_a_time_are_counted_and_not_taken_from_the_budget(ablated: SearchRecord) -> None:
    """One machine runs fewer than the manifest allows; one that ends as another starts is not beside it."""
    record = lasting(ablated, (100.0, 200.0), (200.0, 300.0), (250.0, 400.0), (None, None))
    assert "with up to 2 trials at a time" in str(cost_section(record))
    assert "with up to 1 trial at a time" in str(cost_section(lasting(ablated, (100.0, 200.0), (200.0, 300.0))))


def test_what_still_runs_has_taken_until_now(ablated: SearchRecord) -> None:
    """Until the last recorded fact; what was never started took no time."""
    record = lasting(ablated, (100.0, None))
    facts = record.facts.model_copy(update={"ended_at": 190.0})
    assert wall_clock(replace(record, facts=facts), Purpose.SEARCH) == 90.0
    assert wall_clock(lasting(ablated), Purpose.SEARCH) is None
    assert wall_clock(record, Purpose.COMPARE) is None
    html = str(cost_section(lasting(ablated)))
    assert "of wall clock" not in html
    assert rows(html, "Device time and trained epochs")[1][1] == "–"


def test_a_fixed_list_searched_nothing(played: Played) -> None:
    """Its runs have their time in the table."""
    html = str(cost_section(played(FIXED)))
    assert "Searching" not in html
    assert rows(html, "Device time and trained epochs")[1][0] == "Comparison"


def test_the_first_figures_are_those_of_the_records(ablated: SearchRecord) -> None:
    """The best score, how many trials there were and were stopped, from start to end, device time."""
    record = lasting(ablated, (130.0, 400.0), (100.0, 250.0))
    facts = record.facts.model_copy(update={"started_at": 90.0, "ended_at": 90.0 + 2 * 3600 + 120})
    html = str(headline(replace(record, facts=facts)))
    names, values = (re.findall(rf"<{tag}>(.*?)</{tag}>", html) for tag in ("dt", "dd"))
    assert dict(zip(names, values, strict=True)) == {
        "Best in the search": "65.0 %",
        "On test images": "–",
        "Trials": "5",
        "Stopped early": "2",
        "Wall clock": "2 h 2 min",
        "Device time": "2.0 s",
    }


def test_where_few_images_are_labelled_the_report_says_so(whole: SearchRecord) -> None:
    """The training set is full of images whose labels nobody used."""
    data = whole.manifest.spec.data.model_copy(update={"labelled": Labelled(count=1300)})
    spec = whole.manifest.spec.model_copy(update={"data": data})
    few = replace(whole, manifest=whole.manifest.model_copy(update={"spec": spec}))
    told = "trained on 1,300 labelled images of the full training set and"
    assert (told in str(comparison_section(few)), told in str(comparison_section(whole))) == (True, False)
    assert "after training on 1,300 labelled images of the full training set" in str(headline(few))
    assert "after training on the full training set" in str(headline(whole))


def with_steps(record: SearchRecord, of_found: int, of_others: int) -> SearchRecord:
    """The same record, with runs of the comparison that took so many updates."""
    found = set(record.comparison[0].names)
    taken = {t.index: of_found if set(t.spec.contenders) == found else of_others for t in record.of(Purpose.COMPARE)}
    results = {
        index: tuple(result.model_copy(update={"steps": taken.get(index, 0)}) for result in of_one)
        for index, of_one in record.results.items()
    }
    return replace(record, results=results)


def test_contenders_of_unequal_length_are_told_apart(whole: SearchRecord) -> None:
    """In the table of the comparison, with what it means."""
    html = str(comparison_section(with_steps(whole, 1080, 90)))
    table = rows(html, "Scores on the test images")
    assert [row[3] for row in table] == ["Updates", "1,080", *["90"] * (len(table) - 2)]
    assert "not trained for equally many updates" in html


@pytest.mark.parametrize("steps", [0, 90])
def test_equal_or_unknown_lengths_are_not_listed(whole: SearchRecord, steps: int) -> None:
    """A column of equal numbers says nothing."""
    record = with_steps(whole, steps, steps)
    assert updates(record) == []
    assert "Updates" not in str(comparison_section(record))
