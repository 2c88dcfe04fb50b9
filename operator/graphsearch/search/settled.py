"""A manifest with everything settled that planning needs: presets resolved, evaluations counted, rungs numbered."""

from __future__ import annotations

from dataclasses import dataclass

from graphsearch.api import Asha, GraphSearch, GraphSearchSpec, evaluations, resolve
from graphsearch.search.rungs import rung_numbers
from graphtrial.contract import ScoreOf, Training, derive


@dataclass(frozen=True, slots=True)
class Settled:
    """One search, settled. Made anew when a mutable field of the manifest changes."""

    name: str
    spec: GraphSearchSpec
    training: Training
    evaluations: int
    """Of a whole training; the last one is at its end."""
    rungs: tuple[int, ...]
    """Evaluations at which a Search trial may be stopped; none for a fixed list of graphs."""
    reports: bool = False
    """Whether the report is a last trial (purpose Report), as on a cluster, where who decides cannot open storage."""

    @property
    def asha(self) -> Asha:
        """The rungs' parameters; without a scheduler there are no rungs to apply them to."""
        return self.spec.scheduler.asha or Asha()

    @property
    def final_score_of(self) -> ScoreOf:
        """What counts after the search: of BestNode the node that it chose, as target. A fixed list chooses none."""
        score_of = self.spec.objective.score_of
        return ScoreOf.TARGET_NODE if score_of is ScoreOf.BEST_NODE and self.spec.space else score_of

    @property
    def repeats(self) -> int:
        """Of each contender; a fixed list that is compared with nothing is run once."""
        return self.spec.comparison.repeats if self.spec.comparison else 1


def settle(search: GraphSearch, *, reports: bool = False) -> Settled:
    """Resolve the preset, count the evaluations, number the rungs."""
    spec = search.spec
    training = resolve(spec.training)
    total = evaluations(training)
    asha = spec.scheduler.asha
    return Settled(
        name=search.metadata.name,
        spec=spec,
        training=training,
        evaluations=total,
        rungs=rung_numbers(asha.first_rung, asha.reduction_factor, total) if asha and spec.space else (),
        reports=reports,
    )


def seed_of(seed: int, *stream: str | int) -> int:
    """A derived seed that survives JSON readers with double precision."""
    return derive(seed, *stream) >> 10
