"""Files as objects: what a crash, a full disk or a changed byte leaves, and what the messages say."""

from __future__ import annotations

import errno
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from graphtrial.storage import Conflict, Corrupt, Denied, Full, Missing, StorageError, open_store


@pytest.fixture
def store(tmp_path):
    """An empty store in a folder that does not exist yet."""
    return open_store(f"file://{tmp_path}/store")


class PowerFailure(BaseException):
    """Ends a write where it stands; no handler for errors may catch it."""


def fail_at_rename(monkeypatch, number, failure):
    """Let the rename of that number, counted from 0, raise ``failure`` instead."""
    renames = iter(range(100))
    rename = Path.replace

    def replace(self, target):
        if next(renames) == number:
            raise failure
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)


def fail_at_fsync(monkeypatch, code):
    """Let every fsync fail as the operating system would."""

    def fsync(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)


def test_reads_back_what_was_written(store):
    """Bytes go in and the same bytes come out, also when an object is replaced and when it is empty."""
    store.write("trials/0/a.pt", b"first")
    store.write("trials/0/a.pt", b"second")
    store.write("empty", b"")
    assert (store.read("trials/0/a.pt"), store.read("empty")) == (b"second", b"")


def test_another_store_on_the_same_path_sees_the_object(store, tmp_path):
    """A plain absolute path and a file URI with escapes name the same place."""
    spaced = tmp_path / "with space"
    open_store(str(spaced)).write("a", b"x")
    assert open_store(spaced.as_uri()).read("a") == b"x"


def test_url_of_is_where_the_object_lies(store, tmp_path):
    """The folder of an object's URL, opened as a store, holds the object."""
    store.write("teachers/deadbeef.pt", b"weights")
    folder, _, key = store.url_of("teachers/deadbeef.pt").rpartition("/")
    assert open_store(folder).read(key) == b"weights"


def test_listing_hides_everything_that_is_not_an_object(store):
    """Sidecars, locks and temporary files never show; prefixes need not end at a folder; keys are sorted."""
    for key in ("trials/10/b", "trials/1/a", "trials/1/c.pt", "other"):
        store.write(key, b"x")
    assert store.list("") == ["other", "trials/1/a", "trials/1/c.pt", "trials/10/b"]
    assert store.list("trials/1") == ["trials/1/a", "trials/1/c.pt", "trials/10/b"]
    assert store.list("trials/1/") == ["trials/1/a", "trials/1/c.pt"]
    assert store.list("nothing/") == []


def test_deleting_takes_the_sidecar_along(store, tmp_path):
    """Nothing but the lock is left of a deleted object, and deleting it again is no error."""
    store.write("a", b"x")
    store.delete("a")
    store.delete("a")
    store.delete("no/such/folder")
    assert (store.exists("a"), [path.name for path in (tmp_path / "store").iterdir()]) == (False, [".lock"])


def test_sha256sum_agrees_with_the_sidecar(store, tmp_path):
    """The standard tool verifies an object without this program."""
    store.write("a.pt", b"weights")
    check = subprocess.run(
        ["sha256sum", "-c", "a.pt.sha256"], cwd=tmp_path / "store", capture_output=True, text=True, check=True
    )
    assert check.stdout == "a.pt: OK\n"


def test_a_missing_object_is_named(store, tmp_path):
    """The message holds the URI that was looked for."""
    assert not store.exists("a")
    with pytest.raises(Missing, match=f"file://{tmp_path}/store/a does not exist"):
        store.read("a")


@pytest.mark.parametrize(
    "damage", [b"", b"weight", b"weightS", b"weights "], ids=["emptied", "truncated", "altered", "longer"]
)
def test_a_damaged_object_is_refused(store, tmp_path, damage):
    """Whatever happened to the bytes, they are not returned."""
    store.write("a", b"weights")
    (tmp_path / "store" / "a").write_bytes(damage)
    with pytest.raises(Corrupt, match="store/a is corrupt"):
        store.read("a")


@pytest.mark.parametrize("sidecar", [None, "", "no digest at all\n"], ids=["missing", "empty", "nonsense"])
def test_an_object_without_its_digest_is_refused(store, tmp_path, sidecar):
    """Bytes that cannot be verified are not returned either."""
    store.write("a", b"weights")
    path = tmp_path / "store" / "a.sha256"
    path.unlink() if sidecar is None else path.write_text(sidecar)
    with pytest.raises(Corrupt, match=r"a\.sha256"):
        store.read("a")


def test_an_object_of_somebody_elses_may_lack_its_digest(store, tmp_path):
    """Where the reader says so; one that has a digest is verified all the same."""
    store.write("a", b"weights")
    path = tmp_path / "store" / "a.sha256"
    path.unlink()
    assert store.read("a", unsigned=True) == b"weights"
    path.write_text(f"{'0' * 64}  a\n")
    with pytest.raises(Corrupt, match="store/a is corrupt"):
        store.read("a", unsigned=True)


@pytest.mark.parametrize(("rename", "survivor"), [(0, b"old"), (1, b"old"), (2, b"new")])
def test_a_crash_between_the_steps_of_a_write_leaves_one_good_object(store, monkeypatch, rename, survivor):
    """Killed before the sidecar, the object or the last sidecar is renamed, the store holds old or new, verified."""
    store.write("a", b"old")
    fail_at_rename(monkeypatch, rename, PowerFailure())
    with pytest.raises(PowerFailure):
        store.write("a", b"new")
    assert (store.read("a"), store.list("")) == (survivor, ["a"])


