"""How well the local world fills its workers, and how soon a trial trains.

Prints the time of a search with two workers against half the sum of its trials' times (run in the same minute), and
the time from a trial's start to its first step: warm (forked by the server) and cold (a process of its own).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from graphsearch.api import GraphTrial
from graphsearch.api.manifest import parse_manifest
from graphsearch.local import Folder, this_machine
from graphsearch.search.settled import settle
from graphsearch.search.specs import Place, trial_spec
from graphtrial.contract import SPEC_VARIABLE

_MANIFEST = """
apiVersion: graphsearch.io/v1alpha1
kind: GraphSearch
metadata: {name: bench}
spec:
  data: {dataset: digits, labelled: {count: 300}}
  space: {nodes: 3, targetModels: [resnet14], auxiliaryModels: [resnet14, resnet20], isolatedNodes: Random}
  training: {length: {epochs: 8}, batchSize: 32, augmentation: PadCrop}
  budget: {maxTrials: 24, parallelTrials: 2}
"""


def main() -> None:
    """Run the search and print the ratios."""
    with tempfile.TemporaryDirectory() as root:
        manifest = Path(root) / "bench.yaml"
        manifest.write_text(_MANIFEST)
        output = Path(root) / "run"
        started = time.time()
        command = [sys.executable, "-m", "graphsearch.cli", "run", str(manifest), "--output", str(output), "--plain"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        trials = list(Folder(output).ledger().trials.values())
        _print_fill(started, trials)
        _print_starts(output, trials)


def _print_fill(started: float, trials: list[GraphTrial]) -> None:
    attempts = [attempt for trial in trials for attempt in trial.status.attempts]
    first = min(attempt.started_at or 0.0 for attempt in attempts)
    last = max(attempt.ended_at or 0.0 for attempt in attempts)
    busy = sum(attempt.seconds for attempt in attempts)
    ratio = (last - first) / (busy / 2)
    verdict = "met" if ratio <= 1.15 else "MISSED"
    print(f"local world: {len(trials)} trials, {busy:.1f} s of trials in {last - first:.1f} s with two workers")
    print(f"  time / (sum of trial times / 2): {ratio:.3f} (target <= 1.15: {verdict})")
    print(f"  start-up until the first trial runs: {first - started:.1f} s on {len(this_machine().cpus)} cores")


def _print_starts(output: Path, trials: list[GraphTrial]) -> None:
    warm = sorted(_first_step(output / "trials" / str(trial.index) / "log.txt") for trial in trials)
    _verdict("warm", warm[len(warm) // 2], 3.0)
    cold = _cold(output)
    _verdict("cold", cold, 15.0)


def _verdict(name: str, seconds: float, target: float) -> None:
    verdict = "met" if seconds <= target else "MISSED"
    print(f"  start to first step, {name}: {seconds:.2f} s (target {target:g} s: {verdict})")


def _first_step(log: Path) -> float:
    match = re.search(r"first step after ([0-9.]+) s", log.read_text())
    assert match, f"{log} does not say when its first step was"
    return float(match[1])


def _cold(output: Path) -> float:
    started = time.monotonic()
    environment = {**os.environ, SPEC_VARIABLE: json.dumps(_cold_spec(output))}
    process = subprocess.Popen([sys.executable, "-m", "graphtrial"], env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "first step after" in line:
            seconds = time.monotonic() - started
            process.kill()
            process.wait()
            return seconds
    raise RuntimeError("the cold trial ended before its first step")


def _cold_spec(output: Path) -> dict[str, object]:
    folder = Folder(output)
    place = Place(root=f"{folder.uri}/cold", teachers=f"{folder.uri}/teachers", metrics_port=0)
    return trial_spec(settle(parse_manifest(_MANIFEST)), folder.facts(), folder.ledger().trials[0], place).to_json()


if __name__ == "__main__":
    main()
