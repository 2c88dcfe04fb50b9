"""The program's commands that need no trainer: messages, exit codes, what they print."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from graphsearch.api import read_manifest
from graphsearch.cli.exits import Exit
from graphsearch.cli.live import display
from graphsearch.cli.main import main
from graphsearch.local import Folder, Local
from graphtrial.contract import Device

_MANIFEST = """
apiVersion: graphsearch.io/v1alpha1
kind: GraphSearch
metadata: {name: small}
spec:
  data: {dataset: CIFAR100, uri: "/nowhere/cifar100", searchValidation: {count: 10000}}
  space: {nodes: 3, targetModels: [resnet32], auxiliaryModels: [resnet32, resnet110, wrn-28-2]}
  training: {length: {epochs: 200}}
  budget: {maxTrials: 40, parallelTrials: 4}
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "search.yaml"
    path.write_text(_MANIFEST)
    return path


def _run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_validate_says_what_a_manifest_means(capsys: pytest.CaptureFixture[str], manifest: Path):
    """Sizes of the space as spec 5.2 counts them, evaluations and rungs."""
    code, out, _ = _run(capsys, "validate", manifest)
    assert code == Exit.OK
    assert "2,359,296 ways to draw a graph" in out
    assert "evaluations: 200, rungs: 1, 2, 4, 8, 16, 32, 64, 128" in out


def test_a_wrong_field_is_named(capsys: pytest.CaptureFixture[str], manifest: Path):
    """One line per problem, with file and field, and no traceback."""
    manifest.write_text(_MANIFEST.replace("nodes: 3", "nodes: 30, nodez: 1"))
    code, _, err = _run(capsys, "validate", manifest)
    assert code == Exit.USAGE
    assert f"{manifest}: spec.space.nodes: Input should be less than or equal to 7 (given: 30)" in err
    assert f"{manifest}: spec.space.nodez: unknown field" in err
    assert "Traceback" not in err


def test_a_missing_manifest_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """The path that does not exist is in the message."""
    code, _, err = _run(capsys, "run", tmp_path / "no.yaml")
    assert code == Exit.USAGE
    assert f"{tmp_path / 'no.yaml'}: no such file" in err


def test_preview_says_what_a_search_costs(capsys: pytest.CaptureFixture[str], manifest: Path):
    """Trials at each rung, epochs saved by stopping, and device hours at the given speed."""
    code, out, _ = _run(capsys, "preview", manifest, "--tflops", "2")
    assert code == Exit.OK
    assert "40 Search" in out
    assert "of 8,000 evaluations" in out
    assert "at 2 TFLOP/s sustained" in out


def test_preview_says_how_large_the_space_is_and_what_an_epoch_is(capsys: pytest.CaptureFixture[str], manifest: Path):
    """Of unlabelled images, where graphs are semi-supervised (spec 7.3)."""
    _, supervised, _ = _run(capsys, "preview", manifest)
    assert "ways to draw a graph" in supervised
    assert "unlabelled" not in supervised
    edges = "[{kind: Label, gates: [Through]}, {kind: Self, losses: [Consistency], gates: [Through, Linear]}]"
    manifest.write_text(re.sub(r"space: {", "space: {edges: " + edges + ", ", _MANIFEST))
    _, semi_supervised, _ = _run(capsys, "preview", manifest)
    assert "72 ways to draw a graph, 72 distinct" in semi_supervised  # 3^2 models, 2^3 gates
    assert "passes over the unlabelled images" in " ".join(semi_supervised.split())


def test_preview_counts_a_compression(capsys: pytest.CaptureFixture[str], manifest: Path):
    """Nine ways, the result and the teachers of both; projecting costs a backward pass for each loss."""

    def told(aggregation: str) -> tuple[str, float]:
        choice = f"  compression: {{student: resnet32, aggregation: [{aggregation}]}}\n"
        manifest.write_text(_MANIFEST.replace("maxTrials: 40", "maxTrials: 1") + choice)
        code, out, _ = _run(capsys, "preview", manifest)
        assert code == Exit.OK
        return out, float(out.partition("Device hours: about ")[2].split()[0].replace(",", ""))

    out, summed = told("Sum")
    assert "1 Search, 8 Compress" in out
    assert told("Project")[1] > summed
    assert "12 Compress" in told("Sum, Project")[0]


def test_preview_names_the_models_whose_cost_it_does_not_know(capsys: pytest.CaptureFixture[str], manifest: Path):
    """Only the trainer can build them; the hours are those of the others."""
    manifest.write_text(_MANIFEST.replace("[resnet32, resnet110, wrn-28-2]", "['timm:vit', 'mylab.nets:Small']"))
    _, out, _ = _run(capsys, "preview", manifest)
    assert "Not counted, as their sizes are not known: mylab.nets:Small, timm:vit" in " ".join(out.split())
    assert "Device hours: about" in out


