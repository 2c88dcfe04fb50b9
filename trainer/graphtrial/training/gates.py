"""The gates of spec 3, for all edges of a graph at once.

A gate depends on the update or on the sample, never on both. The first kind is one formula with other
coefficients, ``offset + slope u + amplitude sin(2 pi f u + phi)`` with u = k / k_end, and so one row of a table
for each edge; the second overwrites its rows. A Cutoff edge is absent (3.5) and never gets here.

Decided against: a function per gate called per edge. It reads the same and launches GPU kernels for each edge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from graphtrial.contract import Gate, GateType

BY_SAMPLE = frozenset({GateType.CORRECT, GateType.THRESHOLD})
"""Gates that read what the source says of a sample."""


class Gates:
    """The gates of a list of edges, compiled to tables on the device."""

    def __init__(
        self, gates: Sequence[Gate], sources: Sequence[int | None], *, total_steps: int, device: torch.device
    ) -> None:
        """Compile the gates.

        Args:
            gates: One for each edge.
            sources: For each edge the row of its source in the log-probabilities; None for the label, whose one-hot
                distribution is always right and always sure: there Correct and Threshold are Through.
            total_steps: k_end, the number of updates of the whole training.
            device: Where the losses are computed.
        """
        self._total_steps = total_steps
        coefficients = [_coefficients(gate) for gate in gates]
        table = torch.tensor(coefficients, dtype=torch.float64, device=device).reshape(-1, 5)
        self._offset, self._slope, self._amplitude, self._frequency, self._phase = table.unbind(1)

        def edges_and_rows(kind: GateType) -> tuple[Tensor, Tensor] | None:
            pairs = zip(gates, sources, strict=True)
            found = [(edge, row) for edge, (gate, row) in enumerate(pairs) if gate.type is kind and row is not None]
            if not found:
                return None
            edges, rows = torch.tensor(found, dtype=torch.int64, device=device).unbind(1)
            return edges, rows

        self._correct = edges_and_rows(GateType.CORRECT)
        self._sure = edges_and_rows(GateType.THRESHOLD)
        self._thresholds = torch.tensor([gate.threshold for gate in gates], dtype=torch.float64, device=device)

    def weights(self, update: Tensor, samples: int, log_p: Tensor, labels: Tensor) -> Tensor:
        """The weight of every edge's loss on every sample, (3.4) to (3.8), (5.7) and (5.8).

        Args:
            update: k, counted from 1 at the first update; an integer on the device. Read into Python it would make
                a GPU finish all queued work first.
            samples: How many samples the losses are of.
            log_p: Log-probabilities of the sources at temperature 1, [rows, samples, classes]; read only by gates
                that depend on the sample.
            labels: Class indices, [samples]; read only by Correct.

        Returns:
            [edges, samples], in the type of ``log_p``, without gradient.
        """
        progress = update.to(torch.float64) / self._total_steps
        wave = self._amplitude * torch.sin(2 * math.pi * self._frequency * progress + self._phase)
        of_update = (self._offset + self._slope * progress + wave).to(log_p.dtype)
        weights = of_update[:, None].repeat(1, samples)
        if self._correct is not None:
            edges, rows = self._correct
            right = log_p.index_select(0, rows).argmax(dim=-1) == labels
            weights.index_copy_(0, edges, right.to(weights.dtype))
        if self._sure is not None:
            edges, rows = self._sure
            top = log_p.index_select(0, rows).amax(dim=-1).exp()
            sure = top > self._thresholds.index_select(0, edges)[:, None]
            weights.index_copy_(0, edges, sure.to(weights.dtype))
        return weights


def _coefficients(gate: Gate) -> tuple[float, float, float, float, float]:
    """Offset, slope, amplitude, frequency and phase; those of Through where the samples decide."""
    match gate.type:
        case GateType.LINEAR:
            return (0.0, 1.0, 0.0, 0.0, 0.0)
        case GateType.NEGATIVE_LINEAR:
            return (1.0, -1.0, 0.0, 0.0, 0.0)
        case GateType.SINE:
            return (0.5, 0.0, 0.5, gate.frequency, gate.phase)
        case GateType.CUTOFF:
            raise ValueError("a Cutoff edge is absent (3.5): leave it out before compiling gates")
        case _:
            return (1.0, 0.0, 0.0, 0.0, 0.0)
