"""What is recorded of the search itself, beside its trials: set once, never changed."""

from __future__ import annotations

from graphsearch.api.reasons import Reason
from graphtrial.contract import Model


class SearchFacts(Model):
    """Facts of a search. Times are seconds since the epoch."""

    uid: str
    started_at: float
    next_index: int = 0
    """Where trials are objects that somebody may delete: no index below it is given again."""
    paused_at: float | None = None
    """When it was last paused because attempts could not start; older ones are not held against it again."""
    winner: int | None = None
    """Index of the Search trial whose graph was chosen; None for fixed graphs, of which none is chosen."""
    winner_node: str = ""
    """BestNode: the node that was chosen."""
    ended_at: float | None = None
    reason: Reason | None = None
    """Why it ended."""
    message: str = ""
