"""``graphsearch preview``: what a search will take, played through in the simulated world before it is spent."""

from __future__ import annotations

import argparse
import math
import random

from rich.table import Table

from graphsearch.api import DesiredState, GraphSearch, GraphTrial, check_new, read_manifest
from graphsearch.cli.exits import CommandError, Exit
from graphsearch.cli.live import printer
from graphsearch.cli.validate import described
from graphsearch.search.costs import evaluation_flops, images_of
from graphsearch.search.ledger import Ledger
from graphsearch.search.settled import Settled, settle
from graphsearch.search.simulator import Simulation
from graphsearch.search.space import EmptySpaceError
from graphsearch.search.specs import objective_of
from graphsearch.search.status import SearchStatus, summarise
from graphtrial.contract import DATASETS, Aggregation, Purpose, derive, is_built_in, needed_nodes


def run(options: argparse.Namespace) -> Exit:
    """Simulate the search with drawn learning curves and print rungs, trials, epochs and device hours."""
    manifest = read_manifest(options.manifest)
    check_new(manifest, str(options.manifest))
    settled = settle(_without_ends(manifest))
    images = options.images or _training_images(manifest)
    rate = options.tflops * 1e12
    simulation = Simulation(settled, _curve, duration=lambda trial: _seconds(settled, trial, images or 1, rate))
    try:
        ledger = simulation.run()
    except EmptySpaceError as error:
        raise CommandError(Exit.USAGE, str(error)) from None
    _print(settled, ledger, simulation, images, options.tflops)
    limit, hours = manifest.spec.budget.max_gpu_hours, ledger.seconds / 3600
    if limit is not None and images is not None and hours > limit:
        print(f"That is more than maxGpuHours ({limit:g}): the search would end before everything asked for is done")
    return Exit.OK


def _without_ends(manifest: GraphSearch) -> GraphSearch:
    """What would end a search early says nothing about made-up scores, and the whole cost is what is asked for."""
    objective = manifest.spec.objective.model_copy(update={"goal": None})
    budget = manifest.spec.budget.model_copy(update={"max_gpu_hours": None, "deadline_seconds": None})
    spec = manifest.spec.model_copy(
        update={"objective": objective, "budget": budget, "desired_state": DesiredState.RUNNING}
    )
    return manifest.model_copy(update={"spec": spec})


def _print(settled: Settled, ledger: Ledger, simulation: Simulation, images: int | None, tflops: float) -> None:
    console = printer()
    status = summarise(settled, ledger, simulation.now)
    console.print(described(settled.spec) + "\n")
    if ledger.created[Purpose.SEARCH]:
        console.print("Rungs, as one simulated search passed them:")
        console.print(_rungs(settled, status), "")
    console.print("Trials: " + ", ".join(f"{ledger.created[p]} {p}" for p in Purpose if ledger.created[p]))
    evaluations = sum(_evaluations(settled, trial) for trial in ledger.trials.values())
    searching = sum(_evaluations(settled, t) for t in ledger.trials.values() if t.spec.purpose is Purpose.SEARCH)
    whole = ledger.created[Purpose.SEARCH] * settled.evaluations
    if whole:
        console.print(
            f"Searching: {searching:,} of {whole:,} evaluations, {1 - searching / whole:.0%} saved by stopping"
        )
    epochs = settled.training.evaluate_every.epochs
    unit = f"{evaluations * epochs:,} epochs" if epochs else f"{evaluations:,} evaluations"
    graphs = [trial.spec.graph for trial in ledger.trials.values()]
    passes = ", in semi-supervised graphs passes over the unlabelled images" if epochs else ""
    console.print(f"All together: about {unit}" + (passes if any(graph.semi_supervised for graph in graphs) else ""))
    if images is None:
        console.print(
            "Device hours: not known, because the catalogue does not know how many images there are (--images N)"
        )
        return
    models = {node.model for graph in graphs for node in graph.nodes if node.model and not is_built_in(node.model)}
    if models:
        console.print(f"Not counted, as their sizes are not known: {', '.join(sorted(models))}")
    hours = ledger.seconds / 3600
    wall = simulation.now / 3600
    console.print(
        f"Device hours: about {_figure(hours)} at {tflops:g} TFLOP/s sustained (an assumption: --tflops); "
        f"{_figure(wall)} hours with {settled.spec.budget.parallel_trials} at a time"
    )


def _rungs(settled: Settled, status: SearchStatus) -> Table:
    table = Table(box=None, padding=(0, 2))
    for column in ("rung", "trials reported", "kept"):
        table.add_column(column, justify="right")
    for rung in status.rungs:
        table.add_row(str(rung.evaluation), str(rung.reported), str(rung.kept))
    table.add_row(str(settled.evaluations), str(status.succeeded), "the end")
    return table


def _figure(hours: float) -> str:
    """Three digits, and all that stand before the point."""
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def _evaluations(settled: Settled, trial: GraphTrial) -> int:
    if trial.spec.purpose is not Purpose.SEARCH:
        return settled.evaluations
    return trial.status.rungs[-1].evaluation if trial.status.rungs else 0


def _curve(trial: GraphTrial, evaluation: int) -> float:
    """A made-up accuracy: early scores rank the later ones loosely, as spec 5.1's survivors suggest."""
    draw = random.Random(derive(trial.spec.seed, "preview"))
    final = draw.random()
    noise = random.Random(derive(trial.spec.seed, "preview", evaluation)).random()
    return final + noise / math.sqrt(evaluation)


def _seconds(settled: Settled, trial: GraphTrial, train_images: int, rate: float) -> float:
    """Of one evaluation interval."""
    data, graph = settled.spec.data, trial.spec.graph
    needed = needed_nodes(graph, objective_of(settled, trial).score_of)
    images = images_of(data, trial.spec.split, train_images)
    return evaluation_flops(graph, needed, settled.training, data, images, _backward_passes(trial)) / rate


def _backward_passes(trial: GraphTrial) -> int:
    """In each step: one, or one for each loss where their gradients are projected."""
    way = trial.spec.distillation
    return 1 if way is None or way.aggregation is Aggregation.SUM else len(trial.spec.graph.live_edges())


def _training_images(manifest: GraphSearch) -> int | None:
    dataset = DATASETS.get(manifest.spec.data.dataset)
    return dataset.train_images if dataset else None
