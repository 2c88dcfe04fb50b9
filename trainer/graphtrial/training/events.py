"""A trial's events as they happen, and their way into ``events.jsonl``.

The object is written whole: where a disk holds it after every evaluation, on a server with the reports. A later attempt
takes the lines of the earlier ones over, so that each evaluation has one line whichever attempt measured it first.

Decided against: appending to a file. An object of a store is replaced as a whole, and carries the digest of a whole.
"""

from __future__ import annotations

import time

from graphtrial.contract import Event, EventKind, TrialSpec, events_text, score_modes
from graphtrial.training.outbox import Job, Outbox
from graphtrial.training.state import State


def note_start(spec: TrialSpec, state: State) -> None:
    """An attempt begins, with what it has taken over."""
    models = {node.name: node.model for node in spec.graph.nodes if node.model}
    told = Event(
        event=EventKind.START,
        time=time.time(),
        attempt=spec.attempt,
        step=state.step,
        trial=spec.trial,
        purpose=spec.purpose,
        seed=spec.seed,
        models=models,
    )
    state.events.append(told)
    # Those of a checkpoint whose lines did not arrive.
    note_evaluations(spec, state)


def note_evaluations(spec: TrialSpec, state: State) -> None:
    """Evaluations that no event tells of yet."""
    known = {event.number for event in state.events}
    state.events += [
        Event(
            event=EventKind.EVALUATION,
            time=time.time(),
            attempt=spec.attempt,
            step=found.step,
            number=found.number,
            score=found.score,
            scores=score_modes(spec.graph, found.nodes),
            nodes=found.nodes,
            losses=found.losses,
            learning_rate=found.learning_rate,
            seconds=found.seconds,
        )
        for found in state.evaluations
        if found.number not in known
    ]


def note_checkpoint(spec: TrialSpec, state: State) -> None:
    """A checkpoint is on its way."""
    told = Event(event=EventKind.CHECKPOINT, time=time.time(), attempt=spec.attempt, step=state.step)
    state.events.append(told)


def note_end(spec: TrialSpec, state: State, code: int, message: str = "") -> None:
    """The attempt ends."""
    told = Event(
        event=EventKind.END, time=time.time(), attempt=spec.attempt, step=state.step, code=code, message=message
    )
    state.events.append(told)


def note_analysis(spec: TrialSpec, state: State) -> None:
    """The networks are about to be analysed."""
    state.events.append(Event(event=EventKind.ANALYSIS, time=time.time(), attempt=spec.attempt, step=state.step))


def ended_in_analysis(state: State) -> list[int]:
    """Attempts that have told of their analysis and of no end."""
    ended = {told.attempt for told in state.events if told.event is EventKind.END}
    begun = [told.attempt for told in state.events if told.event is EventKind.ANALYSIS]
    return [attempt for attempt in begun if attempt not in ended]


def put_events(outbox: Outbox, state: State) -> None:
    """Store all events so far. Raises as ``Outbox.put``."""
    text = events_text(state.events)
    outbox.put(Job("the events", lambda: outbox.folder.write_events(text), "events", gives_way=True))
