"""What sources say, as log-probabilities, ensembles among them (4.1, 4.10).

Rows are made once for each source and temperature that something reads. Sources are constants (Algorithm 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from graphtrial.contract import Average, Edge, Node
from graphtrial.training.gates import BY_SAMPLE
from graphtrial.training.losses import log_probabilities


class SourceRows:
    """What sources say, as log-probabilities: a row for each source and temperature that something reads."""

    def __init__(
        self, transfers: Sequence[Edge], names: Sequence[str], ensembles: Sequence[Node], device: torch.device
    ) -> None:
        self._means = {node.name: node for node in ensembles if node.average is Average.LOGITS}
        self._mixtures = {node.name: node for node in ensembles if node.average is Average.PROBABILITIES}
        asked = {(edge.source, edge.loss.temperature) for edge in transfers}
        asked |= {(edge.source, 1.0) for edge in transfers if edge.gate.type in BY_SAMPLE}
        mixed = sorted(row for row in asked if row[0] in self._mixtures)
        plain = {row for row in asked if row[0] not in self._mixtures}
        plain |= {(member, temperature) for name, temperature in mixed for member in self._mixtures[name].members}
        # Means of logits come after the networks' own logits, mixtures of probabilities after all other rows.
        places = {name: place for place, name in enumerate((*names, *self._means))}
        ordered = sorted(plain)
        self.rows = {row: place for place, row in enumerate((*ordered, *mixed))}
        self._nodes = torch.tensor([places[name] for name, _ in ordered], dtype=torch.int64, device=device)
        temperatures = [temperature for _, temperature in ordered]
        self._temperatures = torch.tensor(temperatures, dtype=torch.float64, device=device)

        def members(rows: Iterable[int]) -> Tensor:
            return torch.tensor(list(rows), dtype=torch.int64, device=device)

        self._averaged = [members(names.index(name) for name in node.members) for node in self._means.values()]
        self._mixed = [
            members(self.rows[member, temperature] for member in self._mixtures[name].members)
            for name, temperature in mixed
        ]

    @torch.no_grad()
    def log_probabilities(self, logits: Tensor) -> Tensor:
        """[rows, samples, classes] from [nodes, samples, classes]; sources are constants (Algorithm 1)."""
        # A mean in bfloat16 would be rounded to three digits; cat takes the others along.
        kind = torch.promote_types(logits.dtype, torch.float32)
        means = [
            logits.index_select(0, rows).mean(dim=0, keepdim=True, dtype=kind) for rows in self._averaged
        ]  # (4.10)
        logits = torch.cat([logits, *means]) if means else logits
        log_p = log_probabilities(logits.index_select(0, self._nodes), self._temperatures)
        mixtures = [
            torch.logsumexp(log_p.index_select(0, rows), dim=0, keepdim=True) - math.log(len(rows))
            for rows in self._mixed
        ]  # (4.1)
        return torch.cat([log_p, *mixtures]) if mixtures else log_p
