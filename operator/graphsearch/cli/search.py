"""One search on a cluster as its user can see it: manifest, facts, trials; kept current without reading all again.

It reads what the operator has recorded, with the user's own rights, and writes nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from graphsearch.api import (
    CheckpointChoice,
    ConditionStatus,
    ConditionType,
    GraphSearch,
    GraphSearchStatus,
    GraphTrialObjectStatus,
    Reason,
    SearchFacts,
)
from graphsearch.api import names as n
from graphsearch.api.wire import (
    Object,
    search_from_object,
    search_status_from_object,
    trial_from_object,
    trial_object_status,
)
from graphsearch.cli.cluster import Session
from graphsearch.cli.exits import CommandError, Exit
from graphsearch.search.ledger import Ledger
from graphsearch.search.packed import PackedTrials
from graphsearch.search.replay import doubt
from graphsearch.search.settled import Settled, settle
from graphsearch.search.status import SearchStatus, summarise
from graphtrial.storage import Store, open_store

_NOBODY = "no operator has looked at it; is one installed, and does it watch this namespace?"


@dataclass
class SeenSearch:
    """What was read of a search; a scene of the live table."""

    manifest: GraphSearch
    settled: Settled
    status: GraphSearchStatus
    """As the operator last wrote it."""
    ledger: Ledger
    shown: dict[int, GraphTrialObjectStatus] = field(default_factory=dict)
    """What open trials show beside their facts."""

    @property
    def name(self) -> str:
        """Of the object."""
        return self.manifest.metadata.name

    @property
    def namespace(self) -> str:
        """Of the object."""
        return self.manifest.metadata.namespace

    @property
    def reported(self) -> dict[int, int]:
        """The last evaluation that each open trial is known to have reached."""
        return {index: shown.evaluation for index, shown in self.shown.items()}

    @property
    def is_over(self) -> bool:
        """Whether nothing will be recorded any more."""
        return self.ledger.search.ended_at is not None and not self.ledger.open

    def take(self, objects: Iterable[Object]) -> None:
        """Take trials as they stand."""
        for obj in objects:
            trial = trial_from_object(obj)
            self.ledger.put(trial)
            if trial.is_ended:
                self.shown.pop(trial.index, None)
            else:
                self.shown[trial.index] = trial_object_status(obj)


async def read_search(session: Session, name: str) -> SeenSearch:
    """Read a search and all its trials.

    Raises:
        CommandError: If there is none.
        ManifestError: If its manifest breaks a rule that the API server could not judge.
        ApiError: If the cluster does not answer.
    """
    from graphsearch.cluster.client import SEARCHES, TRIALS

    obj = await session.get(SEARCHES, name)
    manifest, status = search_from_object(obj), search_status_from_object(obj)
    seen = SeenSearch(manifest, settle(manifest, reports=True), status, Ledger(facts_of(obj), PackedTrials()))
    async for page in session.client.pages(TRIALS, session.namespace, labels=_selector(seen)):
        seen.take(page)
    return seen


async def refresh(session: Session, seen: SeenSearch) -> SeenSearch:
    """The same search as it stands now; only what may have changed is read.

    Trials that have ended carry a label and are not listed again, so those that the list lacks are read one by one.

    Raises:
        CommandError: If the search was deleted.
        ApiError: If the cluster does not answer.
    """
    from graphsearch.cluster.client import SEARCHES, TRIALS, NotFoundError

    obj = await session.get(SEARCHES, seen.name)
    if obj["metadata"]["uid"] != seen.ledger.search.uid:
        return await read_search(session, seen.name)
    seen.manifest, seen.status = search_from_object(obj), search_status_from_object(obj)
    seen.settled, seen.ledger.search = settle(seen.manifest, reports=True), facts_of(obj)
    listed: set[int] = set()
    labels, fields = _selector(seen), n.UNFINISHED
    async for page in session.client.pages(TRIALS, session.namespace, labels=labels, fields=fields):
        seen.take(page)
        listed |= {obj["spec"]["index"] for obj in page}
    unknown = {index for index in range(seen.ledger.search.next_index) if index not in seen.ledger.trials}
    for index in sorted((unknown | set(seen.ledger.open)) - listed):
        try:
            seen.take([await session.client.get(TRIALS, session.namespace, f"{seen.name}-t{index}")])
        except NotFoundError:
            continue
    return seen


def _selector(seen: SeenSearch) -> str:
    return f"{n.SEARCH_UID_LABEL}={seen.ledger.search.uid}"


def facts_of(obj: Object) -> SearchFacts:
    """A search's facts; before the operator has written any, what follows from the object itself."""
    metadata = obj["metadata"]
    created = datetime.fromisoformat(metadata["creationTimestamp"]).timestamp()
    return search_status_from_object(obj).facts or SearchFacts(uid=metadata["uid"], started_at=created)


def is_decided(obj: Object) -> bool:
    """Whether a search has ended and its report is there, or will never be."""
    conditions = search_status_from_object(obj).conditions
    return any(c.type is ConditionType.SUCCEEDED and c.status is not ConditionStatus.UNKNOWN for c in conditions)


def status_of(seen: SeenSearch, now: float) -> SearchStatus:
    """The numbers of a search, with what stands in its way as the message."""
    status = summarise(seen.settled, seen.ledger, now)
    conditions = {condition.type: condition for condition in seen.status.conditions}
    accepted, metrics = conditions.get(ConditionType.ACCEPTED), conditions.get(ConditionType.METRICS_AVAILABLE)
    update: dict[str, object] = {}
    if accepted is None:
        update = {"message": _NOBODY}
    elif accepted.status is ConditionStatus.FALSE:
        known = accepted.reason in set(Reason)
        update = {"reason": Reason(accepted.reason)} if known else {}
        update["message"] = accepted.message if known else f"{accepted.reason}: {accepted.message}"
    elif not status.message and metrics and metrics.status is ConditionStatus.FALSE:
        update = {"message": f"{metrics.reason}: {metrics.message}"}
    if seen.is_over:
        update["doubt"] = doubt(seen.settled, seen.ledger)
    return status.model_copy(update=update)


def root_uri(manifest: GraphSearch, facts: SearchFacts) -> str:
    """The URI below which a search's objects lie (design 8); empty where it stores nothing."""
    from graphsearch.cluster.install import Install
    from graphsearch.cluster.jobs import place

    if not manifest.spec.checkpoint.uri:
        return ""
    return place(settle(manifest), facts, manifest.metadata.namespace, Install()).root


def open_root(seen: SeenSearch, options: argparse.Namespace) -> Store:
    """The store of a search's objects, with the user's own credentials.

    Raises:
        CommandError: If it stores nothing.
        StorageError: If its URI is none.
    """
    root = root_uri(seen.manifest, seen.ledger.search)
    if not root:
        raise CommandError(Exit.USAGE, f"{seen.name}: spec.checkpoint.uri is empty; nothing is stored")
    return opened(root, seen.manifest.spec.checkpoint, options)


def opened(uri: str, choice: CheckpointChoice, options: argparse.Namespace) -> Store:
    """The store below a URI as the manifest says, but for what the options say: addresses differ inside a cluster."""
    return open_store(
        uri,
        endpoint=options.endpoint or choice.endpoint,
        region=options.region or choice.region,
        path_style=options.path_style or choice.path_style,
    )
