"""A search as runs of TensorBoard and MLflow, read back with their own readers."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from graphsearch.api import Outcome
from graphsearch.cli.exits import Exit
from graphsearch.local import Folder
from graphtrial.contract import EVENTS, Event, EventKind, events_text


def evaluation(number: int, **changes) -> Event:
    """One with all its numbers."""
    fields = {
        "event": EventKind.EVALUATION,
        "time": 1_700_000_000.0 + number,
        "attempt": 1,
        "step": 100 * number,
        "number": number,
        "score": 0.125 * number,
        "scores": {"mean": 0.5},
        "nodes": {"1": 0.25},
        "losses": {"1": 1.5},
        "learning_rate": 0.125,
        "seconds": 2.0 * number,
    }
    return Event.model_validate(fields | changes)


@pytest.fixture
def tracked_run(played_run: Folder) -> Folder:
    """A played search whose first trial has left three evaluations, the last of them without a score."""
    start = Event(event=EventKind.START, time=1_700_000_000.0, attempt=1, step=0)
    told = [start, evaluation(1), evaluation(2), evaluation(3, score=math.nan, nodes={"1": math.inf})]
    played_run.store.write(f"trials/0/{EVENTS}", events_text(told).encode())
    return played_run


def started(folder: Folder) -> list:
    """The trials that ran."""
    return [trial for trial in folder.ledger().trials.values() if trial.status.attempts]


def test_tensorboard_shows_every_trial_with_its_curves(graphsearch, tracked_run: Folder, tmp_path: Path):
    """Scalars at their steps and times; numbers that are not finite are left out; parameters for the HParams page."""
    logs = tmp_path / "logs"
    code, out, err = graphsearch("export", tracked_run.path, "--to", "tensorboard", "--output", logs)
    trials = started(tracked_run)
    assert (code, err) == (Exit.OK, "")
    assert out == f"{len(trials)} runs in {logs}; see them with: tensorboard --logdir {logs}\n"
    assert {path.name for path in logs.iterdir()} == {trial.name for trial in trials}
    read = EventAccumulator(str(logs / trials[0].name)).Reload()
    assert [(point.step, point.value) for point in read.Scalars("score")] == [(100, 0.125), (200, 0.25)]
    assert [(point.wall_time, point.step) for point in read.Scalars("losses/1")] == [
        (1_700_000_001.0, 100),
        (1_700_000_002.0, 200),
        (1_700_000_003.0, 300),
    ]
    assert set(read.Tags()["scalars"]) == {"score", "scores/mean", "nodes/1", "losses/1", "learning_rate", "seconds"}
    content = read.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    shown = {
        name: value.string_value
        for name, value in metadata.parse_session_start_info_plugin_data(content).hparams.items()
    }
    assert shown["model/1"] == "resnet8"
    assert shown["edge/Label to 1/CrossEntropy"] == "Through"
    assert shown["seed"] == str(trials[0].spec.seed)
    assert (shown["purpose"], shown["outcome"]) == ("Search", trials[0].status.outcome)


def test_tensorboard_is_brought_up_to_date(graphsearch, tracked_run: Folder, tmp_path: Path):
    """A second export takes the place of the first, and what somebody else has put there stays."""
    logs = tmp_path / "logs"
    graphsearch("export", tracked_run.path, "--to", "tensorboard", "--output", logs)
    place = logs / started(tracked_run)[0].name
    (place / "notes.txt").write_text("mine")
    tracked_run.store.write(f"trials/0/{EVENTS}", events_text([evaluation(1)]).encode())
    graphsearch("export", tracked_run.path, "--to", "tensorboard", "--output", logs)
    assert len(list(place.glob("events.out.tfevents.*"))) == 1
    assert (place / "notes.txt").exists()
    assert [point.step for point in EventAccumulator(str(place)).Reload().Scalars("score")] == [100]


@pytest.fixture
def mlflow_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder that MLflow keeps its runs in; it calls that a thing of the past, and a database needs all of it."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return (tmp_path / "mlruns").as_uri()


def runs_in(uri: str, name: str) -> dict:
    """By trial index."""
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    return {int(run.data.tags["graphsearch.trial"]): run for run in runs}


def test_mlflow_has_a_run_for_every_trial(graphsearch, tracked_run: Folder, mlflow_store: str):
    """Parameters, tags, status and every metric's history."""
    code, out, err = graphsearch("export", tracked_run.path, "--to", "mlflow", "--tracking-uri", mlflow_store)
    name = tracked_run.manifest().metadata.name
    trials = started(tracked_run)
    assert (code, err) == (Exit.OK, "")
    assert out == f"{len(trials)} runs in the experiment {name} of {mlflow_store}\n"
    runs = runs_in(mlflow_store, name)
    assert set(runs) == {trial.index for trial in trials}
    run = runs[0]
    assert run.info.run_name == trials[0].name
    assert run.data.params["model/1"] == "resnet8"
    assert run.data.params["dataset"] == "digits"
    assert run.data.tags["graphsearch.purpose"] == "Search"
    history = MlflowClient(tracking_uri=mlflow_store).get_metric_history(run.info.run_id, "score")
    assert [(point.step, point.value, point.timestamp) for point in history] == [
        (100, 0.125, 1_700_000_001_000),
        (200, 0.25, 1_700_000_002_000),
    ]
    expected = {Outcome.SUCCEEDED: "FINISHED", Outcome.STOPPED: "KILLED"}
    assert {runs[trial.index].info.status for trial in trials if trial.status.outcome is Outcome.STOPPED} == {"KILLED"}
    assert all(runs[trial.index].info.status == expected[trial.status.outcome] for trial in trials)


