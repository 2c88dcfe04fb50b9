"""Names of what the trainer exposes for Prometheus on ``/metrics``."""

RUNG_SCORE = "graphtrial_rung_score"
"""Gauge: the score at an evaluation; stays until the process exits."""
RUNG_LABELS = ("search_uid", "trial_uid", "attempt", "rung")
"""``rung`` is the evaluation's number."""

STEPS = "graphtrial_steps_total"
"""Counter: updates done by this attempt and those it resumed from."""
EVALUATIONS = "graphtrial_evaluations_total"
"""Counter: evaluations done, likewise."""
STEP_SECONDS = "graphtrial_step_seconds"
"""Gauge: mean seconds per update since the last evaluation."""
TRIAL_LABELS = ("search_uid", "trial_uid", "attempt")
