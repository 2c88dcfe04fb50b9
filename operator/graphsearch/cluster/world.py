"""One search on a cluster: gather, plan, record, carry out (design 2, 6).

A turn is level-triggered: it looks at what is there and does what is missing, whatever woke it. Facts are written
before acts. It must not know Kopf, files or storage, nor any other search.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from graphsearch.api import (
    Attempt,
    ConditionStatus,
    EventReason,
    GraphTrial,
    GraphTrialObjectStatus,
    MetricsReason,
    SearchFacts,
)
from graphsearch.api import names as n
from graphsearch.api.wire import Object
from graphsearch.cluster import jobs, report_job
from graphsearch.cluster.children import Children
from graphsearch.cluster.client import CONFIG_MAPS, JOBS, Client, ConflictError, ForbiddenError, InvalidError
from graphsearch.cluster.install import Install
from graphsearch.cluster.lanes import lanes, side_by_side
from graphsearch.cluster.ownership import is_owned, owner_of
from graphsearch.cluster.pods import LivePod, Seen, Waiting, has_told, look, refusal, too_late
from graphsearch.cluster.reading import Reader
from graphsearch.cluster.recorded import NotMadeError, Recorded
from graphsearch.cluster.remarks import Remarks
from graphsearch.cluster.showing import aspect, trial_status
from graphsearch.cluster.telemetry import Announcer, Telemetry
from graphsearch.cluster.telling import Telling
from graphsearch.cluster.upkeep import superfluous_jobs
from graphsearch.search.actions import (
    Action,
    Ended,
    Observation,
    Pause,
    Record,
    RecordSearch,
    Report,
    Running,
    Snapshot,
    Start,
    Stop,
)
from graphsearch.search.ledger import Ledger
from graphsearch.search.planner import plan
from graphsearch.search.settled import Settled
from graphsearch.search.specs import trial_spec
from graphtrial.contract import ExitCode, Purpose

_log = logging.getLogger(__name__)

Key = tuple[int, int]
"""(index, attempt)."""

_POLL_SECONDS = 0.25
"""Between two looks at the scores of running trials."""
_WAIT_SECONDS = 1.0
"""Between two looks while attempts wait to run: deadlines pass without an event."""
_REFUSED_SECONDS = 5.0
"""Between two tries to make what the API server refuses, or whose name is taken."""


@dataclass(frozen=True)
class Refused:
    """What the API server last said of a Job that it does not let be made, and since when it has."""

    since: float
    tried_at: float
    waiting: Waiting


@dataclass(frozen=True)
class Seat:
    """What a world needs of the installation."""

    client: Client
    install: Install
    reader: Reader
    telemetry: Telemetry
    announcer: Announcer
    clock: Callable[[], float] = time.time


class ClusterWorld:
    """The world of one search; ``settled`` is set anew when its manifest changes."""

    def __init__(self, seat: Seat, recorded: Recorded, settled: Settled, namespace: str) -> None:
        self.settled = settled
        self.recorded = recorded
        self.children = Children(seat.client, namespace, recorded.ledger.search.uid)
        self.metrics: tuple[ConditionStatus, MetricsReason, str] | None = None
        """Whether scores can be read, and from where; None before anything ran."""
        self.not_made: NotMadeError | None = None
        """What could not be made at the last try."""
        self._no_trials_before = -math.inf
        self._seat = seat
        self._namespace = namespace
        self._now = max(seat.clock(), recorded.ledger.last_time)
        self._observed: dict[Key, Observation] = {}
        self._reports: list[Report] = []
        self._seen: dict[Key, Seen] = {}
        self._telling = Telling(seat.clock)
        self._refused: dict[Key, Refused] = {}
        """Attempts whose Job the API server would not make."""
        self._remarks = Remarks(self._object_of)
        self._may_say_why = False
        """Whether the last turn heard why an attempt waits, which the next one shows."""
        self._asked: set[Key] = set()
        """Attempts that were asked to save and stop."""
        self._first_seen: dict[tuple[int, int], float] = {}
        """(index, evaluation): when a score was first seen."""

    @property
    def ledger(self) -> Ledger:
        """The search's facts."""
        return self.recorded.ledger

    @property
    def next_look(self) -> float | None:
        """Seconds until another turn is worth it; None: not before something is heard."""
        if self._live() or self._may_say_why:
            return _POLL_SECONDS
        if self.ledger.running:
            return _WAIT_SECONDS
        return _REFUSED_SECONDS if self.not_made else None

    async def turn(
        self,
        record_search: Callable[[SearchFacts], Awaitable[None]],
        pause: Callable[[str], Awaitable[None]],
    ) -> None:
        """Gather, then plan and carry out until every fact that follows is recorded and acted upon; then tidy up.

        Args:
            record_search: Writes the search's own facts.
            pause: Sets desiredState to Paused, and says why.

        Raises:
            StaleError: If somebody else has written; another turn begins from what stands there.
            ApiError: If the API server cannot be asked or refuses.
        """
        await self._gather()
        if self._seat.clock() >= self._no_trials_before:
            self.not_made = None
        facts_left = True
        while facts_left:
            actions = plan(self._snapshot())
            facts_left = any(isinstance(action, Record | RecordSearch) for action in actions)
            carry_out = partial(self._carry_out, record_search=record_search, pause=pause)
            await side_by_side([partial(carry_out, lane) for lane in lanes(actions, self.ledger)])
        # What only explains comes after what decides; the next look shows it.
        self._may_say_why = await self.children.ask_why(self._seat.clock())
        await self._show_running()
        await self._remove_jobs()
        await side_by_side([partial(self._seat.announcer.event, *remark) for remark in self._remarks.take()])

    def _snapshot(self) -> Snapshot:
        self._now = max(math.nextafter(self._now, math.inf), self._seat.clock())
        reports = tuple(self._reports)
        return Snapshot(self.settled, self.ledger, self._now, self._observed, reports, may_create=not self.not_made)

    async def _gather(self) -> None:
        now = self._seat.clock()
        moved = await self.children.refresh(now)
        self._observed.clear()
        self._reports = []
        for index, attempt in self.ledger.running.items():
            key, name = (index, attempt.number), n.attempt_name(self.ledger.trials[index].name, attempt.number)
            known = self._seen.get(key)
            # What runs goes on running until something is heard of it.
            is_steady = known is not None and known.pod is not None and key not in self._asked and name not in moved
            self._take(key, known if known is not None and is_steady else self._look(key, name, attempt, now))
        if live := self._live():
            await self._read_scores(live)

    def _look(self, key: Key, name: str, attempt: Attempt, now: float) -> Seen:
        job, pods = self.children.jobs.get(name), self.children.pods(name)
        if job is not None and not is_owned(job["metadata"], self.recorded.metadata(key[0])["uid"]):
            job = None
        asked = key in self._asked or (job is not None and "deletionTimestamp" in job["metadata"])
        seen = look(
            job,
            pods,
            events=self.children.announced.get(name, ()),
            asked=asked,
            now=now,
            deadline=self.settled.spec.trainer.start_deadline_seconds,
            metrics_port=self._seat.install.metrics_port,
        )
        if job is None and all(pod.get("gone") for pod in pods):
            return self._gone(key, attempt, seen if has_told(pods) or not asked else Seen(), asked, now)
        return seen

    def _gone(self, key: Key, attempt: Attempt, seen: Seen, asked: bool, now: float) -> Seen:
        """Neither Job nor pod is there: how it ended is known from its last words, or from having been asked to."""
        if isinstance(seen.observation, Ended):
            return seen
        seconds = max(0.0, now - attempt.started_at) if attempt.started_at else 0.0
        if asked:
            return replace(seen, observation=Ended(ExitCode.STOPPED, seconds))
        if attempt.identity:
            return replace(seen, observation=Ended(None, seconds, "its Job and pod are gone"))
        if (refused := self._refused.get(key)) is None:
            return Seen()
        deadline = self.settled.spec.trainer.start_deadline_seconds
        return Seen(too_late(refused.waiting, refused.since, now, deadline), refused.waiting)

    def _take(self, key: Key, seen: Seen) -> None:
        self._seen[key] = seen
        index, attempt = key
        observation = seen.observation
        if isinstance(observation, Ended):
            root = jobs.place(self.settled, self.ledger.search, self._namespace, self._seat.install).root
            observation = replace(observation, checkpoint=f"{root}/trials/{index}")
            self._reports += [Report(index, rung, score, attempt, "Termination") for rung, score in seen.reports]
        elif isinstance(observation, Running) and not observation.identity:
            known = self.ledger.running[index]
            observation = Running(known.identity, observation.started_at) if known.identity else None
        if observation is not None:
            self._observed[key] = observation
        if seen.pod is not None:
            self._remarks.image(index, attempt, seen.pod.image_id, self.recorded.shown[index].image_id)

    def _live(self) -> dict[Key, LivePod]:
        return {
            key: seen.pod
            for key, seen in self._seen.items()
            if seen.pod is not None and isinstance(self._observed.get(key), Running) and key not in self._asked
        }

    async def _read_scores(self, live: dict[Key, LivePod]) -> None:
        uid, metrics = self.ledger.search.uid, self.settled.spec.metrics
        reading = await self._seat.reader.read(self._namespace, uid, live, metrics=metrics)
        self.metrics = (reading.status, reading.reason, reading.message)
        now = self._seat.clock()
        for report in reading.reports:
            rungs = self.ledger.open[report.index].status.rungs
            # A pod shows its scores until it ends; what is recorded is not judged again at every look.
            if not rungs or rungs[-1].evaluation < report.evaluation:
                self._first_seen.setdefault((report.index, report.evaluation), now)
                self._reports.append(report)
        self._telling.heard(reading.evaluations)
        self._remarks.conflicts(reading.conflicts)

    async def _carry_out(
        self,
        lane: list[Action],
        *,
        record_search: Callable[[SearchFacts], Awaitable[None]],
        pause: Callable[[str], Awaitable[None]],
    ) -> None:
        for action in lane:
            try:
                match action:
                    case RecordSearch(facts):
                        await record_search(facts)
                        self.ledger.search = facts
                    case Pause(message):
                        await pause(message)
                    case _:
                        await self._do(action)
            except NotMadeError as error:
                self.not_made = error
                if isinstance(action, Record):
                    # Trials are made in the order of their indexes; what is there goes on meanwhile.
                    self._no_trials_before = self._seat.clock() + _REFUSED_SECONDS
                return

    async def _do(self, action: Action) -> None:
        match action:
            case Record(trial) if trial.index not in self.ledger.trials:
                await self.recorded.create(trial, jobs.labels_of(self.settled, self.ledger.search, trial))
            case Record(trial):
                await self._record(trial)
            case Start(trial):
                await self._start(trial)
            case Stop(trial, _):
                await self._stop(trial)

    async def _record(self, trial: GraphTrial) -> None:
        known = len(self.ledger.trials[trial.index].status.rungs)
        attempt, owner = trial.attempt, self._object_of(trial.index)
        await self.recorded.write(trial, self._shown(trial))
        for rung in trial.status.rungs[known:]:
            first = self._first_seen.pop((trial.index, rung.evaluation), None)
            latency = None if first is None else self._seat.clock() - first
            self._seat.telemetry.decided(rung.decision.value, latency)
        if attempt is not None and attempt.is_open:
            key = (trial.index, attempt.number)
            self._telling.told(key, self._seen.get(key))
        elif attempt is not None:
            self._forget((trial.index, attempt.number))
        if trial.is_ended:
            assert trial.status.outcome is not None
            self._telling.end(trial.index)
            self._remarks.ended(owner, trial.index, trial.status.outcome, trial.status.message or trial.name)

    def _forget(self, key: Key) -> None:
        self._observed.pop(key, None)
        self._seen.pop(key, None)
        self._telling.close(key)
        self._refused.pop(key, None)
        self._asked.discard(key)

    def _shown(self, trial: GraphTrial) -> GraphTrialObjectStatus:
        attempt = trial.attempt
        return trial_status(
            trial,
            self._seen.get((trial.index, attempt.number)) if attempt and attempt.is_open else None,
            self.recorded.shown[trial.index],
            evaluation=self._telling.reached(trial.index),
            epochs=self.settled.training.evaluate_every.epochs,
            generation=self.recorded.metadata(trial.index).get("generation", 1),
            now=self._now,
        )

    async def _start(self, trial: GraphTrial) -> None:
        assert trial.attempt is not None
        key, now = (trial.index, trial.attempt.number), self._seat.clock()
        refused = self._refused.get(key)
        if refused is not None and now - refused.tried_at < _REFUSED_SECONDS:
            return
        owner = owner_of(self._object_of(trial.index))
        if trial.spec.purpose is Purpose.REPORT:
            # That of a large search takes seconds to pack, in which the Lease must be renewed.
            objects = await asyncio.to_thread(self._objects_of, trial, owner)
        else:
            objects = self._objects_of(trial, owner)
        try:
            made = [await self._make(obj, owner["uid"]) for obj in objects][-1]
        except (ForbiddenError, InvalidError) as error:
            # A quota or a policy concerns this attempt and not the rest of the turn.
            since = refused.since if refused else now
            self._refused[key] = Refused(since, now, refusal(str(error)))
            self._seen[key] = Seen(waiting=self._refused[key].waiting)
            return
        self._refused.pop(key, None)
        self.children.expect(made)
        self._observed[key] = Running(made["metadata"]["uid"], None)

    def _objects_of(self, trial: GraphTrial, owner: Object) -> list[Object]:
        """What an attempt consists of, its Job last."""
        settled, facts, install = self.settled, self.ledger.search, self._seat.install
        labels = jobs.labels_of(settled, facts, trial)
        place = jobs.place(settled, facts, self._namespace, install)
        if trial.spec.purpose is Purpose.REPORT:
            trials = (self.ledger.trials[index] for index in sorted(self.ledger.trials))
            return report_job.report_objects(
                settled, facts, trials, trial, namespace=self._namespace, labels=labels, owner=owner, install=install
            )
        spec = trial_spec(settled, facts, trial, place)
        return [
            jobs.attempt_job(
                settled, trial, spec, namespace=self._namespace, labels=labels, owner=owner, install=install
            )
        ]

    async def _make(self, obj: Object, owner: str) -> Object:
        kind = JOBS if obj["kind"] == "Job" else CONFIG_MAPS
        try:
            return await self._seat.client.create(obj)
        except ConflictError:
            there = await self._seat.client.get(kind, self._namespace, obj["metadata"]["name"])
            if is_owned(there["metadata"], owner):
                return there
            message = (
                f"{obj['kind']} {obj['metadata']['name']} belongs to somebody else; delete it, and the trial starts"
            )
            raise NotMadeError(EventReason.NAME_TAKEN, message) from None

    async def _stop(self, trial: GraphTrial) -> None:
        assert trial.attempt is not None
        key = (trial.index, trial.attempt.number)
        name = n.attempt_name(trial.name, trial.attempt.number)
        if key in self._asked:
            return
        if name in self.children.jobs or self.children.pods(name):
            await self.children.delete(name)
        elif not trial.attempt.identity:
            self._observed[key] = Ended(None, message="never started")
        self._asked.add(key)

    async def _show_running(self) -> None:
        """Write why attempts wait, where that has changed, and now and then how far trials are."""
        for index, attempt in list(self.ledger.running.items()):
            key, trial, before = (index, attempt.number), self.ledger.trials[index], self.recorded.shown[index]
            has_news = self._telling.has_news(key, self._seen.get(key))
            has_moved = self._telling.has_moved(index, before.evaluation)
            if not has_news and not has_moved:
                continue
            shown = self._shown(trial)
            if has_moved or aspect(shown) != aspect(before):
                await self.recorded.write(trial, shown)

    async def _remove_jobs(self) -> None:
        open_jobs = {
            n.attempt_name(self.ledger.trials[index].name, attempt.number)
            for index, attempt in self.ledger.running.items()
        }
        self.children.forget_gone(open_jobs)
        closed = [job for name, job in self.children.jobs.items() if name not in open_jobs]
        settled = [job for job in closed if not self.children.settling(job)]
        superfluous = superfluous_jobs(settled, open_jobs, self._seat.clock())
        await side_by_side([partial(self.children.delete, job["metadata"]["name"]) for job in superfluous])

    def _object_of(self, index: int) -> Object:
        """Enough of a trial's object to refer to it."""
        metadata = self.recorded.metadata(index) | {"namespace": self._namespace}
        return {"apiVersion": f"{n.GROUP}/{n.VERSION}", "kind": "GraphTrial", "metadata": metadata}
