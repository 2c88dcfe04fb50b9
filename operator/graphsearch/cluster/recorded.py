"""The facts of one search, in memory and on the API server (design 2, 6).

Reading: trials come from a paged list at the start, from the answers to our own writes and from the watch; whatever
comes, the newer resourceVersion counts. Writing: a trial is made by a plain create and changed by merge patches of
its status that name the resourceVersion they build on, so two writers cannot both win.

Decided against: server-side apply of facts, which can erase an item of a list, and of new trials, which would take
over an object of the same name that belongs to somebody else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from graphsearch.api import EventReason, GraphTrial, GraphTrialObjectStatus, ManifestError, SearchFacts
from graphsearch.api.wire import Object, trial_from_object, trial_object, trial_object_status, trial_status_to_wire
from graphsearch.cluster.client import TRIALS, Client, ConflictError, ForbiddenError, InvalidError, NotFoundError
from graphsearch.cluster.ownership import is_owned
from graphsearch.cluster.pods import refusal
from graphsearch.search.ledger import Ledger
from graphsearch.search.packed import PackedTrials

_log = logging.getLogger(__name__)


class NotMadeError(Exception):
    """An object that the search needs cannot be made now: it waits, and what is there goes on.

    Attributes:
        reason: An object of its name belongs to somebody else, and is never adopted; or the API server refuses it.
    """

    def __init__(self, reason: EventReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class StaleError(Exception):
    """Somebody else has written: what was planned is planned again from what stands there now."""


class Recorded:
    """One search's ledger with the objects behind it."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        facts: SearchFacts,
        owner: Object,
        *,
        adapt: Callable[[GraphTrial], GraphTrial] = lambda trial: trial,
    ) -> None:
        """Begin empty.

        Args:
            client: Of the API server.
            namespace: Of the search and all its children.
            facts: Of the search.
            owner: The ownerReference that its trials carry.
            adapt: What a trial is to the planner, where it is not what the user wrote; may raise ManifestError.
        """
        self.ledger = Ledger(facts, PackedTrials())
        self.shown: dict[int, GraphTrialObjectStatus] = {}
        """What open trials show beside their facts."""
        self._client = client
        self._namespace = namespace
        self._owner = owner
        self._adapt = adapt
        self._objects: dict[int, Object] = {}
        """Metadata of open trials, by index."""
        self._names: dict[str, int] = {}

    def metadata(self, index: int) -> Object:
        """Of an open trial's object."""
        return self._objects[index]

    def take(self, obj: Object) -> None:
        """Take what stands on the API server, unless something newer is known."""
        index = obj["spec"]["index"]
        known = self._objects.get(index)
        if known is None and index in self.ledger.trials:
            return
        if known is not None and _version(obj["metadata"]) <= _version(known):
            return
        try:
            trial, shown = self._adapt(trial_from_object(obj)), trial_object_status(obj)
        except ManifestError as error:
            _log.error("%s", error)
            return
        if known is not None and _has_fewer_facts(trial, self.ledger.trials[index]):
            # Made anew, by us or by somebody else, and not written yet: facts never disappear, and the next write of
            # this trial writes them all.
            self._remember(self.ledger.trials[index], self.shown[index], obj["metadata"])
            return
        self.ledger.put(trial)
        self._remember(trial, shown, obj["metadata"])

    async def create(self, trial: GraphTrial, labels: Mapping[str, str]) -> None:
        """Make a trial's object; one that is there already and is ours is taken as it stands.

        Raises:
            NotMadeError: If one of this name belongs to somebody else, or a quota or a policy is against it.
            StaleError: If it is ours and was there: its facts are in the ledger now.
        """
        obj = trial_object(trial, self._namespace, labels, self._owner)
        try:
            made = await self._client.create(obj)
        except ConflictError:
            there = await self._client.get(TRIALS, self._namespace, trial.name)
            if not is_owned(there["metadata"], self._owner["uid"]):
                message = f"GraphTrial {trial.name} belongs to somebody else; delete it, and the search goes on"
                raise NotMadeError(EventReason.NAME_TAKEN, message) from None
            self.take(there)
            raise StaleError(trial.name) from None
        except (ForbiddenError, InvalidError) as error:
            raise NotMadeError(EventReason.TRIAL_REFUSED, refusal(str(error))[1]) from None
        self.ledger.put(trial)
        self._remember(trial, GraphTrialObjectStatus(), made["metadata"])

    async def write(self, trial: GraphTrial, shown: GraphTrialObjectStatus) -> None:
        """Record a trial's facts, with what it shows.

        Raises:
            StaleError: If somebody else has written or deleted it in between.
        """
        metadata = self._objects[trial.index]
        # Null takes away what a merge patch would leave: a score that is not finite any more.
        status: Object = {"score": None} | trial_status_to_wire(trial.status) | shown.to_json()
        patch = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": status}
        written = await self._patch(trial.index, patch, subresource="status")
        self.ledger.put(trial)
        self._remember(trial, shown, written["metadata"])

    async def restore(self, name: str) -> None:
        """Make an open trial's object anew that somebody has deleted: nothing already earned is lost.

        One that was applied by hand is its own owner, and whoever deletes it wants it gone.
        """
        index = self._names.get(name)
        if index is None or self._objects[index]["uid"] == self._owner["uid"]:
            return
        try:
            await self._client.get(TRIALS, self._namespace, name)
        except NotFoundError:
            trial, before = self.ledger.trials[index], self._objects[index]
            obj = trial_object(trial, self._namespace, before.get("labels", {}), self._owner)
            made = await self._client.create(obj)
            self._objects[index] = made["metadata"]
            await self.write(trial, self.shown[index])
            _log.warning("GraphTrial %s/%s was deleted while it ran; made again", self._namespace, name)

    async def _patch(self, index: int, patch: Object, *, subresource: str) -> Object:
        name = self._objects[index]["name"]
        try:
            return await self._client.patch(TRIALS, self._namespace, name, patch, subresource=subresource)
        except ConflictError:
            self.take(await self._client.get(TRIALS, self._namespace, name))
            raise StaleError(name) from None
        except NotFoundError:
            await self.restore(name)
            raise StaleError(name) from None

    def _remember(self, trial: GraphTrial, shown: GraphTrialObjectStatus, metadata: Object) -> None:
        if trial.is_ended:
            self._forget(trial.index)
            return
        kept = ("name", "uid", "resourceVersion", "labels", "generation")
        self._objects[trial.index] = {key: metadata[key] for key in kept if key in metadata}
        self._names[metadata["name"]] = trial.index
        self.shown[trial.index] = shown

    def _forget(self, index: int) -> None:
        metadata = self._objects.pop(index, None)
        self.shown.pop(index, None)
        if metadata:
            self._names.pop(metadata["name"], None)


def _version(metadata: Mapping[str, object]) -> int:
    """Versions of one object are numbers that rise (KEP-5504)."""
    return int(str(metadata["resourceVersion"]))


def _has_fewer_facts(trial: GraphTrial, known: GraphTrial) -> bool:
    new, old = trial.status, known.status
    return len(new.rungs) < len(old.rungs) or len(new.attempts) < len(old.attempts)
