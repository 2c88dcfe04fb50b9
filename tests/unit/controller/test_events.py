"""The object of an Event."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphsearch.controller.events import MESSAGE_LENGTH, event_of

SEARCH = {
    "apiVersion": "graphsearch.io/v1alpha1",
    "kind": "GraphSearch",
    "metadata": {"name": "three", "namespace": "here", "uid": "u-1"},
}


def test_an_event_refers_to_its_object():
    """`kubectl describe` finds it by uid, and it says when and how often."""
    event = event_of(SEARCH, "Warning", "Paused", "three in a row", now=1_800_000_000.4)

    name = event["metadata"].pop("name")
    assert name.startswith("three.")
    assert event == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": "here"},
        "involvedObject": {
            "apiVersion": "graphsearch.io/v1alpha1",
            "kind": "GraphSearch",
            "namespace": "here",
            "name": "three",
            "uid": "u-1",
        },
        "type": "Warning",
        "reason": "Paused",
        "message": "three in a row",
        "source": {"component": "graphsearch-operator"},
        "reportingComponent": "graphsearch-operator",
        "firstTimestamp": "2027-01-15T08:00:00Z",
        "lastTimestamp": "2027-01-15T08:00:00Z",
        "count": 1,
    }


def test_the_same_transition_has_the_same_name_whenever_it_happens():
    """So that it is counted up and not doubled, by whichever process."""
    assert (
        event_of(SEARCH, "Normal", "A", "m", now=1.0)["metadata"]
        == (event_of(SEARCH, "Normal", "A", "m", now=2.0)["metadata"])
    )


@pytest.mark.parametrize(
    ("uid", "type", "reason", "message"),
    [
        ("u-2", "Normal", "A", "m"),
        ("u-1", "Warning", "A", "m"),
        ("u-1", "Normal", "B", "m"),
        ("u-1", "Normal", "A", "x"),
    ],
)
def test_another_object_reason_or_message_is_another_event(uid, type, reason, message):
    """A new search of an old name has Events of its own."""
    other = SEARCH | {"metadata": SEARCH["metadata"] | {"uid": uid}}

    assert (
        event_of(other, type, reason, message, now=1.0)["metadata"]
        != (event_of(SEARCH, "Normal", "A", "m", now=1.0)["metadata"])
    )


@settings(max_examples=50, deadline=None)
@given(message=st.text(max_size=3000))
def test_a_long_message_is_cut_to_what_the_api_server_takes(message):
    """Nothing is lost of a short one; a cut one says so."""
    written = event_of(SEARCH, "Normal", "A", message, now=1.0)["message"]

    assert len(written) <= MESSAGE_LENGTH
    assert written == message or (written.endswith("...") and message.startswith(written[:-3]))
