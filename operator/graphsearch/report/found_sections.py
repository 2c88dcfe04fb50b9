"""What was found: headline, the graph, the comparison, the finalists, how to use it again."""

from __future__ import annotations

from graphsearch.api import Outcome, Reason
from graphsearch.report.graph_picture import View, draw
from graphsearch.report.markup import Html, bullets, element, fold, join, paragraph, picture, section, table
from graphsearch.report.record import Found, SearchRecord, contender_text, ranked
from graphsearch.report.tables import finalist_rows, updates
from graphsearch.report.wording import (
    METRICS,
    counted,
    duration_text,
    gate_text,
    loss_text,
    mean_text,
    score_text,
    size_text,
    space_text,
)
from graphsearch.search.comparison import Row, Verdict, sentences, spoken
from graphsearch.search.space import distinct_size
from graphtrial.contract import (
    DATASETS,
    Graph,
    ModelSize,
    Node,
    Purpose,
    ScoreOf,
    image_side,
    is_built_in,
    model_size,
    needed_nodes,
)

_ENDS = {
    Reason.COMPLETED: "",
    Reason.BUDGET_SPENT: "The search ended before everything asked for was done, because its budget was spent.",
    Reason.CANCELLED: "The search was cancelled: what follows is what was recorded until then.",
    Reason.DEADLINE_EXCEEDED: "The search ended at its deadline, before everything asked for was done.",
    Reason.TOO_MANY_FAILED_TRIALS: "The search ended because too many trials failed.",
    Reason.NO_TRIAL_COMPLETED: "No graph was found: no trial reached its last evaluation.",
    Reason.BAD_DATA: "The search ended because its data could not be read.",
    Reason.BAD_SPEC: "The search ended because a trainer refused its specification.",
    Reason.COMPARISON_FAILED: "The comparison is incomplete: some of its runs did not end well.",
    Reason.COMPRESSION_FAILED: "The networks could not be compressed into one.",
}


def headline(record: SearchRecord) -> Html:
    """What was searched, where, and what came of it."""
    facts = record.facts
    ended = _ENDS.get(facts.reason, f"The search ended: {facts.reason}.") if facts.reason else ""
    if facts.ended_at is None:
        ended = "The search still runs: this is what has been recorded so far."
    message = f" ({facts.message})" if facts.message and facts.reason is not Reason.NO_TRIAL_COMPLETED else ""
    notes = [paragraph(ended + message, "notice")] if ended else []
    name = element("h1", record.manifest.metadata.name)
    lines = [paragraph(line, "lead") for line in (_searched(record), _found(record), _compared(record)) if line]
    return element("header", join([name, *notes, *lines, _figures(record)]), id="headline")


def _searched(record: SearchRecord) -> str:
    spec = record.manifest.spec
    length = record.settled.training.length
    trained = counted(length.epochs, "epoch") if length.epochs else counted(length.steps or 0, "step")
    if spec.space is None:
        return f"{counted(len(spec.graphs), 'given graph')} on {spec.data.dataset}, trained for {trained}."
    size = distinct_size(spec.space)
    of = f"of {space_text(size)} possible" if size is not None else "of a continuous space"
    drawn = counted(len(record.of(Purpose.SEARCH)), "graph")
    what = f"{counted(spec.space.nodes, 'network')} that teach one another"
    return f"{drawn} {of}, each of {what}, tried on {spec.data.dataset}, for up to {trained} each."


def _found(record: SearchRecord) -> str:
    found, metric = record.found, record.manifest.spec.objective.metric
    if found is None:
        return "No trial ended well, so there is no graph to show."
    if found.compared:
        row = record.comparison[0]
        score = mean_text(metric, row.mean, row.std)
        subject = "The given graph" if record.manifest.spec.graphs else "The graph that was found"
        runs = counted(len(row.scores), "run")
        trained = f"after training on {_training_set(record)}"
        return f"{subject} reaches {score} test {METRICS[metric]} {trained} ({runs})."
    score = score_text(metric, found.trial.status.score)
    return f"The best graph, of trial {found.trial.index}, reaches {score} validation {METRICS[metric]} in one run."


def _training_set(record: SearchRecord) -> str:
    labelled = record.manifest.spec.data.labelled
    return f"{labelled.count:,} labelled images of the full training set" if labelled else "the full training set"


