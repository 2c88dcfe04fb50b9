"""Runs as TensorBoard reads them: a folder each, with scalars over steps and the parameters for its HParams page.

Decided against: torch's SummaryWriter, for a laptop that only looks needs no torch; and TensorBoard's own
EventFileWriter, a thread that tells of a full disk on standard error and lets the program go on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.summary.writer.record_writer import RecordWriter

from graphsearch.api import Outcome
from graphsearch.cli.export import TrackedRun
from graphsearch.cli.folders import naming

_PREFIX = "events.out.tfevents."
_STATUS = {
    None: Status.STATUS_RUNNING,
    Outcome.SUCCEEDED: Status.STATUS_SUCCESS,
    Outcome.STOPPED: Status.STATUS_SUCCESS,
}


def write(runs: Sequence[TrackedRun], folder: Path) -> Path:
    """Write each run into its own folder below ``folder``, in place of what an earlier export left there.

    Raises:
        OSError: If it cannot be written.
    """
    for run in runs:
        place = folder / run.name
        with naming(place):
            place.mkdir(parents=True, exist_ok=True)
            earlier = list(place.glob(f"{_PREFIX}*"))
            _write_run(run, place)
            for old in earlier:
                old.unlink()
    return folder


def _write_run(run: TrackedRun, place: Path) -> None:
    """One file, whole or not at all; under a new name, as a TensorBoard that looks on goes on in those it knows."""
    written = place / ".unfinished"
    try:
        with written.open("wb") as file:
            records = RecordWriter(file)
            for event in _events(run):
                records.write(event.SerializeToString())
        written.replace(place / f"{_PREFIX}{time.time():.6f}.graphsearch")
    finally:
        written.unlink(missing_ok=True)


def _events(run: TrackedRun) -> Iterator[Event]:
    yield Event(wall_time=run.started, file_version="brain.Event:2")
    yield _hparams(run.started, metadata.SESSION_START_INFO_TAG, session_start_info=_start(run))
    for point in run.points:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in point.metrics.items()]
        yield Event(wall_time=point.time, step=point.step, summary=Summary(value=values))
    ended = run.ended or run.started
    end = SessionEndInfo(status=_STATUS.get(run.outcome, Status.STATUS_FAILURE), end_time_secs=ended)
    yield _hparams(ended, metadata.SESSION_END_INFO_TAG, session_end_info=end)


def _start(run: TrackedRun) -> SessionStartInfo:
    info = SessionStartInfo(start_time_secs=run.started, group_name=run.name)
    for name, value in (run.params | run.tags).items():
        info.hparams[name].string_value = value
    return info


def _hparams(at: float, tag: str, **content: SessionStartInfo | SessionEndInfo) -> Event:
    data = metadata.create_summary_metadata(HParamsPluginData(**content))
    value = Summary.Value(tag=tag, metadata=data, tensor=metadata.NULL_TENSOR)
    return Event(wall_time=at, summary=Summary(value=[value]))
