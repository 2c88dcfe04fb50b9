"""Events are for transitions: what lasts is said once."""

from __future__ import annotations

from graphsearch.api import Outcome
from graphsearch.cluster.reading import Conflict
from graphsearch.cluster.remarks import Remarks


def object_of(index):
    """What stands for a trial's object."""
    return {"kind": "GraphTrial", "metadata": {"name": f"s-t{index}"}}


def said(remarks):
    """(trial, type, reason) of all that waits."""
    return [(remark.owner["metadata"]["name"], remark.type, str(remark.reason)) for remark in remarks.take()]


def conflict(index, evaluation, scores="0.1, 0.2"):
    """Two scores of one evaluation."""
    return Conflict(index, evaluation, f"t{index}, evaluation {evaluation}: seen with the scores {scores}")


def test_scores_that_go_on_disagreeing_are_said_once():
    """The operator looks four times a second; another evaluation is another conflict."""
    remarks = Remarks(object_of)
    for _ in range(3):
        remarks.conflicts([conflict(3, 1)])
    remarks.conflicts([conflict(3, 1), conflict(4, 2)])
    assert said(remarks) == [("s-t3", "Warning", "Conflicting"), ("s-t4", "Warning", "Conflicting")]
    assert said(remarks) == []


def test_scores_that_agreed_in_between_are_said_again():
    """That is another transition."""
    remarks = Remarks(object_of)
    for found in ([conflict(3, 1)], [], [conflict(3, 1)]):
        remarks.conflicts(found)
    assert len(said(remarks)) == 2


def test_another_image_than_the_first_is_said_once_an_image():
    """Not the first itself, nor one that is not known yet."""
    remarks = Remarks(object_of)
    for attempt, image_id in ((1, "a"), (2, ""), (2, "b"), (2, "b"), (3, "b"), (4, "c"), (5, "a")):
        remarks.image(7, attempt, image_id, "a")
    remarks.image(8, 1, "b", "")
    waiting = remarks.take()
    assert [remark.message for remark in waiting] == [
        "attempt 2 runs image b, the trial's first pod ran a; name images by digest",
        "attempt 4 runs image c, the trial's first pod ran a; name images by digest",
    ]
    assert {(remark.owner["metadata"]["name"], remark.type, remark.reason) for remark in waiting} == {
        ("s-t7", "Warning", "ImageChanged")
    }


def test_an_outcome_is_normal_unless_the_trial_failed():
    """Failed and Diverged are warnings."""
    remarks = Remarks(object_of)
    for index, outcome in enumerate(Outcome):
        remarks.ended(object_of(index), index, outcome, "why")
    warnings = {remark.reason for remark in remarks.take() if remark.type == "Warning"}
    assert warnings == {Outcome.FAILED, Outcome.DIVERGED}
