"""Why a search or a trial is as it is: every reason is a constant with its meaning (cert-manager's way)."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """The reason of a condition of a search, and why it ended."""

    ACCEPTED = "Accepted"
    """The manifest is valid."""
    INVALID_SPEC = "InvalidSpec"
    """The manifest breaks a rule that the API server cannot judge; the message names the field."""
    SEARCHING = "Searching"
    """Graphs are drawn and trained."""
    CHOOSING = "Choosing"
    """The finalists are trained again with new seeds."""
    COMPARING = "Comparing"
    """The winner and the baselines are trained on the full training set."""
    COMPRESSING = "Compressing"
    """The networks of the winning graph are distilled into one."""
    REPORTING = "Reporting"
    """Everything is trained; the report is being built."""
    PAUSED = "Paused"
    """desiredState is Paused: everything is saved and stopped."""
    COMPLETED = "Completed"
    """Everything asked for is done."""
    BUDGET_SPENT = "BudgetSpent"
    """maxGpuHours were spent before everything asked for was done; the best trial stands."""
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
    COMPRESSION_FAILED = "CompressionFailed"
    """No network came out of the compression; what was found stands without it."""


class MetricsReason(StrEnum):
    """The reason of MetricsAvailable: the source in use, or what is wrong with it."""

    PROMETHEUS = "Prometheus"
    """Scores come from Prometheus."""
    DIRECT = "Direct"
    """Scores are read from the pods themselves, as asked for or because Prometheus does not answer."""
    NO_ANSWER = "NoAnswer"
    """Neither answers; scores come when the pods end."""
    CONFLICTING = "Conflicting"
    """One (trial, rung) was seen with two scores; neither counts until they agree."""
    NOTHING_RUNS = "NothingRuns"
    """No trial is there to be read."""


class TrialReason(StrEnum):
    """The reason of a trial's Progressing condition while it has no outcome; then it is the outcome's name."""

    WAITING_FOR_TEACHER = "WaitingForTeacher"
    """A network that it starts from is still being trained."""
    WAITING_FOR_SLOT = "WaitingForSlot"
    """parallelTrials attempts run already, or the search is paused."""
    STARTING = "Starting"
    """Its Job or pod is made, and nothing is known to be in its way."""
    QUEUED = "Queued"
    """Its Job is suspended until its queue (Kueue) admits it."""
    QUOTA_EXCEEDED = "QuotaExceeded"
    """The namespace's ResourceQuota refuses its Job or pod."""
    POD_REFUSED = "PodRefused"
    """The API server refuses its Job or pod for another reason."""
    UNSCHEDULABLE = "Unschedulable"
    """No node can take its pod now."""
    IMAGE_UNAVAILABLE = "ImageUnavailable"
    """Its image cannot be pulled."""
    CONTAINER_REFUSED = "ContainerRefused"
    """A Secret, ConfigMap or volume that its container needs is missing or cannot be used."""
    RUNNING = "Running"
    """It trains."""
    STOPPING = "Stopping"
    """It was asked to save and stop."""


class EventReason(StrEnum):
    """The reason of an Event that no condition shows; the others carry the reason of what they announce."""

    NAME_TAKEN = "NameTaken"
    """A name that a trial or a Job needs belongs to somebody else; the message says what to do."""
    TRIAL_REFUSED = "TrialRefused"
    """The API server lets no further trial be made: a quota of objects, a policy; what is there goes on."""
    IMAGE_CHANGED = "ImageChanged"
    """A pod of a trial runs another image than its first one: its tag was pushed anew."""
