"""The operator as a process against real servers, and searches as a user sees them."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from e2e.cluster.processes import ClusterError, free_ports
from e2e.cluster.simulated_node.trainer import score
from tests.searches import SearchBuilder

from graphsearch.api import API_VERSION, GraphTrial, Outcome, SearchFacts
from graphsearch.api.wire import search_from_object, search_status_from_object, trial_from_object
from graphsearch.search.ledger import Ledger
from graphsearch.search.replay import contradictions
from graphsearch.search.settled import Settled, settle
from graphsearch.search.simulator import Simulation
from graphtrial.contract import Purpose, graph_digest

ROOT = Path(__file__).parents[3]
WAIT_SECONDS = 240
_NETWORKS = itertools.count(random.randrange(56))


def free_network() -> str:
    """For a simulated node's pods, within 127.0.0.0/8; each of two workers has its own half."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 2
    return f"127.{16 + 56 * worker + next(_NETWORKS) % 56}.0.0/16"


@contextmanager
def a_namespace(control_plane, prefix: str) -> Iterator[str]:
    """A fresh one with its service account, deleted at the end; its name."""
    name = f"{prefix}-{uuid.uuid4().hex[:8]}"
    control_plane.kubectl("create", "namespace", name)
    try:
        control_plane.kubectl("wait", "-n", name, "--for=create", "serviceaccount/default", "--timeout=60s")
        yield name
    finally:
        # A namespace takes a while to go; what still waits for a node must not be bound to that of the next test.
        control_plane.kubectl("delete", "jobs,pods", "--all", "-n", name, "--wait=false")
        control_plane.kubectl("delete", "namespace", name, "--wait=false")


