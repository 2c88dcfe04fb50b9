"""The operator's exposition."""

from __future__ import annotations

import time

from prometheus_client.parser import text_string_to_metric_families

from graphsearch.api.search_status import TrialCounts
from graphsearch.controller.loops import Result
from graphsearch.controller.metrics import Metrics


def samples(metrics):
    """Every sample by name and labels."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        (sample.name.removeprefix("graphsearch_operator_"), *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def test_turns_requests_and_decisions_are_counted():
    """What happens once counts once, under controller-runtime's kind of names."""
    metrics = Metrics()
    metrics.turn_ended(Result.SUCCESS, 0.2)
    metrics.turn_ended(Result.RETRY, 30.0)
    metrics.requested("GET", "pods", 200)
    metrics.requested("PATCH", "graphtrials", 409)
    metrics.requested("POST", "jobs", 0)
    metrics.decided("Stop", 0.4)
    metrics.decided("Stop", None)
    metrics.prometheus_failed()

    found = samples(metrics)

    assert found["turns_total", "success"] == found["turns_total", "retry"] == 1
    assert found["turns_total", "error"] == 0
    assert found["turn_seconds_sum",] == 30.2
    assert found["api_requests_total", "200", "GET", "pods"] == 1
    assert found["api_requests_total", "POST", "jobs", "none"] == 1
    assert found["api_writes_total", "graphtrials"] == found["api_writes_total", "jobs"] == 1
    assert ("api_writes_total", "pods") not in found
    assert found["decisions_total", "Stop"] == 2
    assert found["decision_seconds_count",] == 1
    assert found["prometheus_failures_total",] == 1


def test_a_search_is_shown_while_it_is_there():
    """Labels that name a search go with it; the counts by state follow."""
    metrics = Metrics()
    metrics.search_is("red", "one", "Searching", TrialCounts(running=3, succeeded=2, stopped=7))
    metrics.search_is("blue", "one", "Searching", TrialCounts())
    metrics.search_is("red", "one", "Completed", TrialCounts(succeeded=4, stopped=8))

    found = samples(metrics)
    assert found["search_trials", "one", "red", "stopped"] == 8
    assert found["search_trials", "one", "red", "running"] == 0
    assert (found["searches", "Searching"], found["searches", "Completed"]) == (1, 1)

    metrics.search_gone("red", "one")
    metrics.search_gone("red", "never-shown")

    found = samples(metrics)
    assert not [key for key in found if "red" in key]
    assert ("searches", "Completed") not in found
    assert found["searches", "Searching"] == 1


def test_it_is_ready_once_that_is_said():
    """Before, somebody who waits for it sees a 0 and no gap."""
    metrics = Metrics()
    assert samples(metrics)["ready",] == 0
    metrics.stand_by(lambda: True, lambda: True)
    assert samples(metrics)["ready",] == 1


def test_the_loops_are_shown_as_they_are_when_asked():
    """Depth and ages are looked up at each scrape; a stall makes the last turn old."""
    metrics = Metrics()
    metrics.stand_by(lambda: True, lambda: False)
    assert samples(metrics)["lease_held",] == 1
    assert samples(metrics)["last_turn_timestamp_seconds",] <= time.time()

    before = time.time()
    metrics.show_loops(waiting=lambda: 4, running=lambda: 2, longest=lambda: 1.5, stalled=lambda: 1000.0)

    found = samples(metrics)
    assert (found["queue_depth",], found["turns_running",]) == (4, 2)
    assert found["longest_running_turn_seconds",] == 1.5
    assert before - 1000 <= found["last_turn_timestamp_seconds",] <= time.time() - 1000


def test_the_process_itself_is_measured():
    """Memory and CPU stand beside the rest, for the dashboard."""
    assert ("process_resident_memory_bytes",) in samples(Metrics())
