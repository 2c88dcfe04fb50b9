"""What follows from what was seen, each figure beside its goal; the legs of an idle slot show whose time it was."""

from __future__ import annotations

import json
import math
import os
import re
import statistics
import urllib.parse
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.operator_costs.witness import Times, Witness
from prometheus_client.parser import text_string_to_metric_families

JOB_CONTROLLER_QPS = 20
"""Writes a second that the controller manager's default --kube-api-qps leaves each of its controllers."""
EVENTS = "Events"
_OF_JOB_CONTROLLER: dict[tuple[str | None, ...], str] = {
    ("", "pods", "", "POST"): "pods made",
    ("batch", "jobs", "status", "PUT"): "Jobs' states",
    ("", "pods", "", "PATCH"): "finalizers taken off pods",
    ("", "events", "", "POST"): EVENTS,
}
"""Requests that nobody but it makes here, except for the operator's own Events, which are taken off."""
_SAMPLE = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def busy_seconds() -> float:
    """CPU time that the whole machine has used."""
    user, nice, system, _idle, _wait, irq, soft, *_ = map(
        int, Path("/proc/stat").read_text().split("\n")[0].split()[1:]
    )
    return (user + nice + system + irq + soft) / _TICKS


def memory_mib(pid: int, what: str = "VmHWM") -> float:
    """The most memory that a process has held (``VmRSS``: holds)."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) / 1024


def counters(operator: str, api_server: str) -> dict[str, float]:
    """What is counted in two expositions: ``turns``, ``turn seconds``, ``writes``, and each of the Job controller's."""
    own = {"turn_seconds_count": "turns", "turn_seconds_sum": "turn seconds", "api_writes_total": "writes"}
    sums: dict[str, float] = dict.fromkeys([*own.values(), *_OF_JOB_CONTROLLER.values()], 0.0)
    for family in text_string_to_metric_families(operator):
        for sample in family.samples:
            name = own.get(sample.name.removeprefix("graphsearch_operator_"))
            if name:
                sums[name] += sample.value
            if name == "writes" and sample.labels["kind"] == "events":
                sums[EVENTS] -= sample.value
    for labels, value in _SAMPLE.findall(api_server):
        found = dict(_LABEL.findall(labels))
        key = tuple(found.get(name) for name in ("group", "resource", "subresource", "verb"))
        if key in _OF_JOB_CONTROLLER:
            sums[_OF_JOB_CONTROLLER[key]] += float(value)
    return sums


def of_job_controller(counted: dict[str, float], trials: int) -> dict[str, float]:
    """Its writes for a trial, by what they are."""
    return {name: counted[name] / trials for name in _OF_JOB_CONTROLLER.values()}


def first_samples(prometheus_url: str, search_uid: str) -> dict[tuple[int, int], float]:
    """When Prometheus first scraped each score, by (index, rung)."""
    query = urllib.parse.urlencode({"query": f'graphtrial_rung_score{{search_uid="{search_uid}"}}[2h]'})
    with urllib.request.urlopen(f"{prometheus_url}/api/v1/query?{query}", timeout=120) as answer:
        series = json.load(answer)["data"]["result"]
    first: dict[tuple[int, int], float] = {}
    for each in series:
        key = (int(each["metric"]["trial_uid"].rpartition("-t")[2]), int(each["metric"]["rung"]))
        first[key] = min(first.get(key, math.inf), each["values"][0][0])
    return first


def decision_seconds(witness: Witness, first: dict[tuple[int, int], float]) -> list[float]:
    """From the scrape that brought a score to the decision on it seen in the trial's status."""
    found = []
    for name, rung in witness.by_prometheus:
        since = first.get((int(name.rpartition("-t")[2]), rung))
        if since is not None:
            found.append(witness.trials[name][f"rung {rung}"] - since)
    return found