def _compared(record: SearchRecord) -> str:
    if record.found is None:
        return ""
    if not record.found.compared:
        return (
            "It was not compared with the known methods, so whether it is better than they are is not known; "
            "and as the best of many it looks better here than it would on new images."
        )
    verdicts: dict[Verdict, list[str]] = {verdict: [] for verdict in Verdict}
    for row in record.comparison:
        if row.difference:
            verdicts[row.difference.verdict].append(spoken(row.names))
    parts = [
        f"it is better than {_listed(verdicts[Verdict.BETTER])}" if verdicts[Verdict.BETTER] else "",
        f"it is worse than {_listed(verdicts[Verdict.WORSE])}" if verdicts[Verdict.WORSE] else "",
        f"no difference from {_listed(verdicts[Verdict.NOT_SHOWN])} is shown" if verdicts[Verdict.NOT_SHOWN] else "",
    ]
    told = "; ".join(part for part in parts if part)
    return f"On the test images {told}." if told else ""


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _figures(record: SearchRecord) -> Html:
    metric, facts = record.manifest.spec.objective.metric, record.facts
    done = ranked(record)
    stopped = sum(trial.status.outcome is Outcome.STOPPED for trial in record.trials)
    figures = [
        ("Best in the search", score_text(metric, done[0].status.score) if done else "–"),
        ("On test images", mean_text(metric, record.comparison[0].mean, None) if record.comparison else "–"),
        ("Trials", f"{len(record.trials):,}"),
        ("Stopped early", f"{stopped:,}"),
        ("Wall clock", duration_text(facts.ended_at - facts.started_at) if facts.ended_at is not None else "–"),
        ("Device time", duration_text(sum(trial.seconds for trial in record.trials))),
    ]
    cells = [element("div", join([element("dt", name), element("dd", value)])) for name, value in figures]
    return element("dl", join(cells), class_="figures")


def graph_pictures(record: SearchRecord, found: Found) -> dict[str, str]:
    """Pictures of the graph that was found, by name: one, or of a semi-supervised graph one for each view (fig 5.6)."""
    if not found.graph.semi_supervised:
        return {"graph": _picture(record, found, View.BOTH)}
    return {f"graph-{view.value}": _picture(record, found, view) for view in (View.METHODS, View.GATES)}


def _picture(record: SearchRecord, found: Found, view: View) -> str:
    objective = record.manifest.spec.objective
    scores = {name: score_text(objective.metric, score) for name, score in found.scores.items()}
    everything = {node.name for node in found.graph.nodes}
    idle = everything - needed_nodes(found.graph, objective.score_of) - _ensembles(found.graph)
    target = "" if objective.score_of is ScoreOf.ENSEMBLE else found.graph.target_name
    return draw(found.graph, scores, target=target, idle=frozenset(idle), view=view)


def _ensembles(graph: Graph) -> set[str]:
    return {node.name for node in graph.nodes if node.members}


def graph_section(record: SearchRecord) -> Html:
    """The picture, and beside it the same as tables."""
    found = record.found
    if found is None:
        return section("graph", "The graph", paragraph("There is none: no trial reached its last evaluation."))
    where = "test images, the mean of all runs of the comparison" if found.compared else "the validation images"
    metric = METRICS[record.manifest.spec.objective.metric]
    told = f"An arrow goes from who teaches to who learns. In brackets the {metric} on {where}. Cut edges are left out."
    drawn = graph_pictures(record, found)
    if len(drawn) > 1:
        told += " The first picture shows what is learnt along each edge, the second how much it weighs over training."
    images = [element("figure", Html(svg), class_="graph", tabindex="0") for svg in drawn.values()]
    edges = [(edge.source, edge.destination, loss_text(edge), gate_text(edge)) for edge in found.graph.live_edges()]
    listing = table("Edges of the graph", ("From", "To", "Loss", "Gate"), edges)
    return section("graph", "The graph", paragraph(told), *images, _nodes(record, found), fold("Its edges", listing))


def _nodes(record: SearchRecord, found: Found) -> Html:
    metric = record.manifest.spec.objective.metric
    rows = []
    for node in found.graph.nodes:
        size = _size(record, found.graph, node)
        score = score_text(metric, found.scores.get(node.name))
        parameters, flops = (size_text(size.parameters), size_text(size.flops)) if size else ("–", "–")
        rows.append((node.name, node.model or "–", node.kind.value, score, parameters, flops))
    if "ensemble" in found.scores and "ensemble" not in {node.name for node in found.graph.nodes}:
        rows.append(("ensemble", "–", "of all networks", score_text(metric, found.scores["ensemble"]), "–", "–"))
    head = ("Node", "Model", "Kind", METRICS[metric].capitalize(), "Parameters", "FLOPs per image")
    return table("Networks of the graph", head, rows, numbers=(3, 4, 5))


