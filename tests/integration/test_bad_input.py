"""What a user can do wrong to a whole search: one clear message, a documented exit code, nothing earned is lost."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest
import yaml
from PIL import Image
from tests.local_runs import run
from tests.shared_data import shared_data

from graphsearch.api import Outcome, Reason
from graphsearch.cli.exits import Exit
from graphsearch.local import Folder

_EXAMPLE = Path(__file__).parents[2] / "examples" / "image-folder.yaml"


def _write(path: Path, **changes: object) -> Path:
    """The image-folder example, shortened, with some fields of its spec replaced."""
    manifest = yaml.safe_load(_EXAMPLE.read_text())
    spec = manifest["spec"]
    spec["space"] |= {"targetModels": ["resnet8"], "auxiliaryModels": ["resnet8", "wrn-10-1"]}
    spec["training"] = {"length": {"epochs": 2}, "batchSize": 16}
    spec["budget"] = {"maxTrials": 3, "parallelTrials": 2}
    spec["comparison"] = {"finalists": 1, "repeats": 2, "baselines": ["Independent"]}
    spec |= changes
    path.write_text(yaml.safe_dump(manifest))
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Real images as the example expects them, 16 to train on and 4 to test on of each of three classes."""
    with tarfile.open(shared_data("cifar10-subset.tar")) as archive:
        wanted = {("train", name): 16 for name in ("cat", "ship", "truck")} | {
            ("test", name): 4 for name in ("cat", "ship", "truck")
        }
        for member in archive:
            parts = Path(member.name).parts
            if member.isfile() and wanted.get(parts[1:3], 0):
                wanted[parts[1:3]] -= 1
                target = tmp_path / "images" / Path(*parts[1:])
                target.parent.mkdir(parents=True, exist_ok=True)
                source = archive.extractfile(member)
                assert source is not None
                target.write_bytes(source.read())
    return tmp_path / "images"


def test_the_image_folder_example_runs_on_real_images(images: Path):
    """The example, shortened, from its manifest to its report, with the images beside it."""
    code, said = run(_write(images.parent / "search.yaml"), images.parent / "run")
    assert code == Exit.OK, said
    assert (images.parent / "run" / "report" / "index.html").exists()


def test_one_corrupt_image_is_named_and_the_search_goes_on_once_it_is_mended(images: Path):
    """The file is in the message, no trial is charged, and the same command goes on."""
    broken = sorted((images / "train" / "ship").iterdir())[3]
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    manifest, folder = _write(images.parent / "search.yaml"), images.parent / "run"
    code, said = run(manifest, folder)
    assert code == Exit.DATA
    assert broken.name in said
    assert not any(trial.is_ended for trial in Folder(folder).ledger().trials.values())
    broken.write_bytes(whole)
    code, said = run(manifest, folder)
    assert code == Exit.OK, said


def test_images_of_several_sizes_are_told_of_and_no_size_is_guessed(images: Path):
    """Without ``imageSize`` the field and the first other image end the search; with it the log counts the sizes."""
    odd = sorted((images / "train" / "ship").iterdir())[3]
    with Image.open(odd) as image:
        image.resize((48, 40)).save(odd)
    data = yaml.safe_load(_EXAMPLE.read_text())["spec"]["data"]
    open_data = {name: value for name, value in data.items() if name != "imageSize"}
    code, said = run(_write(images.parent / "search.yaml", data=open_data), images.parent / "open")
    assert code == Exit.DATA
    assert f"data.imageSize: images are of several sizes ({odd} has 48x40 pixels" in said.replace("\n", " ")
    code, said = run(
        _write(images.parent / "search.yaml", budget={"maxTrials": 1}, comparison=None), images.parent / "said"
    )
    assert code == Exit.OK, said
    logs = "".join(path.read_text() for path in (images.parent / "said" / "trials").rglob("log.txt"))
    assert logs.count("48 images, of modes RGB (48) and sizes 32x32 (47), 48x40 (1), become RGB of 32x32 pixels") == 1
    assert f"the first that changes is {odd} (RGB, 48x40)" in logs


def test_a_missing_data_set_is_named(images: Path):
    """The folder that is not there is in the message."""
    shutil.rmtree(images)
    code, said = run(_write(images.parent / "search.yaml"), images.parent / "run")
    assert code == Exit.DATA
    assert str(images) in said


def test_a_search_whose_trials_all_diverge_ends_without_a_result(tmp_path: Path):
    """Diverged trials are counted as such; the search says that no graph came through."""
    manifest = _write(
        tmp_path / "search.yaml",
        data={"dataset": "digits", "labelled": {"count": 100}},
        training={"length": {"epochs": 2}, "batchSize": 20, "learningRate": 1000.0, "weightDecay": 100.0},
    )
    code, said = run(manifest, tmp_path / "run")
    assert code == Exit.NO_RESULT, said
    ledger = Folder(tmp_path / "run").ledger()
    assert ledger.search.reason is Reason.NO_TRIAL_COMPLETED
    assert {trial.status.outcome for trial in ledger.trials.values()} == {Outcome.DIVERGED}


def test_a_changed_manifest_is_refused_and_the_old_search_stays(tmp_path: Path):
    """The message names the fields that differ, with both values."""
    data = {"dataset": "digits", "labelled": {"count": 100}}
    short = {"length": {"epochs": 1}, "batchSize": 20}
    first = _write(tmp_path / "search.yaml", data=data, training=short, comparison=None)
    assert run(first, tmp_path / "run")[0] == Exit.OK
    facts = sorted(path.read_bytes() for path in (tmp_path / "run" / "trials").rglob("trial.json"))
    changed = _write(tmp_path / "search.yaml", data=data, training=short | {"batchSize": 10}, comparison=None)
    code, said = run(changed, tmp_path / "run")
    assert code == Exit.FOLDER
    assert "spec.training.batchSize: 20 -> 10" in said
    assert sorted(path.read_bytes() for path in (tmp_path / "run" / "trials").rglob("trial.json")) == facts


def test_a_truncated_checkpoint_costs_only_what_lies_behind_it(tmp_path: Path):
    """A trial whose checkpoints are all destroyed begins anew, says so in its log, and ends the same."""
    data = {"dataset": "digits", "labelled": {"count": 100}}
    manifest = _write(
        tmp_path / "search.yaml",
        data=data,
        training={"length": {"epochs": 1}, "batchSize": 20},
        budget={"maxTrials": 1},
        comparison=None,
    )
    assert run(manifest, tmp_path / "run")[0] == Exit.OK
    folder = Folder(tmp_path / "run")
    whole = folder.ledger()
    for path in (tmp_path / "run" / "trials" / "0").glob("*.pt"):
        path.write_bytes(path.read_bytes()[:100])
    trial = whole.trials[0]
    open_again = trial.status.attempts[0].model_copy(update={"end": None, "ended_at": None, "exit_code": None})
    status = trial.status.model_copy(update={"attempts": (open_again,), "outcome": None, "rungs": ()})
    folder.write_trial(trial.model_copy(update={"status": status}))
    folder.write_facts(whole.search.model_copy(update={"ended_at": None, "reason": None, "winner": None}))
    code, said = run(manifest, tmp_path / "run")
    assert code == Exit.OK, said
    again = folder.ledger().trials[0]
    assert again.status.score == trial.status.score
    assert "training starts from scratch" in (tmp_path / "run" / "trials" / "0" / "log.txt").read_text()
