"""Each alert can be acted upon: severity, patience, runbook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from graphsearch.cli.main import parser
from graphsearch.controller.metrics import Metrics

ROOT = Path(__file__).parents[3]
RULES = [
    rule
    for group in yaml.safe_load((ROOT / "charts/graphsearch/files/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule):
    """Nobody is woken without a runbook, nor by a flicker."""
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["for"]
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"].endswith(".")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_runbook_says_what_it_means_how_to_look_and_what_to_do(rule):
    """In this order, under the alert's name."""
    text = (ROOT / rule["annotations"]["runbook_url"]).read_text()
    parts = ["**What it means.**", "**How to look.**", "**What to do.**"]
    assert text.startswith(f"# {rule['alert']}\n")
    assert sorted(parts, key=text.index) == parts


def test_no_runbook_is_left_behind():
    """One per alert."""
    assert {path.stem for path in (ROOT / "docs/runbooks").glob("*.md")} == {rule["alert"] for rule in RULES}


def test_the_commands_of_runbooks_are_known():
    """Each names a search; a trial is told by its flag."""
    texts = [path.read_text() for path in (ROOT / "docs/runbooks").glob("*.md")]
    told = [line for text in texts for line in re.findall(r"(?:^\$ |`)graphsearch ([^`#\n]+)", text, re.MULTILINE)]
    assert len(told) > 3
    assert {parser().parse_args(line.replace("INDEX", "7").split()).search for line in told} == {"NAME"}


def test_every_alert_is_played_in_the_rules_test():
    """Both when it must sound and when it must not."""
    played = yaml.safe_load((ROOT / "tests/integration/cluster/alerts.test.yaml").read_text())["tests"]
    cases = [case for test in played for case in test["alert_rule_test"]]
    sounds = {case["alertname"] for case in cases if case.get("exp_alerts")}
    silent = {case["alertname"] for case in cases if not case.get("exp_alerts")}
    assert sounds == silent == {rule["alert"] for rule in RULES}


def test_alerts_ask_for_metrics_that_the_operator_has():
    """A name that nothing exposes would never alarm anybody, or always."""
    asked = {name for rule in RULES for name in re.findall(r"graphsearch_operator_\w+", rule["expr"])}
    exposed = Metrics().exposition().decode()
    families = {line.split()[2] for line in exposed.splitlines() if line.startswith("# TYPE")}
    assert sorted(asked - families) == []


def test_alerts_ask_for_the_metrics_of_their_own_operator():
    """But where those of others are left out."""
    others = {rule["alert"]: re.findall(r"graphsearch_operator_\w+(?!\w|\{install=)", rule["expr"]) for rule in RULES}
    assert {alert: names for alert, names in others.items() if names} == {
        "TrialMetricsMissing": ["graphsearch_operator_search_trials"]
    }
