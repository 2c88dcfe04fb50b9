"""Which Jobs are not needed any more (design 4)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from graphsearch.api.wire import Object

_KEPT_SECONDS = 24 * 3600
_KEPT_JOBS = 20
"""Of failed attempts, for a look at their pods and logs: the newest of a search."""


def superfluous_jobs(jobs: Iterable[Object], open_jobs: Collection[str], now: float) -> list[Object]:
    """Jobs to delete: those whose attempt's end is recorded, except the newest that failed.

    Args:
        jobs: Of one search.
        open_jobs: Names of those whose attempt is open.
        now: Seconds since the epoch.
    """
    closed = [
        job for job in jobs if job["metadata"]["name"] not in open_jobs and "deletionTimestamp" not in job["metadata"]
    ]
    failed = sorted(
        ((at, job["metadata"]["name"]) for job in closed if (at := failed_at(job)) is not None), reverse=True
    )
    kept = {name for at, name in failed[:_KEPT_JOBS] if now - at < _KEPT_SECONDS}
    return [job for job in closed if job["metadata"]["name"] not in kept]


def failed_at(job: Object) -> float | None:
    """When a Job failed, in seconds since the epoch; None if it did not."""
    for condition in job.get("status", {}).get("conditions", ()):
        if condition["type"] == "Failed" and condition["status"] == "True":
            return datetime.fromisoformat(condition["lastTransitionTime"]).timestamp()
    return None
