"""Every recipe through ``graphsearch run``, as a user trains it: small networks, a few real images, four updates."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tests.known_methods import RECIPES
from tests.local_runs import run
from tests.shared_data import some_images
from tests.small_graphs import small

from graphsearch.api import Comparison, GraphSearch, Outcome, Reason, read_manifest, write_manifest
from graphsearch.api.training import UnlabelledChoice
from graphsearch.local import Folder
from graphtrial.contract import Data, Labelled, Length, Purpose

FOLDER = Path(__file__).parents[2] / "examples/recipes"
TRAIN, TEST = 12, 4
"""Images of each of the ten classes."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of them."""
    return some_images(tmp_path_factory.mktemp("images"), train=TRAIN, test=TEST)


def scaled_down(recipe: str, images: Path) -> GraphSearch:
    """The recipe with its graphs, losses, gates, stages, score and preset; only sizes differ."""
    manifest = read_manifest(FOLDER / f"{recipe}.yaml")
    spec = manifest.spec
    labelled = Labelled(count=40) if spec.data.labelled else None
    steps = Length(steps=4)
    sizes = {"length": steps, "evaluate_every": steps, "batch_size": 20, "unlabelled": UnlabelledChoice(batch_size=20)}
    changes = {
        "graphs": tuple(map(small, spec.graphs)),
        "data": Data(dataset="ImageFolder", uri=str(images), image_size=32, labelled=labelled),
        "training": spec.training.model_copy(update=sizes),
        "comparison": Comparison(repeats=1, baselines=()),
    }
    return manifest.model_copy(update={"spec": spec.model_copy(update=changes)})


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_run_to_its_report(recipe: str, images: Path, tmp_path: Path):
    """Each of its graphs is trained, stages in their order, scored on the test images and shown with its weights."""
    path = tmp_path / f"{recipe}.yaml"
    path.write_text(write_manifest(scaled_down(recipe, images)))
    code, said = run(path, tmp_path / "run")
    assert code == 0, said
    folder = Folder(tmp_path / "run")
    ledger = folder.ledger()
    assert ledger.search.reason is Reason.COMPLETED
    assert {trial.status.outcome for trial in ledger.trials.values()} == {Outcome.SUCCEEDED}
    compared = [trial for trial in ledger.trials.values() if trial.spec.purpose is Purpose.COMPARE]
    given = folder.manifest().spec.graphs
    assert {name for trial in compared for name in trial.spec.contenders} >= {graph.name for graph in given}
    for trial in compared:
        last = folder.results(trial.index)[-1].evaluations[-1]
        assert last.losses
        assert all(map(math.isfinite, last.losses.values()))
    report = tmp_path / "run" / "report"
    assert (report / "index.html").exists()
    assert list((report / "weights").glob("*.safetensors"))
