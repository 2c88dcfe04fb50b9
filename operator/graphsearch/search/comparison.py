"""The found graph against the known methods: paired differences with their 95 % t interval (design 5).

Every repeat uses one seed for all contenders, so runs of the same repeat are paired: what the seed does to both
cancels. A method is called better or worse only where the interval excludes zero. It must not know how a
comparison is run or shown.

Decided against: unpaired tests (they throw the common seed away) and p-values (an interval says how much). The
intervals are not corrected for several baselines; whoever shows them says so.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from graphsearch.api import Baseline, GraphTrial, Outcome
from graphsearch.search.contenders import FOUND
from graphtrial.contract import Graph, Metric, Purpose


class Verdict(StrEnum):
    """What the paired runs show of the found graph."""

    BETTER = "better"
    WORSE = "worse"
    NOT_SHOWN = "no difference shown"


@dataclass(frozen=True, slots=True)
class Difference:
    """Score of the found graph less a contender's, over the repeats in which both ended well."""

    pairs: int
    left_out: int
    """Repeats in which one of the two runs is missing, failed or has no finite score."""
    mean: float | None
    """None without a pair."""
    low: float | None
    """Ends of the 95 % interval; None with fewer than two pairs, or where all differ by the same."""
    high: float | None

    @property
    def verdict(self) -> Verdict:
        """Better or worse only where the interval excludes zero."""
        if self.low is not None and self.low > 0:
            return Verdict.BETTER
        if self.high is not None and self.high < 0:
            return Verdict.WORSE
        return Verdict.NOT_SHOWN


@dataclass(frozen=True, slots=True)
class Row:
    """One contender of the comparison: a graph with all its names, for equal graphs run once."""

    names: tuple[str, ...]
    graph: Graph
    scores: Mapping[int, float]
    """By repeat, of the runs that ended well."""
    repeats: int
    """Runs begun, those that failed included."""
    difference: Difference | None
    """None for the found graph itself."""

    @property
    def mean(self) -> float | None:
        """Over the repeats; None without a score."""
        return statistics.fmean(self.scores.values()) if self.scores else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation over the repeats; None with fewer than two."""
        return statistics.stdev(self.scores.values()) if len(self.scores) > 1 else None


def compare(trials: Iterable[GraphTrial], found: str) -> list[Row]:
    """The comparison table, the found graph first, then the others in the order of their trials.

    Args:
        trials: Of one search; those with another purpose than Compare are passed over.
        found: As ``contenders.found_name``.
    """
    runs: dict[tuple[str, ...], list[GraphTrial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.index):
        if trial.spec.purpose is Purpose.COMPARE:
            runs.setdefault(trial.spec.contenders, []).append(trial)
    scores = {names: _scores(of_one) for names, of_one in runs.items()}
    reference = next((names for names in runs if found in names), None)
    order = sorted(runs, key=lambda names: names != reference)
    return [
        Row(
            names=tuple(sorted(names, key=lambda name: name != found)),
            graph=runs[names][0].spec.graph,
            scores=scores[names],
            repeats=len(runs[names]),
            difference=None if reference in (None, names) else _difference(runs, scores, reference, names),
        )
        for names in order
    ]


def _scores(trials: Iterable[GraphTrial]) -> dict[int, float]:
    return {
        trial.spec.repeat or 0: trial.status.score
        for trial in trials
        if trial.status.outcome is Outcome.SUCCEEDED
        and trial.status.score is not None
        and math.isfinite(trial.status.score)
    }


def _difference(
    runs: Mapping[tuple[str, ...], list[GraphTrial]],
    scores: Mapping[tuple[str, ...], dict[int, float]],
    found: tuple[str, ...],
    other: tuple[str, ...],
) -> Difference:
    repeats = {trial.spec.repeat or 0 for trial in (*runs[found], *runs[other])}
    paired = sorted(scores[found].keys() & scores[other].keys())
    values = [scores[found][repeat] - scores[other][repeat] for repeat in paired]
    # Scores are multiples of one image: two equal differences are chance, not an interval of no width.
    has_spread = len(values) > 1 and max(values) - min(values) > _SPREAD
    low, high = t_interval(values) if has_spread else (None, None)
    mean = statistics.fmean(values) if values else None
    return Difference(len(values), len(repeats) - len(values), mean, low, high)


def t_interval(values: list[float]) -> tuple[float, float]:
    """The 95 % confidence interval of a mean, by Student's t with n - 1 degrees of freedom; needs two values."""
    mean = statistics.fmean(values)
    half = t_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean - half, mean + half


