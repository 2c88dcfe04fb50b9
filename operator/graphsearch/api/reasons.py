"""Why a search is as it is: every reason is a constant with its meaning (cert-manager's way)."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """The reason of a condition of a search."""

    SEARCHING = "Searching"
    """Graphs are drawn and trained."""
    CHOOSING = "Choosing"
    """The finalists are trained again with new seeds."""
    COMPARING = "Comparing"
    """The winner and the baselines are trained on the full training set."""
    PAUSED = "Paused"
    """desiredState is Paused: everything is saved and stopped."""
    COMPLETED = "Completed"
    """Everything asked for is done."""
    BUDGET_SPENT = "BudgetSpent"
    """maxGpuHours were spent before the comparison; the best trial stands without one."""
    CANCELLED = "Cancelled"
    """desiredState was Cancelled."""
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    """deadlineSeconds passed since the start."""
    TOO_MANY_FAILED_TRIALS = "TooManyFailedTrials"
    """More than maxFailedTrials failed."""
    NO_TRIAL_COMPLETED = "NoTrialCompleted"
    """No trial reached its last evaluation."""
    BAD_DATA = "BadData"
    """A trainer could not read the data; every other trial would meet the same."""
    BAD_SPEC = "BadSpec"
    """A trainer refused its specification before any trial had reported; others would meet the same."""
    COMPARISON_FAILED = "ComparisonFailed"
    """A trial of the comparison failed on every attempt."""
