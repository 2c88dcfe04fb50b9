"""What ``events.jsonl`` tells of a trial, whichever attempts it took."""

import json
import math
import os
from pathlib import Path

import pytest
import torch
from tests.trainer_process import results
from tests.trials import label_edge, single_node, trial_spec

from graphtrial.contract import EVENTS, Evaluation, Event, EventKind, TrialSpec, events_of, events_text
from graphtrial.storage import open_store
from graphtrial.training import trial as trial_module
from graphtrial.training.checkpoint import TrialFolder
from graphtrial.training.events import note_evaluations, note_start, put_events
from graphtrial.training.outbox import Outbox
from graphtrial.training.state import State
from graphtrial.training.trial import run


@pytest.fixture(autouse=True)
def process(monkeypatch):
    """``run`` expects a process of its own: its signal handlers and torch's settings stay out of this one."""
    monkeypatch.setattr(trial_module, "_StopRequest", lambda: lambda: False)
    yield
    torch.set_deterministic_debug_mode("default")


def spec_of(folder, **changes):
    """Twelve updates, evaluated after each four, saved after each seven."""
    return trial_spec(folder, **changes)


def told(folder):
    """The events in a folder."""
    return events_of(open_store(folder.as_uri()).read(EVENTS).decode())


def test_a_trial_tells_what_happens_to_it(tmp_path):
    """Start, evaluations, checkpoints, analysis and end, in their order, each with its step."""
    assert run(json.dumps(spec_of(tmp_path, seed=3))) == 0
    events = told(tmp_path)
    assert [(event.event.value, event.step) for event in events] == [
        ("start", 0),
        ("evaluation", 4),
        ("checkpoint", 4),
        ("checkpoint", 7),
        ("evaluation", 8),
        ("checkpoint", 8),
        ("evaluation", 12),
        ("checkpoint", 12),
        ("analysis", 12),
        ("end", 12),
    ]
    first, last = events[0], events[-1]
    assert (first.trial, first.purpose, first.seed, first.models) == ("search-t0", "Search", 3, {"1": "resnet8"})
    assert (last.code, last.message) == (0, "")


def test_an_evaluation_is_told_with_all_that_it_measured(tmp_path):
    """All scores of spec 5.3, losses, learning rate and time; the rate is that of the update before."""
    graph = {"nodes": [*single_node()["nodes"], {"name": "2", "model": "resnet8"}]}
    graph["edges"] = [label_edge("1"), label_edge("2")]
    assert run(json.dumps(spec_of(tmp_path, graph=graph, objective={"scoreOf": "Ensemble"}))) == 0
    evaluations = [event for event in told(tmp_path) if event.event is EventKind.EVALUATION]
    assert [event.learning_rate for event in evaluations] == pytest.approx([0.1, 0.01, 0.0001])
    for event in evaluations:
        assert set(event.nodes) == {"1", "2", "ensemble"}
        assert set(event.losses) == {"1", "2"}
        assert event.score == event.scores["ensemble"] == event.nodes["ensemble"]
        assert event.scores["mean"] == pytest.approx((event.nodes["1"] + event.nodes["2"]) / 2)
        assert event.scores["best"] == max(event.nodes["1"], event.nodes["2"])
        assert event.scores["target"] == event.nodes["1"]
    seconds = [event.seconds for event in evaluations]
    assert seconds == sorted(seconds)


def test_a_later_attempt_repeats_no_evaluation(tmp_path):
    """The first attempt evaluated twice and was killed before it could save the second: one line each remains."""
    first = spec_of(tmp_path, stopAfter=1, rungs=[])
    assert run(json.dumps(first)) == 0
    store = open_store(tmp_path.as_uri())
    later = [event.model_copy(update={"number": 2, "step": 8}) for event in told(tmp_path) if event.number == 1]
    store.write(EVENTS, events_text([*told(tmp_path), *later]).encode())
    assert run(json.dumps(spec_of(tmp_path, attempt=2))) == 0
    events = told(tmp_path)
    assert [event.number for event in events if event.event is EventKind.EVALUATION] == [1, 2, 3]
    assert [(event.attempt, event.step) for event in events if event.event is EventKind.START] == [(1, 0), (2, 4)]


def test_evaluations_of_a_checkpoint_whose_lines_are_lost_are_told_again(tmp_path):
    """A server had the checkpoint and not yet the events."""
    spec = TrialSpec.model_validate(spec_of(tmp_path, attempt=2))
    found = Evaluation(number=1, step=4, score=0.5, nodes={"1": 0.5}, losses={"1": 1.0}, seconds=2.0)
    state = State(step=4, evaluations=[found])
    note_start(spec, state)
    note_evaluations(spec, state)
    assert [(event.event.value, event.number) for event in state.events] == [("start", None), ("evaluation", 1)]


def test_a_trial_that_is_refused_says_why(tmp_path):
    """Its end has the code and the message."""
    spec = spec_of(tmp_path, data={"dataset": "digits", "labelled": {"count": 20}})
    assert run(json.dumps(spec)) == 11
    end = told(tmp_path)[-1]
    assert (end.event, end.code) == (EventKind.END, 11)
    assert end.message.startswith("training.batchSize")


def test_a_file_name_that_is_not_utf8_can_be_told(tmp_path):
    """Bad data stays bad data: the result and the last event name the file, with its bytes escaped."""
    for name in ("ant", "bee"):
        (tmp_path / "set" / "train" / name).mkdir(parents=True)
        Path(tmp_path, "set", "train", name, os.fsdecode(b"caf\xe9.png")).write_bytes(b"no image")
    data = {"dataset": "ImageFolder", "uri": str(tmp_path / "set")}
    assert run(json.dumps(spec_of(tmp_path / "trial", data=data))) == 11
    (reported,) = results(tmp_path / "trial").values()
    for end in (reported, told(tmp_path / "trial")[-1]):
        assert r"train/ant/caf\udce9.png is damaged or no image" in end.message


def test_lines_are_json_also_where_a_score_is_no_number(tmp_path):
    """And come back as they were; what is no event is passed over."""
    event = Event(
        event=EventKind.EVALUATION, time=1.5, attempt=1, step=4, number=1, score=math.nan, scores={"x": math.inf}
    )
    text = events_text([event])
    assert json.loads(text)["score"] == "NaN"
    (back,) = events_of(f"{text}not json\n{{}}\n")
    assert math.isnan(back.score)
    assert back.scores == {"x": math.inf}


def test_unreadable_events_are_begun_anew(tmp_path, caplog):
    """They are no reason to refuse a trial."""
    folder = TrialFolder(open_store(tmp_path.as_uri()), 1)
    put_events(Outbox(folder), State(events=[Event(event=EventKind.END, time=1, attempt=1, step=1, code=0)]))
    assert len(folder.events()) == 1
    (tmp_path / EVENTS).write_text("damaged")
    assert folder.events() == []
    assert "earlier events are passed over" in caplog.text
