"""Runs as TensorBoard reads them: a folder each, with scalars over steps and the parameters for its HParams page.

Decided against: torch's SummaryWriter, for a laptop that only looks needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from graphsearch.api import Outcome
from graphsearch.cli.export import TrackedRun
from graphsearch.cli.folders import naming

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
            for old in place.glob("events.out.tfevents.*"):
                old.unlink()
            _write_run(run, EventFileWriter(str(place)))
    return folder


def _write_run(run: TrackedRun, writer: EventFileWriter) -> None:
    writer.add_event(_hparams(run.started, metadata.SESSION_START_INFO_TAG, session_start_info=_start(run)))
    for point in run.points:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in point.metrics.items()]
        writer.add_event(Event(wall_time=point.time, step=point.step, summary=Summary(value=values)))
    ended = run.ended or run.started
    end = SessionEndInfo(status=_STATUS.get(run.outcome, Status.STATUS_FAILURE), end_time_secs=ended)
    writer.add_event(_hparams(ended, metadata.SESSION_END_INFO_TAG, session_end_info=end))
    writer.close()


def _start(run: TrackedRun) -> SessionStartInfo:
    info = SessionStartInfo(start_time_secs=run.started, group_name=run.name)
    for name, value in (run.params | run.tags).items():
        info.hparams[name].string_value = value
    return info


def _hparams(time: float, tag: str, **content: SessionStartInfo | SessionEndInfo) -> Event:
    data = metadata.create_summary_metadata(HParamsPluginData(**content))
    value = Summary.Value(tag=tag, metadata=data, tensor=metadata.NULL_TENSOR)
    return Event(wall_time=time, summary=Summary(value=[value]))