_SPREAD = 1e-9
"""Below which differences of scores are equal: rounding, and less than one image of any set."""
_Z = 1.959963984540054
"""The normal distribution's 97.5 % quantile."""

# fmt: off
_T = (
    12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139,
    2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963,
    2.079614, 2.073873, 2.068658, 2.063899, 2.059539, 2.055529, 2.051831, 2.048407, 2.045230, 2.042272,
)
# fmt: on


def t_quantile(freedom: int) -> float:
    """Student's 97.5 % quantile, right to 1e-6; beyond 30 degrees of freedom by its expansion around the normal."""
    if freedom <= len(_T):
        return _T[freedom - 1]
    z, n = _Z, freedom
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * n**4)
    )


_SPOKEN = {
    FOUND: "the found graph",
    Baseline.INDEPENDENT: "independent training",
    Baseline.MUTUAL_LEARNING: "mutual learning",
    Baseline.DISTILLATION: "distillation",
    Baseline.ALL_THROUGH: "the same graph with every gate open",
}


def spoken(names: tuple[str, ...]) -> str:
    """A contender in words; one with several names is all of them."""
    first, *others = (_SPOKEN.get(name, f"graph {name}") for name in names)
    return f"{first} (equal to {' and '.join(others)})" if others else first


def sentences(rows: list[Row], metric: Metric) -> list[str]:
    """What the comparison shows, one plain sentence for each contender that is not the found graph.

    Args:
        rows: As ``compare`` gives them.
        metric: Differences of a share are given in points (hundredths).
    """
    if not rows:
        return []
    found = spoken(rows[0].names[:1])
    same = [f"{spoken((name,))} is {found} itself: the graphs are equal." for name in rows[0].names[1:]]
    others = [_sentence(found, spoken(row.names), row.difference, metric) for row in rows if row.difference]
    return [_capital(sentence) for sentence in [*same, *others]]


def _sentence(found: str, other: str, difference: Difference, metric: Metric) -> str:
    pairs = f"{difference.pairs} pair{'s' if difference.pairs != 1 else ''}"
    omitted = difference.left_out
    left_out = (
        f" {omitted} repeat{' is' if omitted == 1 else 's are'} left out: one of the two runs did not end well."
        if omitted
        else ""
    )
    if difference.mean is None:
        return f"{found} could not be compared with {other}: no repeat ended well for both.{left_out}"
    if difference.pairs > 1 and difference.low is None and abs(difference.mean) <= _SPREAD:
        return f"{found} and {other} scored the same in each of the {pairs} of runs: no difference is shown.{left_out}"
    if difference.low is None or difference.high is None:
        (mean,), unit = amounts((abs(difference.mean),), metric)
        direction = "above" if difference.mean >= 0 else "below"
        alike = f"each of the {pairs} of runs; equal differences give"
        where = "the only pair of runs; one pair gives" if difference.pairs == 1 else alike
        return (
            f"{found} scored {mean}{unit} {direction} {other} in {where} no interval, "
            f"so no difference is shown.{left_out}"
        )
    if difference.verdict is Verdict.NOT_SHOWN:
        (mean, low, high), unit = amounts((difference.mean, difference.low, difference.high), metric)
        return (
            f"no difference between {found} and {other} is shown: the mean difference is {mean}{unit}, "
            f"and its 95 % interval, {low} to {high}, includes zero ({pairs}).{left_out}"
        )
    ends = sorted((abs(difference.low), abs(difference.high)))
    (mean, low, high), unit = amounts((abs(difference.mean), *ends), metric)
    interval = f"95 % interval {low} to {high}, {pairs}"
    return f"{found} is {mean}{unit} {difference.verdict} than {other} ({interval}).{left_out}"


def amounts(values: tuple[float, ...], metric: Metric) -> tuple[tuple[str, ...], str]:
    """Differences as text with one number of decimals, the fewest that round none but zero to zero; and their unit."""
    factor, unit, least = (1.0, "", 3) if metric is Metric.NEGATIVE_LOG_LOSS else (100.0, " points", 1)
    scaled = [value * factor for value in values]
    decimals = next((d for d in range(least, 6) if all(round(v, d) != 0 or v == 0 for v in scaled)), 6)
    return tuple(f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−") for value in scaled), unit


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
