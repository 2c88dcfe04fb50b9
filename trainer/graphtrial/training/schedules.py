"""The learning rate as a pure function of the step.

Decided against: ``torch.optim.lr_scheduler``. Its objects carry state that a checkpoint would have to keep; here a
resumed run asks for the rate of its step and gets what an undisturbed one gets.
"""

from __future__ import annotations

import math

from graphtrial.contract import Schedule, ScheduleType


def learning_rate(schedule: Schedule, base: float, step: int, total_steps: int) -> float:
    """The rate of the update that follows ``step`` finished ones.

    MultiStep multiplies by ``factor`` once ``milestone * total_steps`` updates are done, for each milestone (200
    epochs and 0.3: from the 61st epoch on, spec 10). Cosine falls from ``base`` to nearly 0 over the whole length,
    FixMatchCosine to cos(7 pi / 16) of it. During the warm-up the rate rises linearly to what the shape says then.

    Args:
        schedule: The shape.
        base: The rate of the first update.
        step: Updates done so far, 0 <= step < total_steps.
        total_steps: Updates of the whole training.
    """
    # A rounded quotient of integers equals the literal of the same value: 7 / 100 >= 0.07 holds, 7 >= 0.07 * 100 fails.
    progress = step / total_steps
    rising = min(1.0, (step + 1) / (schedule.warm_up * total_steps)) if schedule.warm_up else 1.0
    return base * rising * _shape(schedule, progress)


def _shape(schedule: Schedule, progress: float) -> float:
    match schedule.type:
        case ScheduleType.MULTI_STEP:
            return schedule.factor ** sum(progress >= milestone for milestone in schedule.milestones)
        case ScheduleType.COSINE:
            return 0.5 * (1 + math.cos(math.pi * progress))
        case ScheduleType.FIXMATCH_COSINE:
            return math.cos(7 * math.pi * progress / 16)
        case ScheduleType.CONSTANT:
            return 1.0
