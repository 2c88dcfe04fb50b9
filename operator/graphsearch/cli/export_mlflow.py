"""Runs in MLflow: one experiment for a search, one run for a trial, found again by a tag."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException

from graphsearch.api import Outcome
from graphsearch.cli.exits import CommandError, Exit
from graphsearch.cli.export import TrackedRun

_UID = "graphsearch.uid"
_OUTCOME = "graphsearch.outcome"
_STATUS = {Outcome.SUCCEEDED: "FINISHED", Outcome.STOPPED: "KILLED", Outcome.CANCELLED: "KILLED"}
"""Others have failed."""
_METRICS_A_CALL, _PARAMS_A_CALL = 1000, 100
_LONGEST_PARAM = 6000


def log(name: str, runs: Sequence[TrackedRun], uri: str | None) -> str:
    """Log runs into the experiment ``name``; those that are there and have not changed are left alone.

    Args:
        name: Of the search.
        runs: Its trials.
        uri: Of the server or database; None: as ``MLFLOW_TRACKING_URI`` says.

    Returns:
        Where they are.

    Raises:
        CommandError: If MLflow refuses.
    """
    try:
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else client.create_experiment(name)
        there = {run.data.tags[_UID]: run for run in _all_runs(client, experiment) if _UID in run.data.tags}
        for run in runs:
            old = there.get(run.uid)
            if old and run.outcome is not None and old.data.tags.get(_OUTCOME) == run.outcome.value:
                continue
            if old:
                client.delete_run(old.info.run_id)
            _log(client, experiment, run)
    except MlflowException as error:
        raise CommandError(Exit.REFUSED, f"MLflow: {error}; --tracking-uri names its server") from None
    return f"the experiment {name} of {client.tracking_uri}"


def _all_runs(client: MlflowClient, experiment: str) -> Iterator[Run]:
    token = None
    while True:
        page = client.search_runs([experiment], page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _log(client: MlflowClient, experiment: str, run: TrackedRun) -> None:
    tags = {f"graphsearch.{name}": value for name, value in run.tags.items()} | {_UID: run.uid}
    started = client.create_run(experiment, start_time=round(run.started * 1000), tags=tags, run_name=run.name)
    identity = started.info.run_id
    params = [Param(name, value[:_LONGEST_PARAM]) for name, value in run.params.items()]
    for first in range(0, len(params), _PARAMS_A_CALL):
        client.log_batch(identity, params=params[first : first + _PARAMS_A_CALL])
    metrics = [
        Metric(name, value, round(point.time * 1000), point.step)
        for point in run.points
        for name, value in point.metrics.items()
    ]
    for first in range(0, len(metrics), _METRICS_A_CALL):
        client.log_batch(identity, metrics=metrics[first : first + _METRICS_A_CALL])
    if run.outcome is not None:
        ended = round((run.ended or run.started) * 1000)
        client.set_terminated(identity, _STATUS.get(run.outcome, "FAILED"), end_time=ended)