class Slots:
    """From the stop of a trial to the next pod in its place: freed first, filled first."""

    def __init__(self, witness: Witness, parallel: int, indexes: range) -> None:
        """Look at the Search trials of these indexes."""
        self._trials = {name: seen for name, seen in witness.trials.items() if _index(name) in indexes}
        self._pods: dict[str, Times] = {}
        for name, pod in witness.pods.items():
            self._pods.setdefault(name.rsplit("-", 2)[0], pod)
        self._jobs = {name.rpartition("-a")[0]: seen for name, seen in witness.jobs.items()}
        self._stops = witness.stops
        self._parallel = parallel

    def idle(self, since: float = 0.0) -> list[float]:
        """Seconds from a stop being recorded, or a container's own end, to the next pod's being bound.

        Args:
            since: Only slots that became free later.
        """
        bound = self._sorted(pod.get("bound") for pod in self._of(self._pods))
        return _between(zip(self._freed(), bound[self._parallel :], strict=False), since)

    def legs(self, since: float = 0.0) -> dict[str, list[float]]:
        """The same in parts, each with whose it is.

        Args:
            since: Only what began later.
        """
        pods = {name: self._pods.get(name, {}) for name in self._stops if name in self._trials}
        judged = {name: self._trials[name][f"judged {self._stops[name]}"] for name in pods}
        ended = self._sorted(seen.get("ended") for seen in self._trials.values())
        jobs = self._sorted(seen["made"] for seen in self._of(self._jobs))
        made = {name: seen["made"] for name, seen in self._jobs.items() if name in self._trials}
        return {
            "stop recorded to its pod told to end (operator)": _between(
                ((judged[name], pod.get("deleted")) for name, pod in pods.items()), since
            ),
            "to its container's end (node)": _between(
                ((pod.get("deleted"), pod.get("over")) for pod in pods.values()), since
            ),
            "to that being recorded (operator)": _between(
                ((pod.get("over"), self._trials[name].get("ended")) for name, pod in pods.items()), since
            ),
            "to the next Job (operator)": _between(zip(ended, jobs[self._parallel :], strict=False), since),
            "to its pod (Job controller)": _between(
                ((at, self._pods.get(name, {}).get("made")) for name, at in made.items()), since
            ),
            "to its being bound (scheduler)": _between(
                ((pod.get("made"), pod.get("bound")) for pod in self._of(self._pods)), since
            ),
        }

    def rate(self) -> float:
        """Trials a minute in the middle of the search, where all slots are in use."""
        ended = self._sorted(seen.get("ended") for seen in self._trials.values())
        low, high = len(ended) // 5, 4 * len(ended) // 5
        return 60 * (high - low) / (ended[high] - ended[low]) if high > low else math.nan

    def _freed(self) -> list[float]:
        stopped = {name: seen.get(f"judged {self._stops.get(name)}") for name, seen in self._trials.items()}
        return self._sorted(time or self._pods.get(name, {}).get("over") for name, time in stopped.items())

    def _of(self, seen: dict[str, Times]) -> Iterable[Times]:
        return (times for name, times in seen.items() if name in self._trials)

    @staticmethod
    def _sorted(times: Iterable[float | None]) -> list[float]:
        return sorted(time for time in times if time is not None)


def percentile(values: Sequence[float], percent: int) -> float:
    """Of some values; NaN where there are too few."""
    return statistics.quantiles(values, n=100)[percent - 1] if len(values) > 1 else math.nan


def line(name: str, value: float, unit: str, goal: float | None = None, note: str = "") -> str:
    """A figure, with its goal and whether that is met."""
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 2
    text = f"{name:52} {value:9.{digits}f} {unit:4}"
    if goal is not None:
        text += f" goal {goal:g}: {'met' if value <= goal else 'MISSED'}"
    return f"{text} {note}".rstrip()


def _index(name: str) -> int:
    return int(name.rpartition("-t")[2])


def _between(pairs: Iterable[tuple[float | None, float | None]], since: float) -> list[float]:
    known = [(before, after) for before, after in pairs if before is not None and after is not None]
    return [max(0.0, after - before) for before, after in known if before >= since]
