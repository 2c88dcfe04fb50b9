"""The folder of a search: facts, lock, manifest."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from graphsearch.api import Decision, DesiredState, GraphTrial, GraphTrialSpec, GraphTrialStatus, Rung
from graphsearch.api.manifest import parse_manifest
from graphsearch.local import ChangedManifestError, Folder, Local, LockedError, NotARunError
from graphtrial.contract import Device, Edge, Graph, Loss, LossType, Node, Purpose
from graphtrial.storage import Corrupt, Missing
from graphtrial.storage.files import FileStore

_MANIFEST = """
apiVersion: graphsearch.io/v1alpha1
kind: GraphSearch
metadata: {name: small}
spec:
  data: {dataset: digits}
  space: {nodes: 2, targetModels: [resnet8], auxiliaryModels: [resnet8]}
  training: {length: {epochs: 4}}
  budget: {maxTrials: 3}
  seed: SEED
"""
_LOCAL = Local(threads=1, device=Device.CPU)


def _manifest(seed: int = 0, max_trials: int = 3):
    return parse_manifest(_MANIFEST.replace("SEED", str(seed)).replace("maxTrials: 3", f"maxTrials: {max_trials}"))


def _trial(index: int) -> GraphTrial:
    edge = Edge(source="Label", destination="1", loss=Loss(type=LossType.CROSS_ENTROPY))
    graph = Graph(nodes=(Node(name="1", model="resnet8"),), edges=(edge,))
    return GraphTrial(name=f"small-t{index}", spec=GraphTrialSpec(index=index, purpose=Purpose.SEARCH, graph=graph))


def _scored(index: int) -> GraphTrial:
    rung = Rung(evaluation=1, score=0.5, decision=Decision.CONTINUE, time=1.0)
    return _trial(index).model_copy(update={"status": GraphTrialStatus(rungs=(rung,))})


def test_a_second_run_finds_the_facts_of_the_first(tmp_path: Path):
    """What was recorded is what is read, trials in any number."""
    with Folder(tmp_path / "run") as folder:
        facts, _ = folder.open_search(_manifest(), _LOCAL)
        for index in range(12):
            folder.write_trial(_trial(index))
    with Folder(tmp_path / "run") as folder:
        again, _ = folder.open_search(_manifest(), _LOCAL)
        ledger = folder.ledger()
    assert again == facts
    assert sorted(ledger.trials) == list(range(12))
    assert ledger.trials[7] == _trial(7)


def test_threads_of_the_first_run_are_kept(tmp_path: Path):
    """Trials resume with the thread count they began with, whatever a later run would choose."""
    with Folder(tmp_path) as folder:
        folder.open_search(_manifest(), Local(threads=2, device=Device.CPU))
        _, local = folder.open_search(_manifest(), _LOCAL)
    assert local.threads == 2


def test_two_runners_on_one_folder(tmp_path: Path):
    """The second one is told which process has it, and touches nothing."""
    with Folder(tmp_path), pytest.raises(LockedError, match=r"another runner \(process \d+\)"), Folder(tmp_path):
        pass


def test_a_lock_ends_with_its_runner(tmp_path: Path):
    """After the first runner left, the folder can be taken again."""
    with Folder(tmp_path):
        pass
    with Folder(tmp_path) as folder:
        assert folder.open_search(_manifest(), _LOCAL)[0].ended_at is None


def test_a_changed_manifest_names_the_fields(tmp_path: Path):
    """A field that is fixed from birth is named with both values, and the old search stays."""
    with Folder(tmp_path) as folder:
        folder.open_search(_manifest(seed=0), _LOCAL)
        folder.write_trial(_scored(0))
        with pytest.raises(ChangedManifestError) as caught:
            folder.open_search(_manifest(seed=5), _LOCAL)
        assert caught.value.fields == ["spec.seed: (default) -> 5"]
        assert folder.manifest() == _manifest(seed=0)


def test_a_changed_manifest_is_taken_while_nothing_is_earned(tmp_path: Path):
    """Before the first score a mistake in the manifest can be mended in place; the new search starts clean."""
    with Folder(tmp_path) as folder:
        before, _ = folder.open_search(_manifest(seed=0), _LOCAL)
        folder.write_trial(_trial(0))
        after, _ = folder.open_search(_manifest(seed=5), _LOCAL)
        assert after.uid != before.uid
        assert folder.ledger().trials == {}
        assert folder.manifest() == _manifest(seed=5)


def test_a_new_beginning_that_is_killed_half_way_begins_anew_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The old trials must not come into the new search."""
    with Folder(tmp_path) as folder:
        folder.open_search(_manifest(seed=0), _LOCAL)
        folder.write_trial(_trial(0))
        with monkeypatch.context() as killed:
            killed.setattr(FileStore, "delete", _be_killed)
            with pytest.raises(KeyboardInterrupt):
                folder.open_search(_manifest(seed=5), _LOCAL)
        folder.open_search(_manifest(seed=5), _LOCAL)
        assert folder.ledger().trials == {}
        assert folder.manifest() == _manifest(seed=5)


