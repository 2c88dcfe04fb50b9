"""From samples to reports: which scores count, and where they are read while Prometheus does not show them (design 5).

A score counts only if namespace, pod and address of whoever exposed it are those of the trial's live pod, so neither
another pod nor another trial can speak for it. Two Prometheus configurations that scrape one pod give two series of
equal values, which count once; unequal values of one (trial, evaluation) are unknown. No answer is never a bad score.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import aiohttp

from graphsearch.api import ConditionStatus, Metrics, MetricsReason, MetricsSource
from graphsearch.api.trainer import Fallback
from graphsearch.cluster.direct import open_session, read_pods
from graphsearch.cluster.pods import LivePod
from graphsearch.cluster.prometheus import PrometheusError, PrometheusReader, Series
from graphsearch.search.actions import Report
from graphtrial.contract import metric_names

Key = tuple[int, int]
"""(index, attempt)."""
_Condition = tuple[ConditionStatus, MetricsReason, str]

_DIRECT_SECONDS = 1.0
"""Between two looks at one pod."""
_EVALUATIONS_SECONDS = 1.0
"""Between two questions for evaluations done, which show who is heard; scores are asked for at every look."""
_BEGINNING_SECONDS = 120.0
"""In which a trainer loads its libraries and data, and shows nothing yet."""
_FORGOTTEN_SECONDS = 600.0
"""After which a search that is not read any more is forgotten."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """One evaluation of a trial was seen with several scores."""

    index: int
    evaluation: int
    message: str


@dataclass(frozen=True, slots=True)
class Found:
    """What the samples of one source say."""

    reports: tuple[Report, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    evaluations: Mapping[int, int] = field(default_factory=dict)
    """Evaluations done, by index, of every trial whose pod has shown anything."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of the running trials' scores, and how."""

    reports: tuple[Report, ...]
    conflicts: tuple[Conflict, ...]
    evaluations: Mapping[int, int]
    """Evaluations done, by index, of every trial whose pod was heard now."""
    status: ConditionStatus
    """Of MetricsAvailable, with reason and message."""
    reason: MetricsReason
    message: str


def reports(
    series: Iterable[Series], live: Mapping[Key, LivePod], *, namespace: str, search_uid: str, source: str
) -> Found:
    """What samples say of the trials that run.

    Args:
        series: Of one source; whatever else it holds is passed over.
        live: The pods that count, by (index, attempt).
        namespace: Of the search.
        search_uid: As trainers expose it.
        source: What the reports are to name.
    """
    keys = {(f"{search_uid}-t{index}", str(attempt)): (index, attempt) for index, attempt in live}
    scores: dict[tuple[int, int, int], list[float]] = {}
    evaluations: dict[int, int] = {}
    for found in series:
        labels = found.labels
        key = keys.get((labels.get("trial_uid", ""), labels.get("attempt", "")))
        if key is None or not found.values or not _is_shown_by(labels, live[key], namespace):
            continue
        index, attempt = key
        if labels.get("__name__") == metric_names.EVALUATIONS:
            done = found.values[-1]
            evaluations[index] = max(evaluations.get(index, 0), int(done) if math.isfinite(done) else 0)
        elif labels.get("__name__") == metric_names.RUNG_SCORE and (rung := labels.get("rung", "")).isdecimal():
            evaluations.setdefault(index, 0)
            scores.setdefault((index, attempt, int(rung)), []).extend(found.values)
    agreed = {place: seen for place, seen in scores.items() if _agree(seen)}
    return Found(
        tuple(Report(index, rung, seen[-1], attempt, source) for (index, attempt, rung), seen in agreed.items()),
        tuple(
            Conflict(index, rung, f"t{index}, evaluation {rung}: seen with the scores {_listed(seen)}; none counts")
            for (index, _, rung), seen in scores.items()
            if (index, _, rung) not in agreed
        ),
        evaluations,
    )


def _is_shown_by(labels: Mapping[str, str], pod: LivePod, namespace: str) -> bool:
    """Whether the target that was scraped is this pod; labels of the target win over what it exposes."""
    target = (labels.get("namespace"), labels.get("pod"), labels.get("instance"))
    return target == (namespace, pod.name, pod.address)


def _agree(seen: Sequence[float]) -> bool:
    """Whether all are one score; NaN agrees with NaN."""
    return all(value == seen[0] or (math.isnan(value) and math.isnan(seen[0])) for value in seen)


def _listed(seen: Iterable[float]) -> str:
    return ", ".join(sorted({f"{value:g}" for value in seen}))


@dataclass(slots=True)
class _Heard:
    """When a pod was last heard, on the monotonic clock."""

    first_at: float
    """It was seen to run."""
    by_prometheus: float = -math.inf
    directly: float = -math.inf
    asked_at: float = -math.inf
    """Directly."""


