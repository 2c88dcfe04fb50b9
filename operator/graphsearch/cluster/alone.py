"""A GraphTrial that a user applies by hand is a search of its own: one fixed graph, one contender, nothing compared.

Its specification stays as it was written; only the planner sees it so.
"""

from __future__ import annotations

import hashlib

from pydantic import ValidationError

from graphsearch.api import (
    API_VERSION,
    CheckpointChoice,
    Goal,
    GraphSearch,
    GraphTrial,
    ManifestError,
    Metrics,
    Trainer,
    TrainingChoice,
)
from graphsearch.api.wire import Object, where
from graphsearch.search.settled import settle
from graphsearch.search.teachers import teacher_keys
from graphtrial.contract import Purpose, problems

_LONGEST = 40
"""Characters of a search's name."""
_DIGEST = 8


def search_of(trial: GraphTrial, obj: Object) -> GraphSearch:
    """The search that a trial without one stands for.

    Args:
        trial: As it was read.
        obj: The object it was read from.

    Raises:
        ManifestError: With one line per problem, named as in the trial's manifest.
    """
    spec = trial.spec
    if spec.data is None and spec.search_ref:
        message = f"spec.searchRef: it is not owned by search {spec.search_ref}; to run by itself it needs its own data"
        raise ManifestError(where(obj), [message])
    if spec.data is None:
        raise ManifestError(where(obj), ["spec.data: is required in a GraphTrial without searchRef"])
    fields = {
        "objective": Goal.model_validate(spec.objective.to_json()) if spec.objective else Goal(),
        "data": spec.data,
        "graphs": (spec.graph,),
        "training": spec.training or TrainingChoice(),
        "trainer": spec.trainer or Trainer(),
        "checkpoint": spec.checkpoint or CheckpointChoice(),
        "metrics": spec.metrics or Metrics(),
        "seed": spec.seed,
    }
    try:
        manifest = {
            "apiVersion": API_VERSION,
            "kind": "GraphSearch",
            "metadata": {"name": _search_name(trial.name), "namespace": obj["metadata"].get("namespace", "default")},
            "spec": fields,
        }
        return GraphSearch.model_validate(manifest)
    except ValidationError as error:
        # Problems of the search that a trial stands for, at the fields of the trial's own manifest.
        found = [line.replace("spec.graphs[0]", "spec.graph") for line in problems(error)]
        raise ManifestError(where(obj), found) from None


def as_contender(trial: GraphTrial, obj: Object) -> GraphTrial:
    """The trial that was applied as the only contender of its search; its teachers' trials stay as they are.

    Args:
        trial: One of the search's.
        obj: Of the trial that was applied.

    Raises:
        ManifestError: As ``search_of``.
    """
    if trial.name != obj["metadata"]["name"]:
        return trial
    settled = settle(search_of(trial, obj))
    spec = trial.spec.model_copy(
        update={
            "purpose": Purpose.COMPARE,
            "contenders": (trial.spec.graph.name or settled.name,),
            "repeat": 0,
            "teachers": teacher_keys(settled, trial.spec.graph, trial.spec.split, trial.spec.seed),
        }
    )
    return trial.model_copy(update={"spec": spec})


def _search_name(trial: str) -> str:
    """A trial's name may be longer than a search's; its teachers, which are named after it, belong to it alone."""
    if len(trial) <= _LONGEST:
        return trial
    digest = hashlib.sha256(trial.encode()).hexdigest()[:_DIGEST]
    return f"{trial[: _LONGEST - _DIGEST - 1].rstrip('-')}-{digest}"
