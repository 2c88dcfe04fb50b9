"""What the operator costs: real API server, scheduler and controller manager; pods are played by simulated nodes.

``make bench-operator`` prints CPU per trial, trials a minute, memory, how long a decision and a free slot take, and
what API server and etcd used beside it, for a search that begins empty and for one with many finished trials. Goals
that are missed are printed as missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import statistics
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from e2e.cluster.control_plane import running_control_plane
from e2e.cluster.prometheus_server import running_prometheus, scrape_config
from e2e.cluster.simulated_node import Timing, running_simulated_node
from tests.integration.cluster.installation import ROOT, Operator, apply, wait_for
from tests.searches import SearchBuilder, a_search

from graphsearch.api import Attempt, AttemptEnd, Decision, GraphTrial, GraphTrialStatus, Outcome, Rung
from graphsearch.api import names as n
from graphsearch.api.wire import search_from_object, trial_object, trial_status_to_wire
from graphsearch.cluster.client import TRIALS, Client
from graphsearch.cluster.recorded import owner_of
from graphsearch.search.settled import settle
from graphsearch.search.stages import search_trial
from graphtrial.contract import Purpose

FLAGS = {
    "kube-controller-manager": ["--concurrent-job-syncs=20", "--kube-api-qps=500", "--kube-api-burst=1000"],
    "kube-scheduler": ["--kube-api-qps=500", "--kube-api-burst=1000"],
}
_TICKS = os.sysconf("SC_CLK_TCK")
_AT_A_TIME = 32


def the_search(trials: int, parallel: int) -> SearchBuilder:
    """Graphs of three nodes, stopped at 1, 2 and 4 of 8 evaluations."""
    gates = ("Through", "Cutoff", "Linear", "Correct")
    return a_search().with_nodes(3, gates=gates).trials(trials).parallel(parallel).halving()


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_mib(pid: int) -> float:
    """Memory that a process holds."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def decision_seconds(prometheus_url: str, trials: list[GraphTrial], search_uid: str) -> list[float]:
    """From the first sample of a score in Prometheus to the decision on it, for each that came from there."""
    query = urllib.parse.urlencode({"query": f'graphtrial_rung_score{{search_uid="{search_uid}"}}[2h]'})
    with urllib.request.urlopen(f"{prometheus_url}/api/v1/query?{query}", timeout=60) as answer:
        series = json.load(answer)["data"]["result"]
    first: dict[tuple[str, int], float] = {}
    for each in series:
        key = (each["metric"]["trial_uid"], int(each["metric"]["rung"]))
        first[key] = min(first.get(key, math.inf), each["values"][0][0])
    return [
        rung.time - first[key]
        for trial in trials
        for rung in trial.status.rungs
        if rung.source == "Prometheus" and (key := (f"{search_uid}-t{trial.index}", rung.evaluation)) in first
    ]


async def seed_finished(control_plane, search, count: int) -> None:
    """Make finished trials in bulk, each stopped at its first rung, as the operator would have left them."""
    obj = search.object
    settled = settle(search_from_object(obj), reports=True)
    places = asyncio.Semaphore(_AT_A_TIME)
    async with Client.connect(str(control_plane.kubeconfig)) as client:

        async def make(index: int) -> None:
            async with places:
                trial = stopped(search_trial(settled, index))
                labels = {n.SEARCH_UID_LABEL: obj["metadata"]["uid"], n.STATE_LABEL: n.FINISHED}
                await client.create(trial_object(trial, search.namespace, labels, owner_of(obj)))
                patch = {"status": trial_status_to_wire(trial.status)}
                await client.patch(TRIALS, search.namespace, trial.name, patch, subresource="status")

        await asyncio.gather(*(make(index) for index in range(count)))


def stopped(trial: GraphTrial) -> GraphTrial:
    """A trial that its first rung has stopped."""
    now = 1.7e9 + trial.index
    attempt = Attempt(
        number=1, identity="x" * 36, started_at=now, ended_at=now + 9, end=AttemptEnd.SAVED, exit_code=143, seconds=9.0
    )
    score = 0.1 + (trial.index % 97) / 1000
    rung = Rung(evaluation=1, score=score, rank=9, of=10, decision=Decision.STOP, source="Prometheus", time=now + 5)
    status = GraphTrialStatus(
        attempts=(attempt,),
        rungs=(rung,),
        outcome=Outcome.STOPPED,
        message="rank 9 of 10 at evaluation 1",
        ended_at=now,
    )
    return trial.model_copy(update={"status": status})


def slot_idle(trials: list[GraphTrial], parallel: int) -> list[float]:
    """Seconds between the recorded end of an attempt and the start of the container that took its place."""
    attempts = [t.status.attempts[0] for t in trials if t.spec.purpose is Purpose.SEARCH and t.status.attempts]
    live = [attempt for attempt in attempts if attempt.identity != "x" * 36 and attempt.started_at and attempt.ended_at]
    starts = sorted(attempt.started_at for attempt in live)[parallel:]
    ends = sorted(attempt.ended_at for attempt in live)
    # A container's start is known in whole seconds.
    return [max(0.0, start - end) for start, end in zip(starts, ends, strict=False)]


