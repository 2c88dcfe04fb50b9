"""What Prometheus would read, over a real port."""

import math
import socket
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.trials import trial_spec

from graphtrial.contract import TrialSpec
from graphtrial.training.errors import RefusedError
from graphtrial.training.exposition import Exposition


@pytest.fixture
def spec(tmp_path):
    """Of a third attempt."""
    return TrialSpec.model_validate(trial_spec(tmp_path, attempt=3))


@pytest.fixture
def exposition(spec):
    """On a free port, closed afterwards."""
    exposition = Exposition(spec)
    yield exposition
    exposition.close()


def scraped(exposition):
    """Values by metric and rung."""
    with urlopen(f"http://127.0.0.1:{exposition.port}/metrics") as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {
        (sample.name, sample.labels.get("rung", "")): sample.value for family in families for sample in family.samples
    }


def test_rungs_steps_and_evaluations_are_what_the_loop_has_written(exposition):
    """Under their documented names, to the last digit."""
    exposition.rungs = {1: 0.1 + 0.2, 2: math.nan}
    exposition.steps, exposition.evaluations, exposition.step_seconds = 8, 2, 0.25
    found = scraped(exposition)
    assert math.isnan(found.pop(("graphtrial_rung_score", "2")))
    assert found == {
        ("graphtrial_rung_score", "1"): 0.1 + 0.2,
        ("graphtrial_steps_total", ""): 8,
        ("graphtrial_evaluations_total", ""): 2,
        ("graphtrial_step_seconds", ""): 0.25,
    }


def test_every_sample_says_whose_it_is(exposition):
    """Search, trial and attempt, so that one scrape can be told from another's."""
    exposition.rungs = {4: 0.5}
    with urlopen(f"http://127.0.0.1:{exposition.port}/metrics") as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    labels = {frozenset(s.labels.items()) - {("rung", "4")} for family in families for s in family.samples}
    assert labels == {
        frozenset({("search_uid", "search-uid"), ("trial_uid", "trial-uid"), ("attempt", "3")}),
    }


def test_a_taken_port_is_named(spec):
    """One message that says which port and what to do."""
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RefusedError, match=f"^metricsPort: port {port} is in use"):
            Exposition(spec.model_copy(update={"metrics_port": port}))
