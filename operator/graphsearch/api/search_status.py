"""What a GraphSearch shows of itself: numbers that grow with rungs and contenders, never with trials (design 4)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from graphsearch.api.conditions import Condition
from graphsearch.api.facts import SearchFacts
from graphtrial.contract import Model

_Text = Annotated[str, Field(max_length=1024)]
_Name = Annotated[str, Field(max_length=63)]
_Count = Annotated[int, Field(ge=0)]


class RungStatus(Model):
    """One rung."""

    evaluation: _Count
    """Its name: the evaluation at which it decides."""
    reported: _Count
    """Trials that have reported here."""
    kept: _Count
    """Trials that went on."""
    cut: float | None = None
    """The lowest score that would go on now."""


class BestStatus(Model):
    """A trial that reached its last evaluation, with its score."""

    trial: _Name
    """Its name."""
    score: float
    """At its last evaluation."""
    checkpoint: _Text = ""
    """Where its objects lie."""


class Cost(Model):
    """Device seconds by what became of them."""

    useful: float = 0.0
    """Of trials that reached their last evaluation."""
    stopped: float = 0.0
    """Of trials that a rung stopped or nobody wanted any more."""
    lost: float = 0.0
    """Of attempts that failed or vanished, and of trials that failed or diverged."""
    running: float = 0.0
    """Of attempts that have not ended."""


class TrialCounts(Model):
    """Search trials, or the runs of a fixed list of graphs, by what became of them."""

    created: _Count = 0
    """All that there are."""
    running: _Count = 0
    """Attempts of any purpose that are intended or alive."""
    succeeded: _Count = 0
    """Those that reached their last evaluation."""
    stopped: _Count = 0
    """Those that a rung stopped."""
    failed: _Count = 0
    """Those that could not be trained."""
    diverged: _Count = 0
    """Those with a loss or score that was not finite."""
    cancelled: _Count = 0
    """Those that were not wanted any more."""
    done: _Count = 0
    """All that have ended."""


class ContenderStatus(Model):
    """One row of the comparison table."""

    names: Annotated[tuple[_Name, ...], Field(max_length=16)]
    """Of the contenders that have this graph."""
    mean: float | None = None
    """Of the test scores."""
    std: float | None = None
    """Standard deviation of the test scores."""
    repeats: _Count = 0
    """Test scores that are there."""
    difference: float | None = None
    """Mean of the paired differences, found graph less this one."""
    low: float | None = None
    """Lower end of the difference's 95 % interval."""
    high: float | None = None
    """Its upper end."""
    verdict: Annotated[str, Field(max_length=64)] = ""
    """What the interval allows to say of the found graph against this one."""


class GraphSearchStatus(Model):
    """The status subresource of a GraphSearch."""

    observed_generation: _Count = 0
    """Of the specification that was looked at."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=8)] = ()
    """Observations: Accepted, Progressing, MetricsAvailable, Succeeded."""
    facts: SearchFacts | None = None
    """What is recorded of the search itself: set once, or only rising."""
    state: Annotated[str, Field(max_length=64)] = ""
    """The reason that says most at the moment, for lists of searches."""
    trials: TrialCounts = TrialCounts()
    rungs: Annotated[tuple[RungStatus, ...], Field(max_length=64)] = ()
    """What each rung has seen and let through."""
    best: BestStatus | None = None
    """The best Search trial that reached its last evaluation."""
    comparison: Annotated[tuple[ContenderStatus, ...], Field(max_length=32)] = ()
    """The found graph and the known methods, on the test images."""
    compressed: BestStatus | None = None
    """The trial whose student the networks of the winning graph were distilled into, on the test images."""
    gpu_seconds: Cost = Cost()
    gpu_hours: Annotated[str, Field(max_length=32)] = ""
    """The same in all, in hours, for lists of searches."""
    report: _Text = ""
    """Where the report lies, once it does."""
