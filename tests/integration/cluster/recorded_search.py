"""Searches written to a real API server as an operator would have left them, without one running."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.searches import SearchBuilder, drawn_curve

from graphsearch.api import (
    Condition,
    ConditionStatus,
    ConditionType,
    GraphSearch,
    GraphSearchStatus,
    GraphTrial,
    GraphTrialObjectStatus,
    SearchFacts,
    TrialCounts,
    observed,
)
from graphsearch.api.wire import Object, search_status_to_wire, trial_object, trial_status_to_wire
from graphsearch.cluster.client import SEARCHES, TRIALS, Client
from graphsearch.cluster.install import Install
from graphsearch.cluster.jobs import labels_of, place
from graphsearch.cluster.ownership import owner_of
from graphsearch.search.ledger import Ledger
from graphsearch.search.settled import settle
from graphsearch.search.simulator import Simulation
from graphsearch.search.status import summarise
from graphtrial.contract import Purpose


@dataclass
class RecordedSearch:
    """A search on the API server whose facts a test writes."""

    kubeconfig: Path
    manifest: GraphSearch
    object: Object

    @property
    def name(self) -> str:
        """Of the object."""
        return self.manifest.metadata.name

    @property
    def uid(self) -> str:
        """Of the object."""
        return str(self.object["metadata"]["uid"])

    @property
    def root(self) -> str:
        """Where its objects lie."""
        facts = SearchFacts(uid=self.uid, started_at=0)
        return place(settle(self.manifest), facts, self.manifest.metadata.namespace, Install()).root

    def show(self, ledger: Ledger, *trials: int, shown: GraphTrialObjectStatus | None = None) -> RecordedSearch:
        """Write the facts of a search and of some of its trials (all, where none is named), and the numbers.

        Args:
            ledger: The facts; the uid becomes the object's.
            trials: Indexes of those that are new or have changed.
            shown: What open trials show beside their facts.
        """
        ledger.search = ledger.search.model_copy(update={"uid": self.uid, "next_index": ledger.next_index})
        chosen = [ledger.trials[index] for index in trials or sorted(ledger.trials)]
        asyncio.run(self._write(ledger, chosen, shown or GraphTrialObjectStatus()))
        return self

    async def _write(self, ledger: Ledger, trials: Iterable[GraphTrial], shown: GraphTrialObjectStatus) -> None:
        settled, namespace = settle(self.manifest), self.manifest.metadata.namespace
        async with Client.connect(str(self.kubeconfig)) as client:
            known = {obj["metadata"]["name"] for obj in (await client.list(TRIALS, namespace))[0]}
            for trial in trials:
                labels = labels_of(settled, ledger.search, trial)
                if trial.name not in known:
                    await client.create(trial_object(trial, namespace, labels, owner_of(self.object)))
                status = trial_status_to_wire(trial.status) | ({} if trial.is_ended else shown.to_json())
                await client.patch(TRIALS, namespace, trial.name, {"status": status}, subresource="status")
            status = search_status_to_wire(_status(self.manifest, ledger, self.object["metadata"]["generation"]))
            await client.patch(SEARCHES, namespace, self.name, {"status": status}, subresource="status")


def _status(manifest: GraphSearch, ledger: Ledger, generation: int) -> GraphSearchStatus:
    numbers = summarise(settle(manifest), ledger, ledger.search.started_at)
    ended = ledger.search.ended_at is not None
    states = {
        ConditionType.ACCEPTED: (ConditionStatus.TRUE, "Accepted"),
        ConditionType.PROGRESSING: (ConditionStatus.FALSE if ended else ConditionStatus.TRUE, numbers.reason),
        ConditionType.SUCCEEDED: (ConditionStatus.TRUE if ended else ConditionStatus.UNKNOWN, numbers.reason),
    }
    conditions = [Condition(type=type_, status=status, reason=reason) for type_, (status, reason) in states.items()]
    counts = {field: getattr(numbers, field) for field in ("created", "running", "succeeded", "stopped")}
    return GraphSearchStatus(
        observed_generation=generation,
        conditions=observed((), conditions, generation=generation, now=ledger.search.started_at),
        facts=ledger.search,
        state=numbers.reason,
        trials=TrialCounts(**counts, done=ledger.created[Purpose.SEARCH] - len(ledger.open)),
        best=numbers.best,
    )


def record(control_plane: Any, search: GraphSearch, namespace: str, name: str) -> RecordedSearch:
    """Make the object of a search, without a status."""
    metadata = search.metadata.model_copy(update={"namespace": namespace, "name": name})
    manifest = search.model_copy(update={"metadata": metadata})

    async def create() -> Object:
        async with Client.connect(str(control_plane.kubeconfig)) as client:
            return await client.create(manifest.to_json())

    return RecordedSearch(control_plane.kubeconfig, manifest, asyncio.run(create()))


def played(search: SearchBuilder, seed: int = 3) -> Ledger:
    """The facts of a search that was played to its end."""
    return Simulation(search.settled(), drawn_curve(seed)).run()