def verdict(value: float, goal: float) -> str:
    """Whether a goal was met."""
    return "met" if value <= goal else "MISSED"


def measure(options: argparse.Namespace, *, finished: int) -> None:
    """One search with so many finished trials before it begins."""
    with ExitStack() as at_end:
        folder = Path(at_end.enter_context(tempfile.TemporaryDirectory()))
        for name in ("plane", "prometheus", "nodes", "checkpoints"):
            (folder / name).mkdir()
        flags = {} if options.default_flags else FLAGS
        plane = at_end.enter_context(running_control_plane(folder / "plane", flags=flags))
        plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        config = scrape_config(plane.kubeconfig, interval="1s")
        prometheus = at_end.enter_context(running_prometheus(folder / "prometheus", config))
        at_end.enter_context(
            running_simulated_node(
                folder / "nodes",
                plane.kubeconfig,
                checkpoints=folder / "checkpoints",
                gpus=options.parallel,
                timing=Timing(pace=options.pace),
            )
        )
        manifest = the_search(options.trials + finished, options.parallel)
        paused = manifest.wanted("Paused")
        search = apply(plane, "default", paused)
        asyncio.run(seed_finished(plane, search, finished))
        operator = Operator(
            plane,
            folder,
            *("--namespaces", "default", "--lease-namespace", "default", "--scrape-annotations"),
            *("--scrape-interval", "1", "--prometheus-url", prometheus.url),
        )
        at_end.callback(lambda: operator.runs and operator.kill())
        operator.start().wait_until_ready()
        report(options, plane, operator, search, prometheus.url, finished=finished)


def report(
    options: argparse.Namespace, plane, operator: Operator, search, prometheus_url: str, *, finished: int
) -> None:
    """Run the search and print what it took."""
    pids = {name: plane.servers[name].pid for name in ("kube-apiserver", "etcd", "kube-controller-manager")}
    filled = resident_mib(operator.pid)
    before = {name: cpu_seconds(pid) for name, pid in {**pids, "operator": operator.pid}.items()}
    began = time.monotonic()
    search.patch(desiredState="Running")
    highest = 0.0

    def over() -> bool:
        nonlocal highest
        highest = max(highest, resident_mib(operator.pid))
        time.sleep(1)
        return search.condition("Succeeded")[0] in ("True", "False")

    wait_for(over, search.describe, 3600)
    seconds = time.monotonic() - began
    used = {name: cpu_seconds(pid) - before[name] for name, pid in {**pids, "operator": operator.pid}.items()}
    trials = search.trials
    idle = slot_idle(trials, options.parallel)
    waits = decision_seconds(prometheus_url, trials, search.object["metadata"]["uid"])
    largest = max(len(json.dumps(obj)) for obj in search.get("graphtrials")["items"])
    per_trial = 1000 * used["operator"] / options.trials
    memory = 150 + 25 * options.parallel / 1000 + 3 * (finished + options.trials) / 1000
    p50, p99 = (statistics.quantiles(waits, n=100)[at - 1] if len(waits) > 1 else math.nan for at in (50, 99))
    p95 = statistics.quantiles(idle, n=20)[18] if len(idle) > 1 else math.nan
    print(f"\n{options.trials} trials, {options.parallel} at a time, after {finished} finished ones")
    print(f"flags of the control plane: {'default' if options.default_flags else json.dumps(FLAGS)}")
    print(f"wall clock               {seconds:8.0f} s   {60 * options.trials / seconds:.0f} trials a minute")
    print(f"operator, CPU per trial  {per_trial:8.1f} ms  goal 60: {verdict(per_trial, 60)}")
    print(f"operator, memory         {highest:8.0f} MiB goal {memory:.0f}: {verdict(highest, memory)}")
    print(f"  of which at the start  {filled:8.0f} MiB")
    print(f"largest GraphTrial       {largest / 1024:8.1f} KiB goal 12: {verdict(largest / 1024, 12)}")
    print(
        f"score to decision, p50   {p50:8.2f} s   goal 0.5: {verdict(p50, 0.5)} (bucket's end; one scrape on top: 1 s)"
    )
    print(f"score to decision, p99   {p99:8.2f} s   goal 2: {verdict(p99, 2)}")
    print(f"slot idle, p95           {p95:8.1f} s   goal 3: {verdict(p95, 3)} (starts are in whole seconds)")
    for name in pids:
        print(f"{name:24} {1000 * used[name] / options.trials:8.1f} ms of CPU per trial")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--parallel", type=int, default=200)
    parser.add_argument("--finished", type=int, nargs="*", default=[0, 19_000])
    parser.add_argument("--pace", type=float, default=1.0, help="seconds from evaluation to evaluation")
    parser.add_argument("--default-flags", action="store_true", help="of controller manager and scheduler")
    options = parser.parse_args()
    for finished in options.finished:
        measure(options, finished=finished)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
