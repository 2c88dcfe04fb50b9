"""A whole search on one machine whose winning networks are distilled into one, which then runs on its own (spec 9)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
from tests.local_runs import run

from graphsearch.api import Outcome, Reason
from graphsearch.local import Folder
from graphsearch.search.compression import result_of, tries
from graphsearch.search.ledger import Ledger
from graphtrial.contract import Purpose, Split

_MANIFEST = """
apiVersion: graphsearch.io/v1alpha1
kind: GraphSearch
metadata: {name: small}
spec:
  objective: {scoreOf: Ensemble}
  data: {dataset: digits, labelled: {count: 120}}
  space: {nodes: 2, targetModels: [resnet8], auxiliaryModels: [resnet8]}
  training: {length: {epochs: 1}, batchSize: 20, learningRate: 0.05, augmentation: PadCrop}
  budget: {maxTrials: 1, parallelTrials: 1}
  comparison: {finalists: 1, repeats: 1, baselines: []}
  compression:
    student: resnet8
    lessons: [EnsembleProbability, Probability, ProbabilityAndAttention]
    temperatures: [2]
    aggregation: [Sum, Project]
  seed: 5
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the search to its end."""
    folder = tmp_path_factory.mktemp("compression") / "run"
    manifest = folder.parent / "small.yaml"
    manifest.write_text(_MANIFEST)
    code, said = run(manifest, folder)
    assert code == 0, said
    return folder


@pytest.fixture(scope="module")
def ledger(folder: Path) -> Ledger:
    """Its facts."""
    return Folder(folder).ledger()


def test_every_row_of_table_4_9_is_trained_and_the_best_is_tested(ledger: Ledger):
    """Five ways on the search split after their teachers, one network from the full set, whose teachers were there."""
    assert ledger.search.reason is Reason.COMPLETED
    trials = ledger.of(Purpose.COMPRESS)
    assert all(trial.status.outcome is Outcome.SUCCEEDED for trial in trials)
    assert [(way.lesson, way.aggregation, way.temperature) for way in tries(trials)] == [
        ("EnsembleProbability", "Sum", 1),
        ("Probability", "Sum", 2),
        ("Probability", "Project", 2),
        ("ProbabilityAndAttention", "Sum", 2),
        ("ProbabilityAndAttention", "Project", 2),
    ]
    assert len(trials) == 7
    best = max(trials[1:6], key=lambda trial: trial.status.score or 0)
    result = result_of(trials)
    assert result is not None
    assert (result.spec.distillation, result.spec.split) == (best.spec.distillation, Split.FULL)
    (found,) = [trial for trial in ledger.of(Purpose.COMPARE) if "Found" in trial.spec.contenders]
    assert result.spec.teachers.items() >= found.spec.publishes.items()


def test_conflicts_are_counted_where_gradients_are_projected(folder: Path, ledger: Ledger):
    """Of the two teachers, by kind of loss (tables 4.10, 4.11); no more than there were updates."""
    for trial in ledger.of(Purpose.COMPRESS)[1:6]:
        way, result = trial.spec.distillation, Folder(folder).results(trial.index)[-1]
        assert way is not None
        attention = ["AttentionTogether"] if way.lesson == "ProbabilityAndAttention" else []
        kinds = ["KL", *attention] if way.aggregation == "Project" else []
        assert [(found.loss, found.sources) for found in result.conflicts] == [(kind, ("1", "2")) for kind in kinds]
        assert all(0 <= found.count <= result.steps for found in result.conflicts)


def test_the_three_lines_of_the_report_run_the_network(folder: Path):
    """As they are shown, in fresh processes beside the report: the programs without this package, all to one end."""
    page = (folder / "report" / "index.html").read_text()
    shown = [unescape(code) for code in re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)]
    loading = [code for code in shown if "compressed/" in code]
    assert [code.count("\n") + 1 for code in loading] == [3, 3, 3]
    logits = []
    for code in loading:
        hidden = "" if "import load" in code else "import sys; sys.modules['graphtrial'] = None\n"
        script = f"{hidden}{code}\nprint(logits[0].tolist())"
        command = [sys.executable, "-I", "-W", "error", "-c", script]
        done = subprocess.run(command, check=False, cwd=folder / "report", capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        logits.append(json.loads(done.stdout))
    assert [len(each) for each in logits] == [10, 10, 10]
    assert logits == [pytest.approx(logits[0], abs=1e-4)] * 3
