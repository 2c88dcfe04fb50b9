"""Searches whose networks start from weights that their user brings, through ``graphsearch run``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tests.local_runs import QUICK, run

from graphsearch.api import Outcome
from graphsearch.local import Folder

FORMS = ("published", "safetensors", "plain")


def search(path: Path, *, seed: int, weights: dict[str, Any], kind: str = "Frozen") -> tuple[int, str, Folder]:
    """Run one graph of two networks, of which the second starts from weights and teaches the first."""
    second = {"name": "2", "kind": kind, "model": "resnet8", "weights": weights}
    edges = [
        {"source": "Label", "destination": "1", "loss": {"type": "CrossEntropy"}},
        {"source": "2", "destination": "1", "loss": {"type": "KL"}},
    ]
    graph = {"name": "taught", "nodes": [{"name": "1", "model": "resnet8"}, second], "edges": edges}
    manifest = yaml.safe_load(QUICK)
    whole = manifest["spec"]
    whole["training"]["length"] = {"epochs": 1}
    manifest["spec"] = {name: whole[name] for name in ("data", "training", "checkpoint")}
    manifest["spec"] |= {"graphs": [graph], "comparison": {"repeats": 1, "baselines": []}, "seed": seed}
    path.write_text(yaml.safe_dump(manifest))
    folder = path.with_suffix("")
    code, said = run(path, folder)
    return code, said, Folder(folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights of a search in the three forms that docs/models.md names: a network's, its file's, PyTorch's own."""
    folder = tmp_path_factory.mktemp("made")
    code, said, _ = search(folder / "first.yaml", seed=1, weights={"pretrained": {}})
    assert code == 0, said
    published = sorted((folder / "first/teachers").glob("*.pt"))[0]
    exported = sorted((folder / "first/report/weights").glob("*.safetensors"))[0]
    torch.save(load_file(exported), folder / "plain.pt")
    return dict(zip(FORMS, (published, exported, folder / "plain.pt"), strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_a_teacher_that_the_user_brings(made: dict[str, Path], tmp_path: Path, form: str):
    """Of other images perhaps, and on purpose: the search is seeded and split otherwise."""
    code, said, folder = search(tmp_path / "s.yaml", seed=2, weights={"uri": made[form].as_uri()})
    assert code == 0, said
    assert {trial.status.outcome for trial in folder.ledger().trials.values()} == {Outcome.SUCCEEDED}


def test_a_teacher_that_is_not_there_is_named(tmp_path: Path):
    """With its place in the graph and its address."""
    code, said, _ = search(tmp_path / "s.yaml", seed=2, weights={"uri": (tmp_path / "none.pt").as_uri()})
    assert code != 0
    assert "none.pt" in said
