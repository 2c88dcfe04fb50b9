"""The three dashboards: is a search progressing, what does a trial do, is the operator well.

Few panels: each answers a question that somebody asks at night. Trainers are found by the names of their pods, which
are those of search, trial and attempt, because every way of scraping sets ``namespace`` and ``pod`` and only some set
labels of ours. For the same reason the operator calls a search's namespace ``search_namespace``: a scrape that trusts
no pod (and none should) overwrites ``namespace`` with the operator's own.
"""

from __future__ import annotations

from charts.generate.panels import Panel, Query, curves, dashboard, number, variable
from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from graphtrial.contract import metric_names

_OPERATOR = "graphsearch_operator"
_TRIALS = f"{_OPERATOR}_search_trials"
_SEARCH = 'search_namespace="$namespace", search="$search"'
_PODS_OF_SEARCH = 'namespace="$namespace", pod=~"$search-t[0-9]+-a[0-9]+-.+"'
_PODS_OF_TRIAL = 'namespace="$namespace", pod=~"$trial-a[0-9]+-.+"'


def built() -> dict[str, str]:
    """Each dashboard's JSON by its name."""
    made = {"search": _search(), "trial": _trial(), "operator": _operator()}
    return {name: JSONEncoder(sort_keys=True, indent=2).encode(one.build()) + "\n" for name, one in made.items()}


def _search() -> Dashboard:
    names = f'label_values({_TRIALS}{{search_namespace="$namespace"}}, search)'
    variables = [
        variable("namespace", "Namespace", f"label_values({_TRIALS}, search_namespace)"),
        variable("search", "Search", names),
    ]
    question = "Is a search progressing, what has it found, what is it waiting for?"
    return dashboard("search", question, variables, [*_search_numbers(), *_search_trials(), *_search_training()])


def _search_numbers() -> list[Panel]:
    wanted = {
        "Open attempts": ("running", "Attempts of any purpose that are intended or alive."),
        "Reached the end": ("succeeded", "Trials that trained to their last evaluation."),
        "Stopped by a rung": ("stopped", "Trials whose score at a rung was too low to go on."),
        "Failed or diverged": ("failed|diverged", "Trials that ended without a score."),
    }
    return [
        number(title, description, "short", Query(f'sum({_TRIALS}{{{_SEARCH}, state=~"{states}"}})', title))
        for title, (states, description) in wanted.items()
    ]


def _search_trials() -> list[Panel]:
    running = f'sum({_TRIALS}{{{_SEARCH}, state="running"}})'
    seen = f"count(count by (trial_uid) ({metric_names.STEPS}{{{_PODS_OF_SEARCH}}}))"
    return [
        curves(
            "Trials by state",
            "All trials of the search by what has become of them; flat lines for hours mean that nothing moves.",
            "short",
            Query(f"{_TRIALS}{{{_SEARCH}}}", "{{state}}"),
        ),
        curves(
            "Attempts that show nothing",
            "Open attempts whose trainer Prometheus does not see: they wait for a place, start, or are not scraped.",
            "short",
            Query(f"{running} - ({seen} or vector(0))", "waiting or unseen"),
        ),
    ]


def _search_training() -> list[Panel]:
    scores = f"{metric_names.RUNG_SCORE}{{{_PODS_OF_SEARCH}}}"
    return [
        curves(
            "Best score at each rung",
            "The highest score among the trials that run now; a rung is named by its evaluation.",
            "none",
            Query(f"max by (rung) ({scores})", "evaluation {{rung}}"),
        ),
        curves(
            "Median score at each rung",
            "The middle of the trials that run now, at the same rungs.",
            "none",
            Query(f"quantile by (rung) (0.5, {scores})", "evaluation {{rung}}"),
        ),
        curves(
            "Updates per second",
            "Training steps of all running trials together.",
            "ops",
            Query(f"sum(rate({metric_names.STEPS}{{{_PODS_OF_SEARCH}}}[$__rate_interval]))", "updates"),
        ),
        curves(
            "Time per update",
            "Of each trial since its last evaluation; one that stands out runs on a busy node.",
            "s",
            Query(f"{metric_names.STEP_SECONDS}{{{_PODS_OF_SEARCH}}}", "{{pod}}"),
        ),
    ]


