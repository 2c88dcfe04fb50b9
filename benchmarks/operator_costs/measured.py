"""One search that was measured, as it is printed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.operator_costs import figures
from benchmarks.operator_costs.figures import Slots, line, percentile

SCRAPE_SECONDS = 1


@dataclass(frozen=True)
class Measured:
    """Everything of it; seconds and MiB where nothing else is said."""

    trials: int
    """Live ones."""
    parallel: int
    finished: int
    """Before it began."""
    flags: Mapping[str, Sequence[str]]
    began: float
    """Since the epoch."""
    seconds: float
    """From its beginning to the end of its last trial."""
    spent: Mapping[str, float]
    """CPU in that time, by program."""
    reporting: float
    """CPU of the operator for the report."""
    memory: tuple[float, float, float]
    """Of the operator: the most before the search, before its report, and after that."""
    counted: Mapping[str, float]
    largest: Mapping[str, int]
    """Bytes, by kind."""
    waits: Sequence[float]
    """Of scores for their decisions."""
    slots: Slots
    load: float
    gaps: int

    def head(self) -> list[str]:
        """What was run."""
        beyond = json.dumps(self.flags) if self.flags else "none"
        return [
            f"\n{self.trials} trials, {self.parallel} at a time, after {self.finished} finished ones",
            f"flags of the control plane beyond the harness's: {beyond}",
        ]

    def goals(self) -> list[str]:
        """Each figure that has a goal."""
        budget = 150 + 25 * self.parallel / 1000 + 3 * (self.finished + self.trials) / 1000
        idle, largest = self._idle, max(self.largest, key=lambda kind: self.largest[kind])
        counted = f"(of {len(idle)}, once the first {self._filling:.0f} s are over)"
        return [
            line("operator, CPU for a trial", self._per_trial("operator"), "ms", 60),
            line("operator, most memory", max(self.memory), "MiB", round(budget)),
            line("largest GraphTrial", self.largest["trial"] / 1024, "KiB", 12),
            line("largest object", self.largest[largest] / 1024, "KiB", 64, f"({largest})"),
            line("score scraped to decision, p50", percentile(self.waits, 50), "s", 0.5, f"(of {len(self.waits)})"),
            line("score scraped to decision, p99", percentile(self.waits, 99), "s", 2),
            line("slot idle, p95", percentile(idle, 95), "s", 3, counted),
        ]

    def beside(self) -> list[str]:
        """What is to be known beside the goals, and whose time the idle slots were."""
        turns, minutes = self.counted["turns"], self.seconds / 60
        others = [name for name in self.spent if name != "operator"]
        return [
            line("wall clock", self.seconds, "s", note=f"{self.trials / minutes:.0f} trials a minute"),
            line("while all slots were in use", self.slots.rate(), "/min"),
            line("a score waits for its scrape, at most, on top", SCRAPE_SECONDS, "s"),
            *self._idle_lines(),
            line("operator, writes for a trial", self.counted["writes"] / self.trials, ""),
            line("operator, a turn", self.counted["turn seconds"] / turns, "s", note="on average"),
            line("operator, turns a second", turns / self.seconds, ""),
            line("operator, most memory before the search", self.memory[0], "MiB", note=f"{self.memory[1]:.0f} after"),
            line("operator, CPU for the report", self.reporting, "s"),
            *(line(f"{name}, CPU for a trial", self._per_trial(name), "ms") for name in others),
            line("load of the machine", self.load, "", note=f"mean; watches that broke: {self.gaps}"),
        ]

    def _idle_lines(self) -> list[str]:
        writes, qps = self._controller, figures.JOB_CONTROLLER_QPS
        rate = f"at its default {qps} a second {60 * qps / sum(writes.values()):.0f} trials a minute"
        filling = f"p95, with the first {self._filling:.0f} s, in which the Job controller makes a pod for every slot"
        return [
            line("slot idle, p50", percentile(self._idle, 50), "s"),
            line("slot idle, all", percentile(self.slots.idle(), 95), "s", note=filling),
            *(
                line(f"  {name}", percentile(values, 50), "s", note=f"p50, {percentile(values, 95):.2f} s p95")
                for name, values in self.slots.legs(self.began + self._filling).items()
            ),
            line("Job controller, writes for a trial", sum(writes.values()), "", note=rate),
            "  " + ", ".join(f"{value:.2f} {name}" for name, value in writes.items()),
        ]

    @property
    def _controller(self) -> dict[str, float]:
        return figures.of_job_controller(self.counted, self.trials)

    @property
    def _filling(self) -> float:
        """In which the Job controller, at its default pace, writes what the Jobs of all slots take."""
        return self.parallel * sum(self._controller.values()) / figures.JOB_CONTROLLER_QPS

    @property
    def _idle(self) -> list[float]:
        return self.slots.idle(self.began + self._filling)

    def _per_trial(self, name: str) -> float:
        return 1000 * self.spent[name] / self.trials
