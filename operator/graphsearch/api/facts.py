"""What is recorded of the search itself, beside its trials: set once, never changed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from graphsearch.api.reasons import Reason
from graphtrial.contract import Model


class SearchFacts(Model):
    """Facts of a search. Times are seconds since the epoch."""

    uid: Annotated[str, Field(max_length=64)]
    """Of the search: what lies in storage and in metrics is named by it."""
    started_at: float
    """When it was first planned."""
    next_index: Annotated[int, Field(ge=0)] = 0
    """No index below it is given again, whatever became of the trial that had it."""
    paused_at: float | None = None
    """When it was last paused because attempts could not start or store; older ones are not held against it again."""
    winner: Annotated[int | None, Field(ge=0)] = None
    """Index of the Search trial whose graph was chosen; None for fixed graphs, of which none is chosen."""
    winner_node: Annotated[str, Field(max_length=40)] = ""
    """BestNode: the node that was chosen."""
    ended_at: float | None = None
    """When nothing was left to do but the report."""
    reason: Reason | None = None
    """Why it ended."""
    message: Annotated[str, Field(json_schema_extra={"maxLength": 8192})] = ""
    """The same for people."""
