"""What a test says ahead: how long things take on a node, and what goes wrong with a pod."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

from graphtrial.contract import Model


class ForeignScore(Model):
    """A rung's score that a pod exposes beside its own."""

    search_uid: str
    trial_uid: str
    attempt: int = 1
    rung: int
    score: float


class Fault(Model):
    """Goes wrong with the next pods of a name; what is left out goes right."""

    pods: str = "*"
    """Of these names, as a shell pattern."""
    times: int | None = 1
    """So many pods; None: all."""
    exit_code: int | None = None
    """The container ends with it right before ``at_evaluation``, or at its end if it is no trainer."""
    out_of_memory: bool = False
    """It is killed there for its memory."""
    at_evaluation: int = 1
    """From 1; those of earlier attempts count."""
    image_pull_fails: bool = False
    """The pod waits with ErrImagePull, then ImagePullBackOff."""
    never_starts: bool = False
    """The pod waits with ContainerCreating."""
    refused: str = ""
    """The pod waits with CreateContainerConfigError and this message."""
    image_id: str = ""
    """Its image's tag was pushed anew, and names this one."""
    ignores_sigterm: bool = False
    """It is killed when its grace is over."""
    nan_at: int | None = None
    """The score of that evaluation is not a number: the trainer diverges."""
    exposes: tuple[ForeignScore, ...] = ()
    """Scores of another trial that it exposes as well."""
    pace: float | None = None
    """Seconds from evaluation to evaluation, instead of the node's."""
    holds_at: int | None = None
    """It does not begin that evaluation before the node is told to let it go on."""


class Behaviour(NamedTuple):
    """The faults of one pod, put together; the first that says something counts."""

    faults: tuple[Fault, ...] = ()

    @property
    def exit_code(self) -> int | None:
        """With which the container ends by itself."""
        return next((fault.exit_code for fault in self.faults if fault.exit_code is not None), None)

    @property
    def out_of_memory(self) -> bool:
        """Whether it is killed for its memory."""
        return any(fault.out_of_memory for fault in self.faults)

    @property
    def ends_before(self) -> int | None:
        """The evaluation at which either happens."""
        ending = (fault for fault in self.faults if fault.exit_code is not None or fault.out_of_memory)
        return next((fault.at_evaluation for fault in ending), None)

    @property
    def waits_for(self) -> tuple[str, ...]:
        """Reasons of the waiting container that never starts, one after the other; none: it starts."""
        if any(fault.image_pull_fails for fault in self.faults):
            return ("ErrImagePull", "ImagePullBackOff")
        if self.refusal:
            return ("CreateContainerConfigError",)
        return ("ContainerCreating",) if any(fault.never_starts for fault in self.faults) else ()

    @property
    def refusal(self) -> str:
        """The message with which its container is refused; empty if it is not."""
        return next((fault.refused for fault in self.faults if fault.refused), "")

    @property
    def image_id(self) -> str:
        """Which image its tag names; empty: the usual one."""
        return next((fault.image_id for fault in self.faults if fault.image_id), "")

    @property
    def ignores_sigterm(self) -> bool:
        """Whether only SIGKILL ends it."""
        return any(fault.ignores_sigterm for fault in self.faults)

    @property
    def nan_at(self) -> int | None:
        """The evaluation at which it diverges."""
        return next((fault.nan_at for fault in self.faults if fault.nan_at is not None), None)

    @property
    def holds_at(self) -> int | None:
        """The evaluation that it does not begin by itself."""
        return next((fault.holds_at for fault in self.faults if fault.holds_at is not None), None)

    @property
    def exposes(self) -> tuple[ForeignScore, ...]:
        """Scores of other trials."""
        return tuple(score for fault in self.faults for score in fault.exposes)

    def pace(self, usual: float) -> float:
        """Seconds from evaluation to evaluation."""
        return next((fault.pace for fault in self.faults if fault.pace is not None), usual)


@dataclass(frozen=True)
class Timing:
    """How long things take on a node, in seconds."""

    pace: float = 0.5
    """From evaluation to evaluation; a container that is no trainer runs so long."""
    start_delay: float = 0.0
    """From bound to running."""
    saving: float = 0.1
    """From SIGTERM to a trainer's end."""
    heartbeat: float = 1.0
    """From heartbeat to heartbeat."""


class Faults:
    """Those that are set; each pod takes its own when it starts."""

    def __init__(self) -> None:
        self._set: list[tuple[Fault, int | None]] = []

    def add(self, fault: Fault) -> None:
        """For pods that start from now on."""
        self._set.append((fault, fault.times))

    def clear(self) -> None:
        """None for pods that start from now on."""
        self._set.clear()

    def take(self, pod: str) -> Behaviour:
        """All faults of the pod of this name, each used up by one."""
        taken, left = [], []
        for fault, times in self._set:
            matches = fnmatchcase(pod, fault.pods)
            if matches:
                taken.append(fault)
            rest = times - 1 if matches and times is not None else times
            if rest != 0:
                left.append((fault, rest))
        self._set = left
        return Behaviour(tuple(taken))
