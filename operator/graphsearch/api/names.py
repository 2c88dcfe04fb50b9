"""Names that objects on a cluster carry: kinds, labels, annotations, field owners. One place, because selectors,
the chart, dashboards and the operator must agree on them.
"""

from __future__ import annotations

GROUP = "graphsearch.io"
VERSION = "v1alpha1"
SEARCHES = "graphsearches"
TRIALS = "graphtrials"

SEARCH_LABEL = f"{GROUP}/search"
"""On trials, Jobs and pods: the search's name."""
SEARCH_UID_LABEL = f"{GROUP}/search-uid"
"""On trials, Jobs and pods: the search's uid, so that a new search of an old name never takes the old one's for its
own. A trial applied by hand is its own search."""
TRIAL_LABEL = f"{GROUP}/trial"
"""On Jobs and pods: the trial's name."""
ATTEMPT_LABEL = f"{GROUP}/attempt"
"""On Jobs and pods: the attempt's number."""
PURPOSE_LABEL = f"{GROUP}/purpose"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"

UNFINISHED = "status.outcome="
"""Selects trials by a field: those without an outcome."""

FIELD_OWNER = "graphsearch-operator"
"""Of children that are applied."""
METRICS_PORT_NAME = "metrics"
CONTAINER = "trainer"


def attempt_name(trial: str, attempt: int) -> str:
    """Of a trial's Job: deterministic, so that making it twice makes it once (design 2)."""
    return f"{trial}-a{attempt}"
