"""What this machine has for trials: cores or GPUs, divided into slots."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from graphtrial.contract import Device


@dataclass(frozen=True, slots=True)
class Slot:
    """What one trial is pinned to."""

    cpus: tuple[int, ...]
    gpu: str | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """Cores by number and GPUs by index, as this process may use them."""

    cpus: tuple[int, ...]
    gpus: tuple[str, ...] = ()

    @property
    def device(self) -> Device:
        """GPUs are used where there are any."""
        return Device.CUDA if self.gpus else Device.CPU

    def default_parallel(self) -> int:
        """One trial per GPU, else one per core."""
        return len(self.gpus) or len(self.cpus)

    def threads(self, parallel: int) -> int:
        """Each trial's share of the cores, at least one."""
        return max(1, len(self.cpus) // parallel)

    def slots(self, parallel: int, threads: int) -> list[Slot]:
        """One slot per parallel trial; more trials than cores or GPUs share them in turn."""
        return [
            Slot(
                cpus=tuple(sorted({self.cpus[(number * threads + k) % len(self.cpus)] for k in range(threads)})),
                gpu=self.gpus[number % len(self.gpus)] if self.gpus else None,
            )
            for number in range(parallel)
        ]


def this_machine() -> Machine:
    """The cores this process may run on, and the GPUs that CUDA_VISIBLE_DEVICES leaves visible."""
    if hasattr(os, "sched_getaffinity"):
        cpus = tuple(sorted(os.sched_getaffinity(0)))
    else:
        cpus = tuple(range(os.cpu_count() or 1))
    return Machine(cpus, _gpus(os.environ.get("CUDA_VISIBLE_DEVICES"), Path("/dev")))


def _gpus(visible: str | None, devices: Path) -> tuple[str, ...]:
    there = sorted(path.name.removeprefix("nvidia") for path in devices.glob("nvidia*"))
    there = [number for number in there if re.fullmatch(r"\d+", number)]
    if visible is None or not there:
        return tuple(there)
    return tuple(part for part in visible.split(",") if part and part != "-1")
