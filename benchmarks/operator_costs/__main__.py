"""``make bench-operator``: a search that begins empty, and one that has 19,000 finished trials, 1,000 live ones each.

Prints every figure of the operator beside its goal, what the control plane used beside it, its flags and the machine.
Trials last a minute on average, so that 200 at a time are about 200 a minute: what the Job controller's default flags
allow for (``--raised-flags``, ``--pace``: to see more). Nothing is asked of the API server meanwhile but four watches.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.operator_costs import figures
from benchmarks.operator_costs.figures import Slots
from benchmarks.operator_costs.measured import SCRAPE_SECONDS, Measured
from benchmarks.operator_costs.seeding import seed_finished
from benchmarks.operator_costs.witness import Witness, witnessing
from e2e.cluster.control_plane import ControlPlane, running_control_plane
from e2e.cluster.prometheus_server import running_prometheus, scrape_config
from e2e.cluster.simulated_node import Fault, Timing, running_simulated_node
from tests.integration.cluster.installation import ROOT, Operator, Search, apply
from tests.searches import SearchBuilder, a_search

RAISED = {
    "kube-controller-manager": ["--concurrent-job-syncs=20", "--kube-api-qps=500", "--kube-api-burst=1000"],
    "kube-scheduler": ["--kube-api-qps=500", "--kube-api-burst=1000"],
}
LONGEST_SECONDS = 3600


def the_search(trials: int, parallel: int) -> SearchBuilder:
    """Graphs of three nodes, stopped at 1 and 2 of 4 evaluations: two on average."""
    gates = ("Through", "Cutoff", "Linear", "Correct")
    return a_search().with_nodes(3, gates=gates).trials(trials).parallel(parallel).evaluations(4).halving()


@dataclass
class Used:
    """CPU and memory, of the operator and of what runs beside it."""

    pids: dict[str, int]
    began: dict[str, float] = field(default_factory=dict)
    busy: float = 0.0
    loads: list[float] = field(default_factory=list)

    def begin(self) -> None:
        """Count from now on."""
        self.began = {name: figures.cpu_seconds(pid) for name, pid in self.pids.items()}
        self.busy = figures.busy_seconds()

    def seconds(self) -> dict[str, float]:
        """Of CPU since the beginning; ``others``: of what is none of ours."""
        used = {name: figures.cpu_seconds(pid) - self.began[name] for name, pid in self.pids.items()}
        return used | {"others": max(0.0, figures.busy_seconds() - self.busy - sum(used.values()))}


def measure(options: argparse.Namespace, *, finished: int) -> bool:
    """One search with so many finished trials before it begins; whether all goals were met."""
    with ExitStack() as at_end:
        folder = Path(at_end.enter_context(tempfile.TemporaryDirectory()))
        for name in ("plane", "prometheus", "nodes", "checkpoints"):
            (folder / name).mkdir()
        flags = RAISED if options.raised_flags else {}
        plane = at_end.enter_context(running_control_plane(folder / "plane", flags=flags))
        plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        config = scrape_config(plane.kubeconfig, interval=f"{SCRAPE_SECONDS}s")
        prometheus = at_end.enter_context(running_prometheus(folder / "prometheus", config))
        node = at_end.enter_context(
            running_simulated_node(
                folder / "nodes",
                plane.kubeconfig,
                checkpoints=folder / "checkpoints",
                gpus=options.parallel,
                timing=Timing(pace=options.pace),
            )
        )
        # Equal trials would end in waves, faster than they end on average.
        for digit in range(10):
            node.fail(Fault(pods=f"*{digit}-a?-*", pace=options.pace * (0.55 + digit / 10), times=None))
        search = apply(plane, "default", the_search(options.trials + finished, options.parallel).wanted("Paused"))
        seed_finished(plane, search, finished)
        watched = ("--namespaces", "default", "--lease-namespace", "default", "--scrape-annotations")
        scraped = ("--scrape-interval", str(SCRAPE_SECONDS), "--fallback-after", "15")
        operator = Operator(plane, folder, *watched, *scraped, "--prometheus-url", prometheus.url)
        at_end.callback(lambda: operator.runs and operator.kill())
        operator.start().wait_until_ready()
        witness = at_end.enter_context(witnessing(plane.kubeconfig))
        pids = {name: server.pid or 0 for name, server in plane.servers.items()}
        pids |= {"operator": operator.pid, "simulated node": node.pid or 0, "this program": os.getpid()}
        pids |= {"prometheus": prometheus.pid or 0}
        return run(options, plane, search, witness, Used(pids), prometheus.url, operator.metrics, finished=finished)


def run(
    options: argparse.Namespace,
    plane: ControlPlane,
    search: Search,
    witness: Witness,
    used: Used,
    prometheus_url: str,
    metrics: Callable[[], str],
    *,
    finished: int,
) -> bool:
    """Run the search and print what it took; whether all goals were met."""
    operator = used.pids["operator"]
    filled = figures.memory_mib(operator)
    before = figures.counters(metrics(), plane.kubectl("get", "--raw", "/metrics"))
    used.begin()
    began = time.time()
    search.patch(desiredState="Running")
    wait_until(lambda: witness.over_at is not None, witness, used)
    seconds, spent = (witness.over_at or 0.0) - began, used.seconds()
    after = figures.counters(metrics(), plane.kubectl("get", "--raw", "/metrics"))
    before_report = figures.memory_mib(operator)
    wait_until(lambda: is_done(witness), witness, used)
    maps = json.loads(plane.kubectl("get", "configmaps", "-n", "default", "-o", "json"))["items"]
    largest = witness.largest | {"configmap": max(len(json.dumps(each)) for each in maps)}
    first = figures.first_samples(prometheus_url, witness.search["metadata"]["uid"])
    measured = Measured(
        trials=options.trials,
        parallel=options.parallel,
        finished=finished,
        flags=plane.flags,
        began=began,
        seconds=seconds,
        spent=spent,
        reporting=used.seconds()["operator"] - spent["operator"],
        memory=(filled, before_report, figures.memory_mib(operator)),
        counted={name: after[name] - before[name] for name in after},
        largest=largest,
        waits=figures.decision_seconds(witness, first),
        slots=Slots(witness, options.parallel, range(finished, finished + options.trials)),
        load=sum(used.loads) / max(1, len(used.loads)),
        gaps=witness.gaps,
    )
    lines = measured.goals()
    print("\n".join([*measured.head(), *lines, "  beside the goals:", *measured.beside()]), flush=True)
    return not any("MISSED" in each for each in lines)


def is_done(witness: Witness) -> bool:
    """Whether the report is there as well."""
    conditions = witness.search.get("status", {}).get("conditions", ())
    return any(each["type"] == "Succeeded" and each["status"] in ("True", "False") for each in conditions)


def wait_until(done, witness: Witness, used: Used) -> None:
    """Wait for what the search says of itself.

    Raises:
        SystemExit: If it takes an hour.
    """
    deadline, told = time.monotonic() + LONGEST_SECONDS, time.monotonic()
    while not done():
        witness.moved.clear()
        witness.moved.wait(1)
        used.loads.append(os.getloadavg()[0])
        if time.monotonic() > deadline:
            sys.exit(f"the search is not over after {LONGEST_SECONDS} s: {json.dumps(witness.search.get('status'))}")
        if time.monotonic() - told > 60:
            told = time.monotonic()
            print(f"... {json.dumps(witness.search.get('status', {}).get('trials', {}))}", file=sys.stderr, flush=True)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operator_costs", description=__doc__)
    parser.add_argument("--trials", type=int, default=1000, help="live ones of each search (1000)")
    parser.add_argument("--parallel", type=int, default=200, help="at a time (200)")
    parser.add_argument("--finished", type=int, nargs="*", default=[0, 19_000], help="before each search (0 19000)")
    parser.add_argument("--pace", type=float, default=30.0, help="seconds from evaluation to evaluation (30)")
    parser.add_argument("--raised-flags", action="store_true", help=f"of the control plane: {json.dumps(RAISED)}")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    met = [measure(options, finished=finished) for finished in options.finished]
    print("\nall goals met" if all(met) else "\ngoals were MISSED")


if __name__ == "__main__":
    main()
