"""Searches on the cluster and the same ones on this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml
from tests.integration.cluster.installation import Search, trials_of
from tests.local_runs import WITHOUT_UMAP

from e2e.installation import ROOT, Cluster
from graphsearch.api import Decision, GraphTrial, Outcome
from graphsearch.local import Folder
from graphsearch.search.ledger import Ledger
from graphtrial.contract import Purpose, TrialResult

SMALL: dict[str, Any] = {
    "space": {"nodes": 2, "auxiliaryModels": ["resnet8"], "isolatedNodes": "Random"},
    "training": {"length": {"epochs": 80}},
    "scheduler": {"asha": None},
    "budget": {"maxTrials": 4, "parallelTrials": 2},
    "comparison": None,
    "checkpoint": {"every": {"epochs": 1}},
}
"""What makes the example small: four graphs of two networks, without teachers that come first, all trained to the end,
a checkpoint each epoch; and long enough for something to happen meanwhile."""
LONGER: dict[str, Any] = {"budget": {"maxTrials": 6}}
"""Six of them, where more is to happen meanwhile; the first four are the same."""
ENDLESS: dict[str, Any] = {"training": {"length": {"epochs": 100_000}}, "budget": {"maxTrials": 2}}
"""Two trials that do not end by themselves while a test looks."""


def digits(cluster: Cluster, name: str, *changes: Mapping[str, Any]) -> dict[str, Any]:
    """The example's manifest with this cluster's bucket, CPUs enough for two trials, and changes of its spec.

    Trainers get one CPU each and no GPU: with a GPU limit they would look for CUDA.

    Args:
        cluster: On which it is to run.
        name: Of the search.
        changes: Merge patches (RFC 7386), the last one wins.
    """
    manifest = yaml.safe_load((ROOT / "examples/cluster/digits.yaml").read_text())
    manifest["metadata"]["name"] = name
    store = {"uri": f"s3://{cluster.bucket}", "endpoint": cluster.endpoint or None}
    cpus = {"resources": {"requests": {"cpu": "100m"}}}
    for change in ({"trainer": cpus, "checkpoint": store}, *changes):
        manifest["spec"] = _merged(manifest["spec"], change)
    return dict(manifest)


def _merged(old: Any, change: Any) -> Any:
    if not isinstance(change, Mapping):
        return change
    old = old if isinstance(old, Mapping) else {}
    whole = {key: _merged(old.get(key), value) for key, value in change.items() if value is not None}
    return {key: value for key, value in old.items() if key not in change} | whole


def start(cluster: Cluster, namespace: str, manifest: Mapping[str, Any]) -> Search:
    """Apply a manifest."""
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps(manifest))
    return Search(cluster, namespace, manifest["metadata"]["name"])


def run_here(manifest: Mapping[str, Any], folder: Path) -> Ledger:
    """Run a manifest with ``graphsearch run``, one core to each trial: a trainer's pod with one CPU has one thread."""
    file = folder / "search.yaml"
    file.write_text(yaml.safe_dump(dict(manifest)))
    program = [sys.executable, "-m", "graphsearch.cli", "run", file, "--plain", "--output", folder / "run"]
    cores = sorted(os.sched_getaffinity(0))[: manifest["spec"]["budget"]["parallelTrials"]]
    done = subprocess.run(  # noqa: S603
        program,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | WITHOUT_UMAP,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Folder(folder / "run").ledger()


def trained(search: Search | Ledger) -> list[GraphTrial]:
    """Every trial but the Report."""
    return [trial for trial in trials_of(search) if trial.spec.purpose is not Purpose.REPORT]


def judged(search: Search | Ledger) -> list[tuple[Purpose, Outcome | None, list[tuple[int, float, Decision]]]]:
    """What became of every trial: purpose, outcome, and each rung's score and decision."""
    return [
        (t.spec.purpose, t.status.outcome, [(rung.evaluation, rung.score, rung.decision) for rung in t.status.rungs])
        for t in trained(search)
    ]


def objects(cluster: Cluster, uri: str) -> dict[str, bytes]:
    """What lies below a URI of the bucket, by the rest of its key."""
    client, prefix = cluster.s3_client(), uri.removeprefix(f"s3://{cluster.bucket}/") + "/"
    whole = {key: client.get_object(Bucket=cluster.bucket, Key=key)["Body"].read() for key in _keys(cluster, prefix)}
    return {key.removeprefix(prefix): data for key, data in whole.items()}


def _keys(cluster: Cluster, prefix: str) -> list[str]:
    pages = cluster.s3_client().get_paginator("list_objects_v2").paginate(Bucket=cluster.bucket, Prefix=prefix)
    return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


def waiting(search: Search) -> list[tuple[str, str]]:
    """Why trials without an outcome wait: (reason, message)."""
    found = search.get("graphtrials")["items"]
    conditions = [condition for trial in found for condition in trial.get("status", {}).get("conditions", ())]
    return [(c["reason"], c.get("message", "")) for c in conditions if c["type"] == "Progressing"]


def evaluations(cluster: Cluster, search: Search) -> float:
    """How many evaluations its trainers have done together, as Prometheus knows."""
    series = f'graphtrial_evaluations_total{{namespace="{search.namespace}"}}'
    query = urlencode({"query": f"sum(max by (trial_uid) (max_over_time({series}[1h])))"})
    with urlopen(f"{cluster.prometheus_url}/api/v1/query?{query}", timeout=10) as answer:  # noqa: S310
        found = json.load(answer)["data"]["result"]
    return float(found[0]["value"][1]) if found else 0.0


def container_of(pod: Mapping[str, Any]) -> str:
    """The ID of its only container, as the node knows it."""
    (status,) = pod["status"]["containerStatuses"]
    return str(status["containerID"]).removeprefix("containerd://")


def running_pods(search: Search) -> list[tuple[str, str]]:
    """Of trainers whose container runs: the pod's name, such as ``s-t3-a1-x7k2p``, and the container's ID."""
    return [
        (pod["metadata"]["name"], state["containerID"].removeprefix("containerd://"))
        for pod in search.get("pods")["items"]
        for state in pod["status"].get("containerStatuses", ())
        if "running" in state["state"]
    ]


def saved_and_running(cluster: Cluster, search: Search) -> dict[int, str]:
    """Of trials whose trainer runs and that have left a checkpoint: the container's ID by the trial's index."""
    trials, index_of = _trials_key(search), re.compile(r"-t(\d+)-a")
    saved = _keys(cluster, f"{trials}/")
    running = {int(index_of.findall(pod)[-1]): container for pod, container in running_pods(search)}
    return {index: container for index, container in running.items() if f"{trials}/{index}/latest.json" in saved}


def resumed_at(cluster: Cluster, search: Search, index: int) -> int:
    """At which step the last attempt of a trial that has ended went on."""
    found = objects(cluster, f"s3://{cluster.bucket}/{_trials_key(search)}/{index}/reports")
    results = [TrialResult.model_validate_json(data) for name, data in found.items() if name.endswith(".json")]
    return max(results, key=lambda result: result.attempt).resumed_at


def _trials_key(search: Search) -> str:
    return f"{search.namespace}/{search.name}-{search.object['metadata']['uid'][:8]}/trials"
