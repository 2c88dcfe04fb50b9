"""Reads rung scores from a trial's own exposition, as Prometheus would.

A score counts only if its labels name the trial and attempt that are asked for: a port may have passed to another
process. No answer means unknown, never bad.
"""

from __future__ import annotations

import http.client
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from graphsearch.search.actions import Report
from graphtrial.contract.metric_names import RUNG_SCORE

_TIMEOUT_SECONDS = 1.0


def scrape(port: int, *, index: int, trial_uid: str, attempt: int) -> list[Report]:
    """The rung scores that a trial exposes now; none if it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=_TIMEOUT_SECONDS) as answer:
            text = answer.read().decode()
        return parse(text, index=index, trial_uid=trial_uid, attempt=attempt)
    except (OSError, http.client.HTTPException, ValueError):  # it may end while it answers
        return []


def parse(text: str, *, index: int, trial_uid: str, attempt: int) -> list[Report]:
    """The rung scores in an exposition.

    Raises:
        ValueError: If it is no exposition.
    """
    return [
        Report(index, int(sample.labels["rung"]), sample.value, attempt)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == RUNG_SCORE
        and sample.labels.get("trial_uid") == trial_uid
        and sample.labels.get("attempt") == str(attempt)
    ]
