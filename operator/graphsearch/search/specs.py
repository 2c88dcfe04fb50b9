"""From a recorded trial to the TrialSpec that a trainer gets: what the trial says, and what its search says."""

from __future__ import annotations

from dataclasses import dataclass

from graphsearch.api import GraphTrial, SearchFacts
from graphsearch.search.settled import Settled
from graphtrial.contract import Checkpoint, Device, Objective, Purpose, ScoreOf, Split, Training, TrialSpec


@dataclass(frozen=True, slots=True)
class Place:
    """Where a trial runs, as its world decides."""

    root: str
    """URI of the search's objects."""
    teachers: str
    """URI below which weights lie by key."""
    threads: int = 1
    device: Device = Device.CPU
    metrics_port: int = 8000
    cache: str = ""


def trial_spec(settled: Settled, facts: SearchFacts, trial: GraphTrial, place: Place) -> TrialSpec:
    """What the trainer of the trial's latest attempt is told."""
    attempt = trial.attempt
    assert attempt is not None
    choice = settled.spec.checkpoint
    return TrialSpec(
        search=settled.name,
        search_uid=facts.uid,
        trial=trial.name,
        trial_uid=trial_uid(facts, trial),
        attempt=attempt.number,
        purpose=trial.spec.purpose,
        graph=trial.spec.graph,
        objective=objective_of(settled, trial),
        data=settled.spec.data,
        split=trial.spec.split,
        training=_training(settled, trial),
        rungs=settled.rungs if trial.spec.purpose is Purpose.SEARCH else (),
        stop_after=attempt.until,
        seed=trial.spec.seed,
        threads=place.threads,
        device=place.device,
        checkpoint=Checkpoint(
            uri=f"{place.root}/trials/{trial.index}",
            every=choice.every,
            endpoint=choice.endpoint,
            region=choice.region,
            path_style=choice.path_style,
        ),
        teachers={node: f"{place.teachers}/{key}.pt" for node, key in trial.spec.teachers.items()},
        export=trial.spec.graph.target_name if trial.spec.distillation and trial.spec.split is Split.FULL else "",
        publish={node: f"{place.teachers}/{key}.pt" for node, key in trial.spec.publishes.items()},
        cache=place.cache,
        metrics_port=place.metrics_port,
    )


def trial_uid(facts: SearchFacts, trial: GraphTrial) -> str:
    """The identity that a trial's reports carry, where the API server gives none."""
    return f"{facts.uid}-t{trial.index}"


def _training(settled: Settled, trial: GraphTrial) -> Training:
    """The search's; a compression may aggregate gradients."""
    if trial.spec.distillation is None:
        return settled.training
    return settled.training.model_copy(update={"aggregation": trial.spec.distillation.aggregation})


def objective_of(settled: Settled, trial: GraphTrial) -> Objective:
    """After the search the node chosen before is scored; a teacher is scored as itself, and so is a student."""
    if trial.spec.purpose is Purpose.PRETRAIN or trial.spec.distillation:
        score_of = ScoreOf.TARGET_NODE
    elif trial.spec.purpose in (Purpose.COMPARE, Purpose.COMPRESS):
        score_of = settled.final_score_of
    else:
        score_of = settled.spec.objective.score_of
    return Objective(score_of=score_of, metric=settled.spec.objective.metric)