def test_preview_counts_an_average_as_a_network_that_runs_and_learns_nothing(
    capsys: pytest.CaptureFixture[str], manifest: Path
):
    """One forward pass beside the three that a step of the node it follows takes; images of 224 cost more than 32."""
    nodes = [{"name": "1", "model": "resnet18"}, {"name": "2", "kind": "EMA", "follows": "1"}]
    label = {"source": "Label", "destination": "1", "loss": {"type": "CrossEntropy"}}
    transfer = {"source": "2", "destination": "1", "loss": {"type": "KL"}}

    def hours(graph: dict[str, object], **data: object) -> float:
        spec = yaml.safe_load(_MANIFEST)
        spec["spec"] = {"data": spec["spec"]["data"] | data, "graphs": [graph], "training": spec["spec"]["training"]}
        manifest.write_text(yaml.safe_dump(spec))
        _, out, _ = _run(capsys, "preview", manifest, "--images", "50000")
        return float(out.partition("Device hours: about ")[2].split()[0].replace(",", ""))

    alone = hours({"nodes": nodes[:1], "edges": [label]})
    assert hours({"nodes": nodes, "edges": [label, transfer]}) == pytest.approx(alone * 4 / 3, rel=0.01)
    assert hours({"nodes": nodes[:1], "edges": [label]}, dataset="ImageFolder", imageSize=224) > 20 * alone


def test_preview_halves_its_hours_at_twice_the_speed(capsys: pytest.CaptureFixture[str], manifest: Path):
    """Device hours are arithmetic and training images, not a guess of their own."""

    def hours(tflops: str) -> float:
        _, out, _ = _run(capsys, "preview", manifest, "--tflops", tflops)
        return float(out.partition("Device hours: about ")[2].split()[0].replace(",", ""))

    assert hours("1") == pytest.approx(2 * hours("2"), rel=0.01)


def test_preview_plays_a_search_to_its_end_whatever_would_end_it_early(
    capsys: pytest.CaptureFixture[str], manifest: Path
):
    """A goal says nothing about made-up scores, and a limit on hours is compared with the whole cost."""
    _, whole, _ = _run(capsys, "preview", manifest)
    limits = "maxTrials: 40, maxGpuHours: 1, deadlineSeconds: 1,"
    manifest.write_text(_MANIFEST.replace("maxTrials: 40,", limits) + "  objective: {goal: 0.1}\n")
    _, limited, _ = _run(capsys, "preview", manifest)
    assert limited.startswith(whole.strip())
    assert "more than maxGpuHours (1)" in limited


