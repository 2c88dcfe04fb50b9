"""How it was found: learning curves, rungs, the best trials, how trials ended, what it cost, with what."""

from __future__ import annotations

import platform
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version

from graphsearch.api import Outcome, write_manifest
from graphsearch.report.markup import Html, element, fold, paragraph, picture, section, table
from graphsearch.report.record import SearchRecord, curve, evaluations_reached, failures
from graphsearch.report.tables import (
    best_trials,
    costs,
    gate_sets,
    length_unit,
    most_at_once,
    rung_rows,
    trained_length,
    wall_clock,
)
from graphsearch.report.wording import counted, duration_text, graph_text, length_text, score_text
from graphtrial.contract import Purpose

_SHOWN_TRIALS = 10
_SHOWN_FAILURES = 8

_PURPOSES = {
    Purpose.SEARCH: "Search",
    Purpose.PRETRAIN: "Teachers",
    Purpose.FINALIST: "Finalists",
    Purpose.COMPARE: "Comparison",
    Purpose.COMPRESS: "Compression",
    Purpose.REPORT: "Report",
}


def curves_section(has_chart: bool) -> Html:
    """Every trial's learning curve."""
    if not has_chart:
        return section("curves", "Learning curves", paragraph("No trial reported a score."))
    told = "One line is one trial; a cross marks where it was stopped. Point at a value for its trial, graph and score."
    chart = picture("curves", "Score of every trial over its evaluations, with a cross where it was stopped")
    return section("curves", "Learning curves", paragraph(told), chart)


def rungs_section(record: SearchRecord, has_chart: bool) -> Html:
    """What each rung decided."""
    rows = rung_rows(record)
    if not rows:
        why = "No trial could be stopped early: there are no rungs, or none was reached."
        return section("rungs", "Rungs", paragraph(why))
    metric = record.manifest.spec.objective.metric
    asha = record.settled.asha
    told = (
        f"At each rung a trial went on only while it was among the best 1/{asha.reduction_factor} of all scores seen "
        f"there so far ({asha.mode.value.lower()} mode). A decision rests on what had been seen by then, so more "
        "than that share may have gone on; the cut score is the lowest that would go on now."
    )
    cells = [
        (
            f"{row.evaluation:,}",
            f"{row.reported:,}",
            f"{row.kept:,}",
            f"{row.reported - row.kept:,}",
            score_text(metric, row.cut),
        )
        for row in rows
    ]
    head = ("Evaluation", "Reported", "Went on", "Stopped", "Cut score")
    listing = table("Rungs", head, cells, numbers=range(5))
    chart = [picture("rungs", "Scores at each rung")] if has_chart else []
    return section("rungs", "Rungs", paragraph(told), listing, *chart)


def trials_section(record: SearchRecord) -> Html:
    """The best trials with their graphs; empty for a fixed list."""
    best = best_trials(record, _SHOWN_TRIALS)
    if not best:
        return Html("")
    metric = record.manifest.spec.objective.metric
    cells = [
        (
            f"{trial.index}",
            score_text(metric, trial.status.score),
            f"{evaluations_reached(record, trial)} of {record.settled.evaluations}",
            trial.status.outcome.value if trial.status.outcome else "Running",
            graph_text(trial.spec.graph),
        )
        for trial in best
    ]
    chosen = next((place for place, trial in enumerate(best) if trial.index == record.facts.winner), -1)
    head = ("Trial", "Score", "Evaluations", "Outcome", "Graph")
    listing = table("The best trials of the search", head, cells, numbers=(0, 1, 2), strong=chosen)
    told = "Those that reached their end first, then those that came furthest."
    return section("trials", "The best trials", paragraph(told), element("div", listing, class_="trials"))


def gates_section(record: SearchRecord) -> Html:
    """What the search would have found with fewer gates (table 3.5); empty where all graphs have the same."""
    sets, metric = gate_sets(record), record.manifest.spec.objective.metric
    if len(sets) < 2:
        return Html("")
    cells = [
        (
            ", ".join(found.gates),
            f"{found.trials:,}",
            f"{found.finished:,}",
            f"{found.best.index}" if found.best else "–",
            f"{evaluations_reached(record, found.best)} of {record.settled.evaluations}" if found.best else "–",
            score_text(metric, curve(record, found.best)[-1][1]) if found.best else "–",
        )
        for found in sets
    ]
    head = ("Gates", "Trials", "Reached their end", "Best trial", "Evaluations", "Score")
    listing = table("The best trial with each set of gates", head, cells, numbers=range(1, len(head)))
    told = (
        "Of the trials whose graphs have these gates and no others: one search, seen as if fewer gates had been "
        "allowed. A smaller set had fewer tries, so a lower score may be chance; a search for each set would tell. On "
        "an edge from the label Correct acts as Through and counts as that."
    )
    return section("gates", "What each set of gates gave", paragraph(told), listing)