class Reader:
    """Reads the scores of all searches; an asynchronous context manager."""

    def __init__(
        self,
        prometheus: PrometheusReader | None,
        *,
        window: float,
        fallback_after: float,
        failed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Remember where to read.

        Args:
            prometheus: Opened; None where the installation names none: pods are read themselves.
            window: Seconds to look back in Prometheus: two scrape intervals.
            fallback_after: Seconds without a sample of a pod after which it is read itself: three scrape intervals.
            failed: Is called whenever Prometheus was to be asked and gave no answer.
            clock: Monotonic, in seconds.
        """
        self._prometheus = prometheus
        self._window = window
        self._fallback_after = fallback_after
        self._failed = failed
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._heard: dict[str, dict[str, _Heard]] = {}
        """By search uid, by pod uid."""
        self._read_at: dict[str, float] = {}
        self._whole_at: dict[str, float] = {}
        """When evaluations were last asked for."""

    async def __aenter__(self) -> Self:
        """Open the session for pods."""
        self._session = open_session()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        assert self._session is not None
        await self._session.close()

    async def read(self, namespace: str, search_uid: str, live: Mapping[Key, LivePod], *, metrics: Metrics) -> Reading:
        """The scores that the running trials of a search show now; it raises nothing that a source may cause.

        Args:
            namespace: Of the search.
            search_uid: As trainers expose it.
            live: Its live pods by (index, attempt); at least one.
            metrics: Where the search wants to be read.
        """
        heard = self._hearing(search_uid, live)
        wants_prometheus = metrics.source is MetricsSource.PROMETHEUS
        shown, failure = Found(), ""
        if wants_prometheus:
            shown, failure = await self._from_prometheus(namespace, search_uid, live)
        for pod in _shown_pods(shown, live):
            heard[pod.uid].by_prometheus = self._clock()
        is_direct = not wants_prometheus or metrics.fallback is Fallback.DIRECT
        silent = self._silent(heard, live, at_once=not wants_prometheus or self._prometheus is None)
        told = await self._from_pods(namespace, search_uid, silent, heard) if is_direct else Found()
        for pod in _shown_pods(told, live):
            heard[pod.uid].directly = self._clock()
        condition = self._condition(heard.values(), metrics, failure)
        conflicts = shown.conflicts + told.conflicts
        if conflicts:
            condition = (ConditionStatus.FALSE, MetricsReason.CONFLICTING, conflicts[0].message)
        evaluations = {**shown.evaluations, **told.evaluations}
        return Reading(shown.reports + told.reports, conflicts, evaluations, *condition)

    def _hearing(self, search_uid: str, live: Mapping[Key, LivePod]) -> dict[str, _Heard]:
        """What is remembered of the live pods; of all others nothing."""
        now = self._clock()
        self._read_at[search_uid] = now
        for uid in [uid for uid, read_at in self._read_at.items() if now - read_at > _FORGOTTEN_SECONDS]:
            del self._read_at[uid], self._heard[uid]
            self._whole_at.pop(uid, None)
        before = self._heard.get(search_uid, {})
        heard = {pod.uid: before.get(pod.uid) or _Heard(now) for pod in live.values()}
        self._heard[search_uid] = heard
        return heard

    async def _from_prometheus(self, namespace: str, search_uid: str, live: Mapping[Key, LivePod]) -> tuple[Found, str]:
        """What Prometheus shows, and why it shows nothing where it was to be asked in vain."""
        if self._prometheus is None:
            return Found(), "this installation names no Prometheus"
        now = self._clock()
        pause = min(_EVALUATIONS_SECONDS, self._fallback_after / 2)
        is_whole = now - self._whole_at.get(search_uid, -math.inf) >= pause
        try:
            series = await self._prometheus.read(namespace, search_uid, self._window, evaluations=is_whole)
        except PrometheusError as error:
            self._failed()
            return Found(), str(error)
        if is_whole:
            self._whole_at[search_uid] = now
        source = MetricsSource.PROMETHEUS.value
        return reports(series, live, namespace=namespace, search_uid=search_uid, source=source), ""

    async def _from_pods(
        self, namespace: str, search_uid: str, silent: Mapping[Key, LivePod], heard: Mapping[str, _Heard]
    ) -> Found:
        """What pods say themselves that were not asked a moment ago."""
        assert self._session is not None, "used before it was opened"
        now = self._clock()
        due = {key: pod for key, pod in silent.items() if now - heard[pod.uid].asked_at >= _DIRECT_SECONDS}
        for pod in due.values():
            heard[pod.uid].asked_at = now
        series = await read_pods(self._session, namespace, due.values())
        source = MetricsSource.DIRECT.value
        return reports(series, due, namespace=namespace, search_uid=search_uid, source=source)

    def _silent(self, heard: Mapping[str, _Heard], live: Mapping[Key, LivePod], *, at_once: bool) -> dict[Key, LivePod]:
        """Pods that Prometheus has not shown for too long; all where it is not asked."""
        since = self._clock() - self._fallback_after
        return {
            key: pod
            for key, pod in live.items()
            if at_once or max(heard[pod.uid].first_at, heard[pod.uid].by_prometheus) <= since
        }

    def _condition(self, heard: Collection[_Heard], metrics: Metrics, failure: str) -> _Condition:
        """MetricsAvailable, in words that change only when the situation does."""
        since = self._clock() - self._fallback_after
        silent = [pod for pod in heard if max(pod.by_prometheus, pod.directly) <= since]
        if any(max(pod.by_prometheus, pod.directly, pod.first_at + _BEGINNING_SECONDS) <= since for pod in silent):
            why = failure or "nothing is heard of some pods"
            only = "" if metrics.fallback is Fallback.DIRECT else " (spec.metrics.fallback is None)"
            return ConditionStatus.FALSE, MetricsReason.NO_ANSWER, f"{why}; their scores come when they end{only}"
        if any(pod.directly > since >= pod.by_prometheus for pod in heard):
            why = failure or ("" if metrics.source is MetricsSource.DIRECT else "Prometheus does not show every pod")
            return ConditionStatus.TRUE, MetricsReason.DIRECT, why
        source = MetricsReason.PROMETHEUS if metrics.source is MetricsSource.PROMETHEUS else MetricsReason.DIRECT
        if len(silent) == len(heard):
            return ConditionStatus.UNKNOWN, source, failure or "nothing is heard of the trials yet"
        return ConditionStatus.TRUE, source, ""


def _shown_pods(found: Found, live: Mapping[Key, LivePod]) -> list[LivePod]:
    return [pod for (index, _), pod in live.items() if index in found.evaluations]