def _size(record: SearchRecord, graph: Graph, node: Node) -> ModelSize | None:
    """None where only the trainer knows: foreign models, or data whose number of classes stands in no catalogue."""
    model = graph.node(node.follows).model if node.follows else node.model
    data = DATASETS.get(record.manifest.spec.data.dataset)
    if data is None or data.classes is None or not is_built_in(model):
        return None
    side = image_side(data.name, record.manifest.spec.data.image_size)
    return model_size(model, classes=data.classes, channels=data.channels, image_size=side)


def comparison_section(record: SearchRecord) -> Html:
    """The table, a sentence for each baseline, every repeat's score."""
    rows, metric = record.comparison, record.manifest.spec.objective.metric
    if not rows:
        why = (
            "No comparison was asked for." if record.manifest.spec.comparison is None else "The search ended before it."
        )
        return section("comparison", "Comparison with known methods", paragraph(why))
    told = (
        f"Each contender was trained on {_training_set(record)} and scored once on the test images, at its last epoch. "
        "A repeat has the same seed for all, so that runs are compared in pairs; better or worse is said only where "
        "the 95 % t interval of the mean difference excludes zero. The intervals are not corrected for their number."
    )
    steps = updates(record)
    if steps:
        told += " The contenders were not trained for equally many updates, so that part of a difference may be theirs."
    repeats = sorted({repeat for row in rows for repeat in row.scores})
    head = (
        "Contender",
        "Mean ± std",
        "Runs",
        *(["Updates"] if steps else []),
        *(f"Repeat {repeat + 1}" for repeat in repeats),
    )
    cells = [
        (
            contender_text(row),
            mean_text(metric, row.mean, row.std),
            _runs(row),
            *([", ".join(f"{taken:,}" for taken in steps[place]) or "–"] if steps else []),
            *(score_text(metric, row.scores.get(repeat)) for repeat in repeats),
        )
        for place, row in enumerate(rows)
    ]
    listing = table("Scores on the test images", head, cells, numbers=range(1, len(head)), strong=0)
    chart = [picture("comparison", "Test score of each run, by contender")] if repeats else []
    verdict = element("div", bullets(sentences(rows, metric)), class_="verdict")
    return section("comparison", "Comparison with known methods", verdict, listing, *chart, paragraph(told, "small"))


def _runs(row: Row) -> str:
    failed = row.repeats - len(row.scores)
    return f"{len(row.scores)}" + (f" ({failed} did not end well)" if failed else "")


def finalists_section(record: SearchRecord) -> Html:
    """The best graphs again with new seeds; empty where that did not happen."""
    rows, metric = finalist_rows(record), record.manifest.spec.objective.metric
    if not rows:
        return Html("")
    cells = [
        (
            f"Trial {row.origin.index}",
            score_text(metric, row.origin.status.score),
            mean_text(metric, row.mean, row.std),
            f"{len(row.scores)} of {row.runs}",
            "chosen" if row.origin.index == record.facts.winner else "",
        )
        for row in rows
    ]
    told = (
        "One run may be lucky: the best graphs were trained again with new seeds, and the mean validation score chose."
    )
    chosen = next((place for place, row in enumerate(rows) if row.origin.index == record.facts.winner), -1)
    node = f" The node chosen is {record.facts.winner_node}." if record.facts.winner_node else ""
    head = ("Graph of", "In the search", "Mean ± std again", "Runs that ended well", "")
    listing = table("Finalists on the validation images", head, cells, numbers=(1, 2, 3), strong=chosen)
    return section("finalists", "Finalists", paragraph(told + node), listing)


def reuse_section(record: SearchRecord, weights: list[str]) -> Html:
    """How to run the graph again and load its weights."""
    if record.found is None:
        return section("reuse", "Use it again", paragraph("There is no graph to use again."))
    told = (
        "recipe.yaml, beside this page, is a GraphSearch with this graph and the baselines. "
        "For other data change its spec.data, then:"
    )
    parts = [paragraph(told), element("pre", "graphsearch run recipe.yaml")]
    if weights:
        run = f"trial {record.found.trial.index}"
        parts.append(paragraph(f"The weights of {run} are state dictionaries, one for each network:"))
        code = f'from safetensors.torch import load_file\nstate = load_file("{weights[0]}")'
        parts += [bullets(weights), element("pre", code)]
    else:
        parts.append(paragraph("No weights lie here: the trainer had left none when this report was made."))
    return section("reuse", "Use it again", *parts)