def outcomes_section(record: SearchRecord) -> Html:
    """How many trials ended how, and what the failed ones said."""
    counts = Counter((trial.spec.purpose, trial.status.outcome) for trial in record.trials)
    if not counts:
        return section("outcomes", "How trials ended", paragraph("No trial was started."))
    outcomes = [outcome for outcome in (*Outcome, None) if any(of == outcome for _, of in counts)]
    cells = [
        (_PURPOSES[purpose], *(f"{counts[purpose, outcome]:,}" for outcome in outcomes))
        for purpose in Purpose
        if any(of is purpose for of, _ in counts)
    ]
    head = ("Trials", *(outcome.value if outcome else "Not ended" for outcome in outcomes))
    parts = [paragraph(f"In doubt: {record.doubt}.", "notice")] if record.doubt else []
    parts += [table("Trials by purpose and outcome", head, cells, numbers=range(1, len(head)))]
    failed = list(failures(record))
    if failed:
        rows = [(trial.name, trial.status.message or "–") for trial in failed[:_SHOWN_FAILURES]]
        more = len(failed) - len(rows)
        caption = "Trials that failed or diverged" + (f" (the first {len(rows)}; {more:,} more)" if more else "")
        parts.append(table(caption, ("Trial", "Why"), rows))
    return section("outcomes", "How trials ended", *parts)


def cost_section(record: SearchRecord) -> Html:
    """Time and training length: useful, stopped, lost."""
    found = costs(record)
    unit = length_unit(record)
    head = ("", "Wall clock", "Useful", "Stopped", "Lost", f"Useful {unit}", f"Stopped {unit}", f"Lost {unit}")
    cells = [
        (
            _PURPOSES[purpose],
            "–" if (wall := wall_clock(record, purpose)) is None else duration_text(wall),
            *(duration_text(value) for value in (s.useful + s.running, s.stopped, s.lost)),
            *(length_text(value) for value in (n.useful, n.stopped, n.lost)),
        )
        for purpose, (s, n) in found.items()
    ]
    told = (
        "Wall clock: from the first start to the last end. Useful: trials that reached their end or still run. "
        "Stopped: trials that a rung or a cancellation stopped. Lost: trials that failed or diverged, the time of "
        f"attempts that crashed or vanished (a later one may have gone on from their checkpoint), and {unit} that had "
        "to be repeated. What a killed attempt trained after its last report is not known: it is in the lost time and "
        f"not in the lost {unit}."
    )
    listing = table(f"Device time and trained {unit}", head, cells, numbers=range(1, len(head)))
    return section("cost", "Cost", *_duration(record), *_saving(record), listing, paragraph(told, "small"))


def _duration(record: SearchRecord) -> list[Html]:
    """A row of table 3.6: what the search of graphs of so many nodes took."""
    spec, searched = record.manifest.spec, record.of(Purpose.SEARCH)
    if spec.space is None or (wall := wall_clock(record, Purpose.SEARCH)) is None:
        return []
    at_once = counted(most_at_once(record, Purpose.SEARCH), "trial")
    told = (
        f"Searching {counted(len(searched), 'graph')} of {counted(spec.space.nodes, 'node')} took "
        f"{duration_text(wall)} of wall clock, with up to {at_once} at a time."
    )
    return [paragraph(told)]


def _saving(record: SearchRecord) -> list[Html]:
    found = costs(record).get(Purpose.SEARCH)
    whole = trained_length(record, record.settled.evaluations) * len(record.of(Purpose.SEARCH))
    if found is None or not record.settled.rungs or not whole:
        return []
    spent, unit = sum((found[1].useful, found[1].stopped, found[1].lost)), length_unit(record)
    told = (
        f"Training every drawn graph to its end would have taken {whole:,} {unit}; "
        f"with the rungs it took {length_text(spent)} ({100 * spent / whole:.0f} %)."
    )
    return [paragraph(told)]


def details_section(record: SearchRecord) -> Html:
    """What is needed to tell how this came about."""
    facts = record.facts
    rows = [
        ("Seed", str(record.manifest.spec.seed)),
        ("Search", facts.uid),
        ("Started", _moment(facts.started_at)),
        ("Ended", _moment(facts.ended_at) if facts.ended_at is not None else "–"),
        ("Trials", counted(len(record.trials), "trial")),
        ("Report made with", f"graphsearch {version('graphsearch')}, altair {version('altair')}"),
        ("Python", platform.python_version()),
    ]
    listing = table("Versions, seed and times", ("What", "Value"), rows)
    manifest = element("pre", write_manifest(record.manifest))
    return section("details", "Details", listing, fold("The manifest", manifest))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