class Operator:
    """`graphsearch operator` as a process; it can be killed and started again."""

    def __init__(self, control_plane, folder: Path, *flags: str, name: str = "operator") -> None:
        (self.port,) = free_ports(1)
        self.log = folder / f"{name}.log"
        self._command = [
            *(sys.executable, "-m", "graphsearch.cli", "operator"),
            *("--kubeconfig", str(control_plane.kubeconfig), "--probe-port", str(self.port)),
            *("--lease-namespace", "default", "--trainer-image", "trainer:1"),
            *flags,
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.RLock()

    def start(self) -> Operator:
        """Start it; it must not run."""
        assert self._process is None
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
            )
        return self

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send a signal and wait for its end; the exit code."""
        with self._lock:
            assert self._process is not None
            self._process.send_signal(number)
            code = self._process.wait(60)
            self._process = None
            return code

    @contextmanager
    def running(self) -> Iterator[Operator]:
        """Started and ready; killed at the end, if it has not ended by itself."""
        self.start()
        try:
            yield self.wait_until_ready()
        finally:
            self.kill()

    @contextmanager
    def kept_running(self) -> Iterator[None]:
        """As a kubelet does: whenever it ends by itself it is started again."""
        over = threading.Event()

        def keep() -> None:
            while not over.wait(0.5):
                with self._lock:
                    if self._process is not None and self._process.poll() is not None:
                        self._process = None
                        self.start()

        keeper = threading.Thread(target=keep)
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join()

    @property
    def pid(self) -> int:
        """Of the process, which must run."""
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def metrics(self) -> str:
        """Its own exposition; OSError while it is too busy to answer."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=60) as answer:
            return answer.read().decode()

    def wait_until_ready(self) -> Operator:
        """Wait for /readyz."""
        wait_for(self._is_ready, lambda: self.log.read_text()[-4000:])
        return self

    def _is_ready(self) -> bool:
        if not self.runs:
            raise ClusterError(f"the operator has ended:\n{self.log.read_text()[-4000:]}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False


class Search:
    """One GraphSearch on the API server."""

    def __init__(self, control_plane, namespace: str, name: str) -> None:
        self.namespace, self.name = namespace, name
        self._control_plane = control_plane

    def kubectl(self, *arguments: str, **more: Any) -> str:
        """Kubectl in the search's namespace."""
        return self._control_plane.kubectl("-n", self.namespace, *arguments, **more)

    def get(self, kind: str, name: str = "", *more: str) -> dict[str, Any]:
        """An object, or a list of them."""
        return json.loads(self.kubectl("get", kind, *([name] if name else []), "-o", "json", *more))

    @property
    def object(self) -> dict[str, Any]:
        """The GraphSearch."""
        return self.get("graphsearches", self.name)

    @property
    def state(self) -> str:
        """The reason that says most."""
        return self.object.get("status", {}).get("state", "")

    def condition(self, type: str) -> tuple[str, str]:
        """(status, reason) of a condition; empty before it is there."""
        for condition in self.object.get("status", {}).get("conditions", ()):
            if condition["type"] == type:
                return condition["status"], condition["reason"]
        return "", ""

    @property
    def trials(self) -> list[GraphTrial]:
        """Its trials, by index."""
        found = [
            trial_from_object(obj)
            for obj in self.get("graphtrials")["items"]
            if obj["spec"].get("searchRef") == self.name
        ]
        return sorted(found, key=lambda trial: trial.index)

    @property
    def settled(self) -> Settled:
        """Its manifest, settled."""
        return settle(search_from_object(self.object), reports=True)

    @property
    def ledger(self) -> Ledger:
        """Its facts."""
        facts = search_status_from_object(self.object).facts
        assert isinstance(facts, SearchFacts)
        ledger = Ledger(facts)
        for trial in self.trials:
            ledger.put(trial)
        return ledger

    def wait(self, condition: str = "Succeeded", seconds: float = WAIT_SECONDS) -> Search:
        """Wait until a condition is decided."""
        wait_for(lambda: self.condition(condition)[0] in ("True", "False"), self.describe, seconds)
        return self

    def describe(self) -> str:
        """For a failed test."""
        lines = [yaml.safe_dump(self.object.get("status", {}))]
        lines.append(self.kubectl("get", "graphtrials,jobs,pods"))
        lines.append(self.kubectl("get", "events", "--sort-by=.lastTimestamp")[-3000:])
        return "\n".join(lines)

    def patch(self, **spec: Any) -> Search:
        """Change fields of the specification."""
        self.kubectl("patch", "graphsearches", self.name, "--type=merge", "-p", json.dumps({"spec": spec}))
        return self


def apply(control_plane, namespace: str, search: SearchBuilder, name: str = "s") -> Search:
    """Apply a GraphSearch whose trials ask for a GPU."""
    trainer = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
    spec = {"trainer": trainer, "checkpoint": {"uri": "s3://searches"}} | search.spec
    manifest = {"apiVersion": API_VERSION, "kind": "GraphSearch", "metadata": {"name": name, "namespace": namespace}}
    control_plane.kubectl("apply", "-f", "-", input=json.dumps(manifest | {"spec": spec}))
    return Search(control_plane, namespace, name)


def wait_for(done, describe=lambda: "", seconds: float = WAIT_SECONDS) -> None:
    """Poll until something is true; ``done`` may raise OSError while nobody answers.

    Raises:
        AssertionError: With a description, if it does not come true in time.
    """
    deadline, silence = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            if done():
                return
        except OSError as error:
            silence = error
        time.sleep(0.2)
    raise AssertionError(f"not after {seconds:g} s:\n{describe()}") from silence


def assert_sound(search: Search) -> None:
    """No trial is lost, doubled or judged otherwise than its facts say."""
    ledger, settled = search.ledger, search.settled
    assert contradictions(settled, ledger.trials.values()) == []
    assert sorted(ledger.trials) == list(range(len(ledger.trials)))
    for trial in ledger.trials.values():
        numbers = [attempt.number for attempt in trial.status.attempts]
        assert numbers == list(range(1, len(numbers) + 1)), trial.name
        assert all(attempt.end for attempt in trial.status.attempts) or not trial.is_ended, trial.name


def undisturbed(search: Search) -> Ledger:
    """The facts of the same search in the simulated world, where nothing disturbs it (one trial at a time)."""
    return Simulation(replace(search.settled, reports=False), true_score).run()


def true_score(trial: GraphTrial, evaluation: int) -> float:
    """What a simulated node's trainer measures, whatever happened to it before."""
    return score(trial.spec.seed, graph_digest(trial.spec.graph), evaluation)


def assert_scores_are_true(search: Search) -> None:
    """Every recorded score is the one that an undisturbed run of its trial has."""
    for trial in search.trials:
        found = {rung.evaluation: rung.score for rung in trial.status.rungs}
        assert found == {evaluation: true_score(trial, evaluation) for evaluation in found}, trial.name


def scores(search: Search | Ledger) -> dict[int, list[tuple[int, float]]]:
    """Every recorded score of the Search trials, by index: (evaluation, score)."""
    return {
        trial.index: [(rung.evaluation, rung.score) for rung in trial.status.rungs]
        for trial in trials_of(search)
        if trial.spec.purpose is Purpose.SEARCH
    }


def trials_of(facts: Search | Ledger) -> list[GraphTrial]:
    """By index."""
    return facts.trials if isinstance(facts, Search) else [facts.trials[index] for index in sorted(facts.trials)]


def ranking(search: Search | Ledger) -> list[int]:
    """Indexes of the Search trials that reached their end, best first."""
    done = [t for t in trials_of(search) if t.spec.purpose is Purpose.SEARCH and t.status.outcome is Outcome.SUCCEEDED]
    return [trial.index for trial in sorted(done, key=lambda trial: (-(trial.status.score or 0.0), trial.index))]


def seed_of_chaos() -> int:
    """The seed of a chaos test, printed so that a failure can be played again with GRAPHSEARCH_CHAOS_SEED."""
    seed = int(os.environ.get("GRAPHSEARCH_CHAOS_SEED") or random.randrange(2**32))
    print(f"GRAPHSEARCH_CHAOS_SEED={seed}")
    return seed