@pytest.mark.parametrize("rename", [0, 1, 2])
def test_a_crash_is_forgotten_by_the_next_write(store, monkeypatch, tmp_path, rename):
    """After the next write only its digest is accepted, and no temporary file is left behind."""
    store.write("a", b"old")
    with monkeypatch.context() as patch:
        fail_at_rename(patch, rename, PowerFailure())
        with pytest.raises(PowerFailure):
            store.write("a", b"lost")
    store.write("a", b"new")
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == [".lock", "a", "a.sha256"]
    (tmp_path / "store" / "a").write_bytes(b"lost")
    with pytest.raises(Corrupt):
        store.read("a")


def test_a_crash_in_the_first_write_leaves_no_object(store, monkeypatch):
    """A sidecar alone is not an object."""
    fail_at_rename(monkeypatch, 1, PowerFailure())
    with pytest.raises(PowerFailure):
        store.write("a", b"new")
    assert (store.exists("a"), store.list(""), store.read_pointer("a")) == (False, [], None)


def test_a_full_disk_leaves_the_old_object_and_no_debris(store, monkeypatch, tmp_path):
    """The error names the object and says what to do, and what was earned stays."""
    store.write("a", b"old")
    with monkeypatch.context() as patch:
        fail_at_fsync(patch, errno.ENOSPC)
        with pytest.raises(Full, match=r"store/a: no space left; free some"):
            store.write("a", b"new")
    assert store.read("a") == b"old"
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == [".lock", "a", "a.sha256"]


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (errno.EDQUOT, Full, "no space left"),
        (errno.EACCES, Denied, "permission denied; give this user access"),
        (errno.EPERM, Denied, "permission denied"),
        (errno.EROFS, Denied, "the file system is read-only; choose a writable place"),
        (errno.EIO, StorageError, "Input/output error; check the disk"),
    ],
)
def test_what_the_system_refuses_is_said_in_its_own_words(store, monkeypatch, code, kind, words):
    """Each refusal of the operating system becomes one kind of error; permission bits would not stop root."""
    fail_at_fsync(monkeypatch, code)
    with pytest.raises(kind, match=f"cannot write .*store/a: {words}") as raised:
        store.write("a", b"new")
    assert type(raised.value) is kind


def test_a_file_where_a_folder_should_be_is_said(tmp_path):
    """A store below a file is the user's mistake and reads so."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="a file stands where a folder is needed"):
        open_store(f"{tmp_path}/file/store").write("a", b"x")


def test_a_read_meets_a_whole_object_while_it_is_being_replaced(store):
    """Readers without a lock see one version or another, never a mixture, and never call it corrupt."""
    versions = [bytes([number]) * 2000 for number in range(40)]
    store.write("a", versions[0])
    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(lambda: [store.write("a", version) for version in versions])
        seen = [store.read("a")]
        while not writing.done():
            seen.append(store.read("a"))
        writing.result()
    assert set(seen) <= set(versions)


def test_a_pointer_is_moved_by_who_has_read_it(store):
    """A pointer starts without a version and moves from version to version."""
    assert store.read_pointer("latest.json") is None
    first = store.write_pointer("latest.json", b"1", None)
    second = store.write_pointer("latest.json", b"2", first)
    assert store.read_pointer("latest.json") == (b"2", second)


def test_a_pointer_is_not_moved_from_a_version_that_is_past(store, tmp_path):
    """Who has read an older version, or none, is refused and changes nothing."""
    first = store.write_pointer("latest.json", b"1", None)
    second = store.write_pointer("latest.json", b"2", first)
    for version in (first, None, "nonsense"):
        with pytest.raises(Conflict, match=r"latest\.json was moved by another writer; read it again"):
            store.write_pointer("latest.json", b"3", version)
    assert store.read_pointer("latest.json") == (b"2", second)


def test_repeating_a_move_whose_answer_was_lost_succeeds(store):
    """The same bytes written again from the same version are not a conflict."""
    first = store.write_pointer("latest.json", b"1", None)
    assert store.write_pointer("latest.json", b"1", None) == first


def test_of_many_racing_writers_one_moves_the_pointer(store):
    """Compare and swap is atomic between writers that hold the same version."""
    version = store.write_pointer("latest.json", b"start", None)

    def move(number):
        try:
            store.write_pointer("latest.json", str(number).encode(), version)
        except Conflict:
            return None
        return str(number).encode()

    with ThreadPoolExecutor(8) as pool:
        moved = [data for data in pool.map(move, range(8)) if data is not None]
    pointer = store.read_pointer("latest.json")
    assert pointer is not None
    assert moved == [pointer[0]]


def test_a_corrupt_pointer_is_neither_read_nor_moved(store, tmp_path):
    """A damaged pointer is an error until somebody deletes it."""
    version = store.write_pointer("latest.json", b"1", None)
    (tmp_path / "store" / "latest.json").write_bytes(b"?")
    with pytest.raises(Corrupt):
        store.read_pointer("latest.json")
    with pytest.raises(Corrupt):
        store.write_pointer("latest.json", b"2", version)
    store.delete("latest.json")
    store.write_pointer("latest.json", b"2", None)
    assert store.read("latest.json") == b"2"


def test_sizes_are_those_of_the_objects_alone(store):
    """By key and sorted; what vouches for an object takes room as well, but is no object."""
    for key, length in (("b/2", 3), ("b/1", 0), ("a", 7)):
        store.write(key, b"x" * length)
    assert store.sizes("") == {"a": 7, "b/1": 0, "b/2": 3}
    assert list(store.sizes("b/")) == ["b/1", "b/2"]
