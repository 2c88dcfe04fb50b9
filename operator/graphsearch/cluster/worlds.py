"""All searches that this operator runs: which there are, what was heard of them, whose turn it is (design 6).

What is heard only marks a search and hands over an object; a turn does the rest. A search that is deleted has its
devices freed at once, without a finalizer that could hang. It must not know Kopf.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial

from graphsearch.api import (
    Condition,
    ConditionStatus,
    ConditionType,
    GraphSearch,
    GraphSearchStatus,
    ManifestError,
    Reason,
    SearchFacts,
    check_new,
    observed,
)
from graphsearch.api import names as n
from graphsearch.api.wire import (
    Object,
    conditions_of,
    search_from_object,
    search_status_from_object,
    search_status_to_wire,
    trial_from_object,
    unknown_fields,
    where,
)
from graphsearch.cluster import jobs
from graphsearch.cluster.alone import as_contender, search_of
from graphsearch.cluster.children import Children
from graphsearch.cluster.client import SEARCHES, TRIALS, ConflictError, ForbiddenError, NotFoundError
from graphsearch.cluster.entry import Entry
from graphsearch.cluster.ownership import is_left, owner_of, parent_of
from graphsearch.cluster.recorded import Recorded, StaleError
from graphsearch.cluster.showing import changed, search_status
from graphsearch.cluster.world import ClusterWorld, Seat
from graphsearch.search.settled import settle

_log = logging.getLogger(__name__)

_SHOWN_EVERY_SECONDS = 1.0
_PAGE = 100
"""Trials in memory at a time while the ledgers are filled."""


class Worlds:
    """Every search by the uid of its object."""

    def __init__(self, seat: Seat, *, namespaces: Sequence[str] = (), controller_name: str = "") -> None:
        """Know none yet.

        Args:
            seat: What every world needs.
            namespaces: Those to look at; none: all of the cluster.
            controller_name: Only searches that name this controller are run.
        """
        self._seat = seat
        self._namespaces = tuple(namespaces)
        self._controller_name = controller_name
        self._entries: dict[str, Entry] = {}
        self.left_out: dict[str, str] = {}
        """Of the namespaces to look at those that the last ``fill`` was not let into, with what was said."""

    @property
    def keys(self) -> list[str]:
        """Of all searches that are known."""
        return list(self._entries)

    async def fill(self) -> None:
        """List every search and every trial; once at the start, and now and then for what the watch may have missed.

        A namespace that was deleted, and its roles with it, keeps no other one waiting: it is left out.

        Raises:
            ApiError: If the API server cannot be asked, or lets us into no namespace at all.
        """
        known, found = list(self._entries), set[str]()
        left_out: dict[str, ForbiddenError] = {}
        for namespace in self._namespaces or (None,):
            try:
                await self._list(namespace, found)
            except ForbiddenError as error:
                left_out[namespace or ""] = error
        if len(left_out) == max(1, len(self._namespaces)):
            raise next(iter(left_out.values()))
        self.left_out = {namespace: str(error) for namespace, error in left_out.items()}
        # One that was made meanwhile may be in no list.
        for key in known:
            entry = self._entries.get(key)
            if entry is not None and key not in found and entry.namespace not in left_out:
                entry.is_deleted = True

    async def let_in(self) -> list[str]:
        """Those of the namespaces left out that could be looked at now.

        Raises:
            ApiError: If the API server cannot be asked.
        """
        found = []
        for namespace in self.left_out:
            with suppress(ForbiddenError):
                for kind in (SEARCHES, TRIALS):
                    await self._seat.client.list(kind, namespace)
                found.append(namespace)
        return found

    async def _list(self, namespace: str | None, found: set[str]) -> None:
        searches, _ = await self._seat.client.list(SEARCHES, namespace)
        for obj in searches:
            found.add(obj["metadata"]["uid"])
            self.seen("GraphSearch", "ADDED", obj)
        async for page in self._seat.client.pages(TRIALS, namespace, limit=_PAGE):
            for obj in page:
                if not parent_of(obj["metadata"]):
                    found.add(obj["metadata"]["uid"])
                self.seen("GraphTrial", "ADDED", obj)

    def seen(self, kind: str, event: str | None, obj: Object) -> str | None:
        """Take what was heard of an object; the key of the search that should have a turn, None if it is nobody's."""
        metadata = obj["metadata"]
        match kind:
            case "GraphSearch":
                return self._seen_search(event, obj)
            case "GraphTrial":
                return self._seen_trial(event, obj)
            case _:
                key = metadata.get("labels", {}).get(n.SEARCH_UID_LABEL)
                entry = self._entries.get(key)
                if entry is not None and entry.world is not None:
                    entry.world.children.hear(kind, event, obj)
                return key if entry is not None else None

    def _seen_search(self, event: str | None, obj: Object) -> str | None:
        if obj.get("spec", {}).get("controllerName", "") != self._controller_name:
            return None
        key = obj["metadata"]["uid"]
        entry = self._entries.get(key)
        if entry is None:
            if event == "DELETED":
                return None
            entry = self._entries[key] = self._enter(obj)
        entry.obj = obj
        entry.is_deleted |= event == "DELETED" or "deletionTimestamp" in obj["metadata"]
        return str(key)

    def _enter(self, obj: Object) -> Entry:
        uid = obj["metadata"]["uid"]
        try:
            shown = search_status_from_object(obj)
        except ManifestError as error:
            _log.error("%s; its status is written anew", error)
            shown = GraphSearchStatus()
        facts = shown.facts or SearchFacts(uid=uid, started_at=self._seat.clock())
        recorded = Recorded(self._seat.client, obj["metadata"]["namespace"], facts, owner_of(obj))
        return Entry(obj, recorded, shown=shown)

    def _seen_trial(self, event: str | None, obj: Object) -> str | None:
        metadata = obj["metadata"]
        key = parent_of(metadata)
        if not key:
            return self._seen_alone(event, obj)
        entry = self._entries.get(key)
        if entry is None:
            return None
        if event == "DELETED":
            entry.missing.add(metadata["name"])
        elif entry.is_alone or metadata["name"] == f"{entry.name}-t{obj['spec']['index']}":
            # A copy of a trial, made by hand with its owner and index, is not that trial.
            entry.recorded.take(obj)
        return key

    def _seen_alone(self, event: str | None, obj: Object) -> str | None:
        metadata = obj["metadata"]
        key = metadata["uid"]
        if self._controller_name or is_left(obj):
            return None
        entry = self._entries.get(key)
        if entry is None:
            if event == "DELETED":
                return None
            created = datetime.fromisoformat(metadata["creationTimestamp"]).timestamp()
            facts = SearchFacts(uid=key, started_at=created)
            adapt = partial(as_contender, obj=obj)
            recorded = Recorded(self._seat.client, metadata["namespace"], facts, owner_of(obj), adapt=adapt)
            entry = self._entries[key] = Entry(obj, recorded)
        entry.obj = obj
        entry.is_deleted |= "deletionTimestamp" in obj["metadata"]
        if event == "DELETED":
            entry.missing.add(metadata["name"])
        elif not entry.is_deleted:
            entry.recorded.take(obj)
        return str(key)

    async def turn(self, key: str) -> float | None:
        """Look at one search and do what is missing; seconds until it wants another turn, None: when it is heard of.

        Raises:
            ApiError: If the API server cannot be asked; the turn is to be taken again.
        """
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.is_alone and entry.missing:
            # So ends what is deleted, and what has only ended: the watch asks for unfinished ones.
            await self._is_gone(entry)
            entry.missing.clear()
        if entry.is_deleted:
            await self._free(key, entry)
            return None
        try:
            if not await self._settle(entry):
                return await self._outlive(entry)
            return await self._turn(entry)
        except StaleError:
            return 0.0

    async def _free(self, key: str, entry: Entry) -> None:
        """The search is gone: have what runs save and stop; the rest is left to garbage collection."""
        children = entry.world.children if entry.world else Children(self._seat.client, entry.namespace, key)
        await children.delete_all()
        if not entry.is_alone:
            self._seat.telemetry.search_gone(entry.namespace, entry.name)
        del self._entries[key]

    async def _settle(self, entry: Entry) -> bool:
        """Have the entry's world follow its manifest; whether the manifest can be run."""
        generation = entry.obj["metadata"].get("generation", 1)
        # Newer definitions fill in defaults without a new generation.
        if entry.world is not None and entry.generation == generation and entry.spec == entry.obj["spec"]:
            return True
        try:
            manifest = self._manifest(entry)
            if entry.shown.facts is None and not entry.is_alone:
                check_new(manifest, where(entry.obj))
            settled = settle(manifest, reports=not entry.is_alone)
            refused = jobs.problems(settled, self._seat.install)
        except ManifestError as error:
            await self._refuse(entry, Reason.INVALID_SPEC, error.problems)
            return False
        if refused:
            await self._refuse(entry, Reason.INVALID_SPEC, refused)
            return False
        if entry.world is None:
            entry.world = ClusterWorld(self._seat, entry.recorded, settled, entry.namespace)
        entry.world.settled, entry.generation, entry.spec = settled, generation, entry.obj["spec"]
        return True

    def _manifest(self, entry: Entry) -> GraphSearch:
        if entry.is_alone:
            return search_of(trial_from_object(entry.obj), entry.obj)
        entry.unknown = unknown_fields(entry.obj)
        return search_from_object(entry.obj)

    async def _refuse(self, entry: Entry, reason: Reason, found: Sequence[str]) -> None:
        """Show that a manifest cannot be run; nothing else happens until another one is applied.

        What was observed of it before, by an installation that took it, stays, with the generation of that; one that
        has ended keeps all that is said of it.
        """
        if entry.has_ended:
            _log.warning("%s/%s has ended and could not be run here again: %s", entry.namespace, entry.name, found)
            return
        generation = entry.obj["metadata"].get("generation", 1)
        message = "; ".join(found)
        refused = Condition(type=ConditionType.ACCEPTED, status=ConditionStatus.FALSE, reason=reason, message="")
        refused = refused.model_copy(update={"message": message})
        before = conditions_of(entry.obj)
        earlier = (condition for condition in before if condition.type is not refused.type)
        conditions = (*observed(before, [refused], generation=generation, now=self._seat.clock()), *earlier)
        if conditions == before:
            return
        written = GraphSearchStatus(observed_generation=generation, conditions=conditions, state=reason)
        status = written.to_json()
        await self._write(entry, status)
        if not entry.is_alone:
            self._seat.telemetry.search_is(entry.namespace, entry.name, reason, entry.shown.trials)
        await self._seat.announcer.event(entry.obj, "Warning", reason, message)

    async def _turn(self, entry: Entry) -> float | None:
        world = entry.world
        assert world is not None
        for name in sorted(entry.missing):
            if await self._is_gone(entry):
                return 0.0
            await entry.recorded.restore(name)
            entry.missing.discard(name)
        if not entry.is_alone and entry.shown.facts is None:
            await self._record(entry, world.ledger.search)
        await world.turn(partial(self._record, entry), partial(self._pause, entry))
        not_made = str(world.not_made or "")
        if world.not_made and not_made != entry.not_made:
            await self._seat.announcer.event(entry.obj, "Warning", world.not_made.reason, not_made)
        entry.not_made = not_made
        if entry.is_alone:
            return world.next_look
        await self._show(entry, world)
        waits = (await self._outlive(entry), self._next(entry, world))
        return min((wait for wait in waits if wait is not None), default=None)

    async def _outlive(self, entry: Entry) -> float | None:
        """Delete a search that has ended ttlSecondsAfterFinished ago; seconds until then, None: it stays or is gone.

        What it has left in S3 stays. No installation has to be able to run it for this.
        """
        kept: int | None = entry.obj["spec"].get("ttlSecondsAfterFinished")
        ledger, ended_at = entry.recorded.ledger, entry.recorded.ledger.search.ended_at
        if kept is None or ended_at is None or ledger.open:
            return None
        if (left := ended_at + kept - self._seat.clock()) > 0:
            return left
        uid = entry.obj["metadata"]["uid"]
        await self._seat.client.delete(SEARCHES, entry.namespace, entry.name, uid=uid)
        return None

    async def _is_gone(self, entry: Entry) -> bool:
        """Whether the search itself was deleted, and its trials with it."""
        kind = TRIALS if entry.is_alone else SEARCHES
        try:
            there = await self._seat.client.get(kind, entry.namespace, entry.name)
        except NotFoundError:
            there = None
        metadata = there["metadata"] if there else {}
        entry.is_deleted = metadata.get("uid") != entry.obj["metadata"]["uid"] or "deletionTimestamp" in metadata
        return entry.is_deleted

    async def _record(self, entry: Entry, facts: SearchFacts) -> None:
        """Write the search's facts; of a trial applied by hand they follow from its own."""
        if entry.is_alone:
            return
        facts = entry.recorded.ledger.numbered(facts)
        await self._write(entry, {"facts": facts.to_json()})
        entry.shown = entry.shown.model_copy(update={"facts": facts})

    async def _pause(self, entry: Entry, message: str) -> None:
        if not entry.is_alone:
            patch = {"spec": {"desiredState": "Paused"}}
            entry.obj = await self._seat.client.patch(SEARCHES, entry.namespace, entry.name, patch)
            await self._settle(entry)
        await self._seat.announcer.event(entry.obj, "Warning", Reason.PAUSED, message)

    async def _show(self, entry: Entry, world: ClusterWorld) -> None:
        now, ended_at = self._seat.clock(), world.ledger.search.ended_at
        settled_down = ended_at is not None and not world.ledger.open
        entry.is_behind = now - entry.looked_at < _SHOWN_EVERY_SECONDS and not settled_down
        if entry.is_behind:
            return
        entry.looked_at = now
        facts = world.ledger.numbered(world.ledger.search)
        shown = search_status(
            world.settled,
            world.ledger,
            entry.shown,
            metrics=world.metrics,
            remarks=entry.remarks,
            root=jobs.place(world.settled, world.ledger.search, entry.namespace, self._seat.install).root,
            generation=entry.generation,
            now=now,
        ).model_copy(update={"facts": facts})
        # Also where nothing has changed since another process wrote it.
        self._seat.telemetry.search_is(entry.namespace, entry.name, shown.state, shown.trials)
        if not changed(entry.shown, shown):
            return
        await self._write(entry, search_status_to_wire(shown))
        if shown.state != entry.shown.state:
            failed = any(
                c.status is ConditionStatus.FALSE for c in shown.conditions if c.type is ConditionType.SUCCEEDED
            )
            message = facts.message or f"{shown.trials.done} of {shown.trials.created} trials have ended"
            await self._seat.announcer.event(entry.obj, "Warning" if failed else "Normal", shown.state, message)
        entry.shown = shown

    async def _write(self, entry: Entry, status: Object) -> None:
        kind = TRIALS if entry.is_alone else SEARCHES
        patch = {"metadata": {"resourceVersion": entry.obj["metadata"]["resourceVersion"]}, "status": status}
        client = self._seat.client
        try:
            entry.obj = await client.patch(kind, entry.namespace, entry.name, patch, subresource="status")
        except ConflictError:
            entry.obj = await client.get(kind, entry.namespace, entry.name)
            raise StaleError(entry.name) from None
        except NotFoundError:
            entry.is_deleted = True
            raise StaleError(entry.name) from None

    def _next(self, entry: Entry, world: ClusterWorld) -> float | None:
        """Seconds until another turn: for scores, for a status held back, for a deadline."""
        now, facts, spec = self._seat.clock(), world.ledger.search, world.settled.spec
        waits = [world.next_look] if world.next_look is not None else []
        if entry.is_behind:
            waits.append(max(0.0, entry.looked_at + _SHOWN_EVERY_SECONDS - now))
        if facts.ended_at is None and spec.budget.deadline_seconds is not None:
            waits.append(max(0.0, facts.started_at + spec.budget.deadline_seconds - now))
        return min(waits, default=None)
