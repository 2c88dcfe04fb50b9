"""Whole searches on this machine, through the program and in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from graphsearch.search.ledger import Ledger

QUICK = """
apiVersion: graphsearch.io/v1alpha1
kind: GraphSearch
metadata: {name: quick}
spec:
  data: {dataset: digits, labelled: {count: 120}}
  space: {nodes: 2, targetModels: [resnet8], auxiliaryModels: [resnet8]}
  training: {length: {epochs: 4}, batchSize: 20, learningRate: 0.05, augmentation: PadCrop}
  budget: {maxTrials: 4, parallelTrials: 1}
  checkpoint: {every: {steps: 5}}
  seed: 3
"""
"""Four graphs of two networks in a few seconds: two reach their end, two are stopped, one needs a teacher."""


WITHOUT_UMAP = {"PYTHONPATH": str(Path(__file__).parent / "without_umap")}
"""Hides the optional extra: each report with attention maps would compile it for a quarter of a minute."""


def start(manifest: Path, folder: Path, *arguments: str, with_umap: bool = False) -> subprocess.Popen[str]:
    """``graphsearch run``, with all that it says on its standard output."""
    command = [sys.executable, "-m", "graphsearch.cli", "run", str(manifest), "--output", str(folder), *arguments]
    environment = os.environ | ({} if with_umap else WITHOUT_UMAP)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


@contextmanager
def running(manifest: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A search to meddle with; where a test fails before it ends, it is killed, and its trials end with it."""
    process = start(manifest, folder, "--plain")
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for its end; its exit code and what it said, which is never a traceback."""
    said, _ = process.communicate()
    assert "Traceback" not in said, said
    return process.returncode, said


def run(manifest: Path, folder: Path, *arguments: str, with_umap: bool = False) -> tuple[int, str]:
    """From start to end, in plain lines."""
    return finish(start(manifest, folder, "--plain", *arguments, with_umap=with_umap))


def descendants(process: subprocess.Popen[str]) -> dict[str, list[int]]:
    """The server below a runner and the trials below the server, by /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    servers = children.get(process.pid, [])
    return {"server": servers, "trial": [trial for server in servers for trial in children.get(server, [])]}


def summary(ledger: Ledger) -> list[tuple[object, ...]]:
    """What must be equal between two runs: everything but times, attempts and processes."""
    return [
        (
            trial.name,
            trial.spec.model_dump(),
            [(rung.evaluation, rung.score, rung.rank, rung.of, rung.decision) for rung in trial.status.rungs],
            trial.status.outcome,
            trial.status.nodes,
        )
        for trial in sorted(ledger.trials.values(), key=lambda trial: trial.index)
    ]
