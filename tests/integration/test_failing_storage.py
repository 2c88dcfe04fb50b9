"""A whole search on a disk that fills up or may not be written: what is earned stays, and the search goes on later."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.local_runs import QUICK, finish, run, running, summary
from tests.small_disk import SmallDisk, small_disk
from tests.trainer_process import PATIENCE

from graphsearch.cli.exits import Exit
from graphsearch.local import Folder
from graphsearch.search.ledger import Ledger

_FULL = "no space left"
_READ_ONLY = "read-only file system"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search whose decisions do not depend on time: one trial runs at a time."""
    path = tmp_path_factory.mktemp("manifest") / "quick.yaml"
    path.write_text(QUICK)
    return path


@pytest.fixture(scope="module")
def undisturbed(manifest: Path) -> Ledger:
    """The search on a disk with room for it."""
    folder = manifest.parent / "run"
    code, said = run(manifest, folder)
    assert code == Exit.OK, said
    return Folder(folder).ledger()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Room for the search and its report, until a test takes it away."""
    with small_disk(tmp_path / "disk", megabytes=64) as mounted:
        yield mounted


def _refused(said: str, why: str, folder: Path) -> None:
    """One message, which names a file of the folder and what is wrong with it."""
    told = [line for line in said.splitlines() if line.startswith("graphsearch: ")]
    assert len(told) == 1, said
    assert why in told[0].lower()
    assert str(folder) in told[0]


def _earned(folder: Path) -> dict[Path, bytes]:
    """The facts of every trial that has ended, as they lie there."""
    ended = [trial.index for trial in Folder(folder).ledger().trials.values() if trial.is_ended]
    return {path: path.read_bytes() for index in ended for path in folder.glob(f"trials/{index}/trial.json")}


def _goes_on(manifest: Path, folder: Path, earned: dict[Path, bytes], undisturbed: Ledger) -> None:
    """The same command ends the search with the facts of an undisturbed one, and rewrites nothing that was earned."""
    code, said = run(manifest, folder)
    assert code == Exit.OK, said
    assert summary(Folder(folder).ledger()) == summary(undisturbed)
    assert {path: path.read_bytes() for path in earned} == earned
    assert (folder / "report" / "index.html").exists()


@contextmanager
def _one_trial_done(manifest: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The search while it runs, at the moment when its first trial has ended."""
    until = time.monotonic() + PATIENCE
    with running(manifest, folder) as process:
        while not (folder / "search.json").exists() or not _earned(folder):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        yield process


@pytest.mark.parametrize("room", [0, 20_000, 500_000])
def test_a_disk_without_enough_room(disk: SmallDisk, manifest: Path, undisturbed: Ledger, room: int):
    """It is full at once, after the first facts, or at the first checkpoint."""
    folder = disk.path / "run"
    disk.fill(leaving=room)
    code, said = run(manifest, folder)
    assert code == Exit.STORAGE, said
    _refused(said, _FULL, folder)
    disk.make_space()
    _goes_on(manifest, folder, {}, undisturbed)


@pytest.mark.parametrize("room", [0, 100_000])
def test_a_disk_that_fills_up_while_trials_run(disk: SmallDisk, manifest: Path, undisturbed: Ledger, room: int):
    """No fact fits any more, or none but facts; another try on the full disk harms nothing either."""
    folder = disk.path / "run"
    with _one_trial_done(manifest, folder) as process:
        disk.fill(leaving=room)
        code, said = finish(process)
    assert code == Exit.STORAGE, said
    _refused(said, _FULL, folder)
    earned = _earned(folder)
    assert earned
    code, said = run(manifest, folder)
    assert code == Exit.STORAGE, said
    _refused(said, _FULL, folder)
    disk.make_space()
    _goes_on(manifest, folder, earned, undisturbed)


def test_a_read_only_folder(disk: SmallDisk, manifest: Path, undisturbed: Ledger):
    """A search that was interrupted can be looked at but does not go on, until its folder may be written."""
    folder = disk.path / "run"
    with _one_trial_done(manifest, folder) as process:
        process.send_signal(signal.SIGINT)
        assert finish(process)[0] == Exit.INTERRUPTED
    earned = _earned(folder)
    disk.make("ro")
    code, said = run(manifest, folder)
    assert code == Exit.STORAGE, said
    _refused(said, _READ_ONLY, folder)
    status = [sys.executable, "-m", "graphsearch.cli", "status", str(folder)]
    assert "no runner works on it" in subprocess.run(status, capture_output=True, text=True, check=True).stdout
    disk.make("rw")
    _goes_on(manifest, folder, earned, undisturbed)


def test_a_search_cannot_begin_where_nothing_can_be_written(disk: SmallDisk, manifest: Path):
    """The folder that cannot be made is named, and nothing is started."""
    disk.make("ro")
    code, said = run(manifest, disk.path / "run")
    assert code == Exit.STORAGE, said
    _refused(said, _READ_ONLY, disk.path / "run")


@pytest.mark.usefixtures("undisturbed")
def test_an_export_to_a_full_disk_leaves_what_an_earlier_one_has_written(disk: SmallDisk, manifest: Path):
    """Its message names the folder of the run that found no room, and nothing is left half-written."""
    logs = disk.path / "logs"
    searched = str(manifest.parent / "run")
    export = [sys.executable, "-m", "graphsearch.cli", "export", searched, "--to", "tensorboard", "--output", str(logs)]
    subprocess.run(export, check=True)
    before = {path: path.read_bytes() for path in logs.rglob("*") if path.is_file()}
    disk.fill()
    done = subprocess.run(export, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == Exit.STORAGE
    _refused(done.stdout, _FULL, logs)
    assert "Traceback" not in done.stdout
    assert {path: path.read_bytes() for path in logs.rglob("*") if path.is_file()} == before