def _trial() -> Dashboard:
    pods = f'label_values({metric_names.STEPS}{{namespace="$namespace"}}, pod)'
    variables = [
        variable("namespace", "Namespace", f"label_values({metric_names.STEPS}, namespace)"),
        variable("trial", "Trial", pods, r"/^(.+)-a[0-9]+-[^-]+$/"),
    ]
    panels: list[Panel] = [
        curves(
            "Score at each rung",
            "As the trainer shows it: once reported a score stays, also over a resumed attempt.",
            "none",
            Query(f"{metric_names.RUNG_SCORE}{{{_PODS_OF_TRIAL}}}", "evaluation {{rung}}, attempt {{attempt}}"),
        ),
        curves(
            "Evaluations",
            "Done by this attempt and those it resumed from.",
            "short",
            Query(f"{metric_names.EVALUATIONS}{{{_PODS_OF_TRIAL}}}", "attempt {{attempt}}"),
        ),
        curves(
            "Updates per second",
            "Training steps; none while it evaluates, saves or waits for data.",
            "ops",
            Query(f"rate({metric_names.STEPS}{{{_PODS_OF_TRIAL}}}[$__rate_interval])", "attempt {{attempt}}"),
        ),
        curves(
            "Memory",
            "Working set of the trainer's container, as the kubelet counts it against the limit.",
            "bytes",
            Query(f'container_memory_working_set_bytes{{{_PODS_OF_TRIAL}, container="trainer"}}', "{{pod}}"),
        ),
    ]
    return dashboard("trial", "What does one trial do, over all its attempts?", variables, panels)


def _operator() -> Dashboard:
    panels = [*_operator_numbers(), *_operator_loop(), *_operator_decisions()]
    return dashboard("operator", "Is the operator well, and does it keep up?", [], panels)


def _operator_numbers() -> list[Panel]:
    numbers = {
        "Working": (
            "Operators that hold a Lease; one for each install.",
            "short",
            f"sum({_OPERATOR}_lease_held)",
        ),
        "Ready": (
            "Operators that watch all of their namespaces; fewer than hold a Lease: a right is missing.",
            "short",
            f"sum({_OPERATOR}_ready)",
        ),
        "Since the last turn": (
            "Age of the loop's last turn; the liveness probe restarts the operator when this grows.",
            "s",
            f"max(time() - {_OPERATOR}_last_turn_timestamp_seconds)",
        ),
        "Searches": ("Searches that it knows, ended ones included.", "short", f"sum({_OPERATOR}_searches)"),
        "Open attempts": ("Of all searches together.", "short", f'sum({_TRIALS}{{state="running"}})'),
        "Queue": ("Searches that wait for a turn.", "short", f"sum({_OPERATOR}_queue_depth)"),
    }
    return [
        number(title, description, unit, Query(expression, title), of=len(numbers))
        for title, (description, unit, expression) in numbers.items()
    ]


def _operator_loop() -> list[Panel]:
    return [
        curves(
            "Turns",
            "Looks at a search, by how they ended; failed ones are taken again after growing pauses.",
            "ops",
            Query(f"sum by (result) (rate({_OPERATOR}_turns_total[$__rate_interval]))", "{{result}}"),
        ),
        curves(
            "Length of a turn",
            "Gather, plan, record and carry out: the API server's time and the operator's own.",
            "s",
            *_quantiles(f"{_OPERATOR}_turn_seconds"),
        ),
        curves(
            "Requests to the API server",
            "By the status of the answer; 403 is a missing role, 409 somebody else's write, 429 a throttled operator.",
            "reqps",
            Query(f"sum by (code) (rate({_OPERATOR}_api_requests_total[$__rate_interval]))", "{{code}}"),
        ),
        curves(
            "Memory",
            "Resident memory of the process.",
            "bytes",
            Query(f"process_resident_memory_bytes and on (instance) {_OPERATOR}_lease_held", "resident"),
        ),
        curves(
            "Prometheus failures",
            "Questions without an answer; scores then come from the pods themselves.",
            "ops",
            Query(f"sum(rate({_OPERATOR}_prometheus_failures_total[$__rate_interval]))", "failures"),
        ),
    ]


def _operator_decisions() -> list[Panel]:
    return [
        curves(
            "Decisions",
            "Rungs that were recorded, by what was decided.",
            "ops",
            Query(f"sum by (decision) (rate({_OPERATOR}_decisions_total[$__rate_interval]))", "{{decision}}"),
        ),
        curves(
            "Time to a decision",
            "From the moment a score was first seen until the decision stands in the trial's status.",
            "s",
            *_quantiles(f"{_OPERATOR}_decision_seconds"),
        ),
    ]


def _quantiles(histogram: str) -> list[Query]:
    buckets = f"sum by (le) (rate({histogram}_bucket[$__rate_interval]))"
    return [Query(f"histogram_quantile({q}, {buckets})", f"p{round(q * 100)}") for q in (0.5, 0.99)]