def test_mlflow_keeps_what_has_ended_and_renews_what_ran(graphsearch, tracked_run: Folder, mlflow_store: str):
    """Exported while one trial ran, and again when it had ended: no run is there twice, and only that one is new."""
    arguments = ("export", tracked_run.path, "--to", "mlflow", "--tracking-uri", mlflow_store)
    name = tracked_run.manifest().metadata.name
    ended = started(tracked_run)[0]
    running = ended.model_copy(update={"status": ended.status.model_copy(update={"outcome": None})})
    with Folder(tracked_run.path) as folder:
        folder.write_trial(running)
    graphsearch(*arguments)
    before = runs_in(mlflow_store, name)
    assert before[0].info.status == "RUNNING"
    with Folder(tracked_run.path) as folder:
        folder.write_trial(ended)
    graphsearch(*arguments)
    after = runs_in(mlflow_store, name)
    assert set(after) == set(before)
    assert [index for index in after if after[index].info.run_id != before[index].info.run_id] == [0]
    assert after[0].data.tags["graphsearch.outcome"] == ended.status.outcome


def test_a_store_that_mlflow_cannot_open_is_told(graphsearch, tracked_run: Folder):
    """One line, with what would help."""
    code, _, err = graphsearch("export", tracked_run.path, "--to", "mlflow", "--tracking-uri", "ftp://nowhere")
    assert code == Exit.REFUSED
    assert err.startswith("graphsearch: MLflow: ")
    assert "--tracking-uri names its server" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "tensorboard", "--tracking-uri", "x"], "--tracking-uri is MLflow's"),
        (["--to", "mlflow", "--output", "x"], "--output is TensorBoard's"),
    ],
)
def test_an_option_of_the_other_tool_is_refused(graphsearch, tracked_run: Folder, arguments, message):
    """Before anything is read."""
    code, _, err = graphsearch("export", tracked_run.path, *arguments)
    assert code == Exit.USAGE
    assert message in err


@pytest.mark.parametrize("tool", ["tensorboard", "mlflow"])
def test_a_tool_that_is_not_installed_is_named(graphsearch, tracked_run: Folder, monkeypatch, tool: str):
    """With what to install."""
    for name in [name for name in sys.modules if name.partition(".")[0] == tool]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, f"graphsearch.cli.export_{tool}", raising=False)
    monkeypatch.setitem(sys.modules, tool, None)
    code, _, err = graphsearch("export", tracked_run.path, "--to", tool)
    assert code == Exit.USAGE
    assert err == f"graphsearch: {tool} is not installed; install graphsearch[{tool}]\n"


def test_a_folder_without_a_search_is_refused(graphsearch, tmp_path: Path):
    """As every command does."""
    code, _, err = graphsearch("export", tmp_path / "none", "--to", "tensorboard")
    assert code == Exit.FOLDER
    assert "holds no search" in err