def test_status_of_a_folder_without_a_search(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """The folder is named, and the exit code says that it is the folder."""
    code, _, err = _run(capsys, "status", tmp_path)
    assert code == Exit.FOLDER
    assert str(tmp_path) in err


def test_status_as_json(capsys: pytest.CaptureFixture[str], manifest: Path, tmp_path: Path):
    """A program can read what the table shows."""
    from graphsearch.api import read_manifest
    from graphsearch.local import Folder, Local
    from graphtrial.contract import Device

    with Folder(tmp_path / "run") as folder:
        folder.open_search(read_manifest(manifest), Local(threads=1, device=Device.CPU))
    code, out, _ = _run(capsys, "status", tmp_path / "run", "-o", "json")
    assert code == Exit.OK
    status = json.loads(out)
    assert (status["name"], status["reason"], status["maxTrials"]) == ("small", "Searching", 40)
    assert "no runner works on it" in status["message"]
    code, out, _ = _run(capsys, "status", tmp_path / "run")
    assert "trials 0/40" in out


def test_status_names_a_record_that_was_deleted(capsys: pytest.CaptureFixture[str], manifest: Path, tmp_path: Path):
    """In one line of the table and one field of the JSON; while a runner writes, nothing is said."""
    from tests.searches import HandPlayed

    from graphsearch.api import read_manifest
    from graphsearch.local import Folder, Local
    from graphsearch.search.settled import settle
    from graphtrial.contract import Device

    world = HandPlayed(settle(read_manifest(manifest))).look()
    with Folder(tmp_path / "run") as folder:
        folder.open_search(read_manifest(manifest), Local(threads=1, device=Device.CPU))
        for trial in world.ledger.trials.values():
            folder.write_trial(trial)
        folder.store.delete("trials/2/trial.json")
        _, out, _ = _run(capsys, "status", tmp_path / "run")
        assert "in doubt" not in out
    _, out, _ = _run(capsys, "status", tmp_path / "run")
    assert out.splitlines()[-1] == "in doubt: trials without a record: 2"
    _, out, _ = _run(capsys, "status", tmp_path / "run", "-o", "json")
    assert json.loads(out)["doubt"] == "trials without a record: 2"


def test_two_runners_on_one_folder(capsys: pytest.CaptureFixture[str], manifest: Path, tmp_path: Path):
    """The second one ends with one message before it starts anything."""
    from graphsearch.local import Folder

    with Folder(tmp_path / "run"):
        code, _, err = _run(capsys, "run", manifest, "--output", tmp_path / "run")
    assert code == Exit.FOLDER
    assert "another runner" in err


def test_a_folder_that_cannot_be_made(capsys: pytest.CaptureFixture[str], manifest: Path, tmp_path: Path):
    """A file in the way is named, with the exit code for storage."""
    (tmp_path / "file").write_text("")
    code, _, err = _run(capsys, "run", manifest, "--output", tmp_path / "file" / "run")
    assert code == Exit.STORAGE
    assert str(tmp_path / "file") in err


def test_nothing_heavy_is_imported_before_ctrl_c_is_answered():
    """The manifest's types and pydantic come only once the program can say "interrupted"."""
    code = "import sys, graphsearch.cli.main; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()).isdisjoint({"pydantic", "yaml", "numpy", "torch"})


def test_a_paused_search_says_so_and_does_not_wait(capsys: pytest.CaptureFixture[str], manifest: Path, tmp_path: Path):
    """Nobody can change the manifest of a runner that waits, so the command ends, with the report so far."""
    manifest.write_text(_MANIFEST + "  desiredState: Paused\n")
    code, out, _ = _run(capsys, "run", manifest, "--output", tmp_path / "run")
    assert code == Exit.OK
    assert "desiredState is Paused" in out
    assert (tmp_path / "run" / "report" / "index.html").exists()
    assert not (tmp_path / "run" / "trials").exists()


def test_a_goal_that_is_none_is_refused_of_a_new_search_and_not_of_one_that_is_there(
    capsys: pytest.CaptureFixture[str], manifest: Path, tmp_path: Path
):
    """An earlier version took it, and the search went on as without one."""
    manifest.write_text(f"{_MANIFEST}  objective: {{goal: 78}}\n  desiredState: Paused\n")
    folder = tmp_path / "run"
    for command in (["validate"], ["preview"], ["run", "--output", folder]):
        code, _, err = _run(capsys, *command, manifest)
        assert (code, "spec.objective.goal: 78 is no Accuracy to reach" in err) == (Exit.USAGE, True)
    with Folder(folder) as begun:
        begun.open_search(read_manifest(manifest), Local(threads=1, device=Device.CPU))
    assert _run(capsys, "run", "--output", folder, manifest)[0] == Exit.OK


def test_a_number_of_trials_at_a_time_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], manifest: Path):
    """The message says what would be right, without a name out of the program's code."""
    with pytest.raises(SystemExit) as caught:
        main(["run", str(manifest), "--parallel", "many"])
    assert caught.value.code == Exit.USAGE
    assert "--parallel: must be a whole number, at least 1 (given: many)" in capsys.readouterr().err


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "fast"])
def test_a_device_that_computes_nothing_is_refused(capsys: pytest.CaptureFixture[str], manifest: Path, rate: str):
    """Hours are divided by it."""
    with pytest.raises(SystemExit) as caught:
        main(["preview", str(manifest), f"--tflops={rate}"])
    assert caught.value.code == Exit.USAGE
    assert f"--tflops: must be a number above 0 (given: {rate})" in capsys.readouterr().err


def test_a_terminal_that_cannot_redraw_gets_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """On TERM=dumb a live table would show nothing until the end."""
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with display(plain=False, where=str(tmp_path)) as watch:
        assert type(watch).__name__ == "_Lines"


def test_definitions_that_cannot_be_written_are_no_fault_of_the_program(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    """The message names the place."""
    (tmp_path / "file").write_text("")
    assert main(["crds", "--output", str(tmp_path / "file")]) == Exit.STORAGE
    assert f"{tmp_path / 'file'}: File exists" in capsys.readouterr().err


@pytest.fixture(params=["print", "rich"])
def talkative(request: pytest.FixtureRequest, manifest: Path, played_run: Folder) -> list[str]:
    """A command that prints by itself, and one that has a table printed."""
    arguments = {"print": ["validate", str(manifest)], "rich": ["status", str(played_run.path)]}
    return [sys.executable, "-m", "graphsearch.cli", *arguments[request.param]]


def test_output_that_finds_no_room_is_told(talkative: list[str]):
    """As on a full disk: one message and no traceback."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(talkative, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr == "graphsearch: standard output cannot be written: No space left on device\n"
    assert done.returncode == Exit.STORAGE


def test_output_that_nobody_reads_is_no_error(talkative: list[str]):
    """As into ``head``, which has seen enough."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        done = subprocess.run(talkative, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (Exit.OK, "")