def _be_killed(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("change", ["saved", "another search"])
def test_what_was_saved_is_not_given_up_for_another_manifest(tmp_path: Path, change: str):
    """A checkpoint was earned before the first score; and a slip in --output costs no other search its trials."""
    with Folder(tmp_path) as folder:
        folder.open_search(_manifest(seed=0), _LOCAL)
        folder.write_trial(_trial(0))
        other = _manifest(seed=5)
        if change == "saved":
            folder.store.write("trials/0/latest.json", b'{"attempt": 1}')
        else:
            other = other.model_copy(update={"metadata": other.metadata.model_copy(update={"name": "other"})})
        with pytest.raises(ChangedManifestError):
            folder.open_search(other, _LOCAL)
        assert folder.ledger().trials == {0: _trial(0)}


def test_a_folder_tells_whether_a_runner_works_on_it(tmp_path: Path):
    """A killed runner leaves its lock file and not its lock."""
    watcher = Folder(tmp_path)
    assert not watcher.has_runner()
    with Folder(tmp_path):
        assert watcher.has_runner()
    assert not watcher.has_runner()


def test_who_looks_for_a_runner_keeps_none_from_starting(tmp_path: Path):
    """However often it looks, and although both use the same lock."""
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            Folder(tmp_path).has_runner()

    onlooker = threading.Thread(target=look)
    onlooker.start()
    try:
        for _ in range(500):
            with Folder(tmp_path), pytest.raises(LockedError), Folder(tmp_path):
                pass
    finally:
        over.set()
        onlooker.join()


def test_a_changed_budget_is_taken_up(tmp_path: Path):
    """Budget may change between runs."""
    with Folder(tmp_path) as folder:
        folder.open_search(_manifest(max_trials=3), _LOCAL)
        folder.open_search(_manifest(max_trials=9), _LOCAL)
        assert folder.manifest().spec.budget.max_trials == 9


def test_the_budget_of_a_search_that_has_ended_stays(tmp_path: Path):
    """Nothing is searched any more, and no manifest is kept under which nothing ran; its state may still be named."""
    with Folder(tmp_path / "run") as folder:
        facts, _ = folder.open_search(_manifest(), _LOCAL)
        folder.write_trial(_scored(0))
        folder.write_facts(facts.model_copy(update={"ended_at": 9.0}))
        with pytest.raises(ChangedManifestError) as refused:
            folder.open_search(_manifest(max_trials=5), _LOCAL)
        assert refused.value.fields == ["spec.budget.maxTrials: 3 -> 5"]
        spec = _manifest().spec.model_copy(update={"desired_state": DesiredState.FINISHING})
        folder.open_search(_manifest().model_copy(update={"spec": spec}), _LOCAL)
        assert folder.manifest() == _manifest()


def test_a_record_of_another_trial_is_named(tmp_path: Path):
    """A folder that was copied under another number counts for neither."""
    with Folder(tmp_path / "run") as folder:
        folder.open_search(_manifest(), _LOCAL)
        folder.write_trial(_trial(0))
        shutil.copytree(folder.path / "trials/0", folder.path / "trials/7")
        with pytest.raises(Corrupt, match=r"trials/7/trial\.json: is the record of trial 0"):
            folder.ledger()


def test_a_manifest_that_was_altered_is_not_believed(tmp_path: Path):
    """As any other object."""
    with Folder(tmp_path / "run") as folder:
        folder.open_search(_manifest(), _LOCAL)
        (folder.path / "search.yaml").write_text("kind: GraphSearch")
        with pytest.raises(Corrupt, match=r"search\.yaml"):
            folder.manifest()


def test_a_folder_without_a_search_says_so(tmp_path: Path):
    """Status and report of a wrong folder name it."""
    with pytest.raises(NotARunError, match=str(tmp_path)):
        Folder(tmp_path).ledger()


def test_an_altered_fact_is_named_and_not_believed(tmp_path: Path):
    """A truncated trial.json is an error that names the file and advises against deleting what cannot be made again."""
    with Folder(tmp_path) as folder:
        folder.open_search(_manifest(), _LOCAL)
        folder.write_trial(_trial(0))
        path = tmp_path / "trials" / "0" / "trial.json"
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(Corrupt) as caught:
            folder.ledger()
    assert str(caught.value) == (
        f"{path} is corrupt: its bytes are not those that trial.json.sha256 vouches for; restore it from a copy or use "
        "another --output; deleting it would lose the record of trial 0"
    )


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"threads": "x"}', b"\xff"])
def test_a_file_that_is_whole_and_means_nothing_is_named(tmp_path: Path, content: bytes):
    """Facts edited by hand, with a fresh SHA-256, are corrupt and no fault of the program."""
    folder = Folder(tmp_path / "run")
    folder.open_search(_manifest(), _LOCAL)
    folder.store.write("local.json", content)
    with pytest.raises(Corrupt, match=r"local\.json: .*; restore it from a copy .* lose the record of the search"):
        folder.open_search(_manifest(), _LOCAL)


def test_a_folder_moved_under_its_runner_is_not_made_anew(tmp_path: Path):
    """Facts never lie in two places: the runner stops, and goes on where the folder has gone."""
    with Folder(tmp_path / "run") as folder:
        folder.open_search(_manifest(), _LOCAL)
        (tmp_path / "run").rename(tmp_path / "elsewhere")
        with pytest.raises(Missing, match="deleted or moved"):
            folder.write_trial(_trial(0))
    assert not (tmp_path / "run").exists()
    assert Folder(tmp_path / "elsewhere").ledger().trials == {}
