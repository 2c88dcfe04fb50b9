"""Which Jobs are removed, and when."""

from __future__ import annotations

from graphsearch.cluster.upkeep import superfluous_jobs

NOW = 1_700_000_000.0


def a_job(name, *conditions, deleted=False):
    """A Job as it is listed."""
    metadata = {"name": name} | ({"deletionTimestamp": "2023-11-14T00:00:00Z"} if deleted else {})
    return {"metadata": metadata, "status": {"conditions": [dict(each) for each in conditions]}}


def failed(at):
    """The condition of a Job that failed at a time."""
    return {"type": "Failed", "status": "True", "lastTransitionTime": at}


def removed(*jobs, open_jobs=()):
    """The names of the Jobs that are to go."""
    return [job["metadata"]["name"] for job in superfluous_jobs(jobs, open_jobs, NOW)]


def test_the_job_of_a_recorded_success_goes():
    """What it has left is recorded."""
    assert removed(a_job("done", {"type": "Complete", "status": "True"})) == ["done"]


def test_the_job_of_an_open_attempt_stays():
    """Its end is not recorded yet."""
    assert removed(a_job("done", {"type": "Complete", "status": "True"}), open_jobs=["done"]) == []


def test_a_job_that_is_going_is_left_alone():
    """It was deleted before."""
    assert removed(a_job("going", deleted=True)) == []


def test_a_failed_job_is_kept_for_a_day():
    """For a look at its pod and log."""
    young, old = a_job("young", failed("2023-11-14T20:00:00Z")), a_job("old", failed("2023-11-13T20:00:00Z"))
    assert removed(young, old) == ["old"]


def test_of_failed_jobs_the_newest_twenty_are_kept():
    """However many fail, a search's Jobs stay few."""
    jobs = [a_job(f"j{minute}", failed(f"2023-11-14T20:{minute:02}:00Z")) for minute in range(25)]
    assert sorted(removed(*jobs)) == ["j0", "j1", "j2", "j3", "j4"]


def test_a_job_that_still_runs_after_its_attempt_was_given_up_goes():
    """An attempt that was lost may come back with its node; its trial has gone on."""
    assert removed(a_job("stray")) == ["stray"]
