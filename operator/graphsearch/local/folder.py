"""One search's folder: manifest, facts and lock (design 8).

``search.yaml`` and ``search.json`` hold the manifest and the search's facts, ``trials/<index>/trial.json`` the facts of
a trial beside its checkpoints and reports. Each is written whole and atomically, so a process killed at any moment
leaves the old facts or the new ones.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
import uuid
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from pydantic import ValidationError

from graphsearch.api import GraphSearch, GraphTrial, SearchFacts, differences, parse_manifest, write_manifest
from graphsearch.search.ledger import Ledger
from graphtrial.contract import Device, Model, TrialResult, canonical_json, problems
from graphtrial.storage import Corrupt, Missing, Store, open_store

_T = TypeVar("_T", bound=Model)


class LockedError(Exception):
    """Another runner works on the folder."""


class NotARunError(Exception):
    """The folder holds no search."""


class ChangedManifestError(Exception):
    """The folder holds a search of another manifest; ``fields`` says what differs."""

    def __init__(self, folder: Path, fields: list[str]) -> None:
        lines = [f"{folder}: holds a search with other settings; use another --output or take these back:"]
        super().__init__("\n".join([*lines, *(f"  {field}" for field in fields)]))
        self.fields = fields


class Local(Model):
    """What the first run settled for the trials, so that later runs resume them bit-equal."""

    threads: int
    device: Device


def _trial_key(index: int) -> str:
    return f"trials/{index}/trial.json"


def _is_mine(lock: int) -> bool:
    """Take the lock unless a runner has it; who only looks for one shares it with others for a moment."""
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(lock, fcntl.LOCK_UN)


class Folder:
    """A search's folder; as a context manager it is locked for one runner."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    @property
    def store(self) -> Store:
        """The folder as objects."""
        return open_store(self.uri)

    @property
    def uri(self) -> str:
        """The folder as a URI."""
        return self.path.as_uri()

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not _is_mine(self._lock):
            owner = os.read(self._lock, 32).decode(errors="replace") or "unknown"
            os.close(self._lock)
            raise LockedError(f"{self.path}: another runner (process {owner.strip()}) works on it")
        try:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, str(os.getpid()).encode(), 0)
        except OSError as error:
            os.close(self._lock)
            raise OSError(error.errno, error.strerror, str(self.path / "lock")) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            os.close(self._lock)

    def has_runner(self) -> bool:
        """Whether a runner works on the folder now."""
        try:
            with (self.path / "lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    def open_search(self, manifest: GraphSearch, local: Local) -> tuple[SearchFacts, Local]:
        """Begin a search here, or take up the one that is here.

        A search without a score or a checkpoint yet has earned nothing: with a mended manifest it begins anew.

        Raises:
            ChangedManifestError: If the one here differs in a field that is fixed from birth, or has ended and differs
                in its budget.
            StorageError: If the folder cannot be written or holds a corrupt object.
        """
        if self._has("search.json") and self._differences(manifest) and self._is_worthless(manifest):
            # In this order: a kill between them must not leave the old trials to the new search.
            shutil.rmtree(self.path / "trials", ignore_errors=True)
            self.store.delete("search.json")
        if not self._has("search.json"):
            self._write("search.yaml", write_manifest(manifest).encode())
            self._write("local.json", canonical_json(local.to_json()).encode())
            facts = SearchFacts(uid=uuid.uuid4().hex[:8], started_at=time.time())
            self.write_facts(facts)
            return facts, local
        if fields := self._differences(manifest):
            raise ChangedManifestError(self.path, fields)
        facts = self.facts()
        if facts.ended_at is None:
            self._write("search.yaml", write_manifest(manifest).encode())
        return facts, self._read("local.json", Local)

    def _differences(self, manifest: GraphSearch) -> list[str]:
        return differences(self.manifest(), manifest, has_ended=self.facts().ended_at is not None)

    def manifest(self) -> GraphSearch:
        """The manifest of the search that is here."""
        self._check()
        return parse_manifest(self.store.read("search.yaml").decode(), str(self.path / "search.yaml"))

    def facts(self) -> SearchFacts:
        """The search's facts."""
        self._check()
        return self._read("search.json", SearchFacts)

    def ledger(self) -> Ledger:
        """All facts."""
        ledger = Ledger(self.facts())
        for key in self.store.list("trials/"):
            if key.endswith("/trial.json"):
                trial = self._read(key, GraphTrial)
                if key != _trial_key(trial.index):
                    raise Corrupt(f"{self.path / key}: is the record of trial {trial.index}; put it back or delete it")
                ledger.put(trial)
        return ledger

    def write_facts(self, facts: SearchFacts) -> None:
        """Record the search's facts."""
        self._write("search.json", facts.model_dump_json(by_alias=True, exclude_defaults=True).encode())

    def write_trial(self, trial: GraphTrial) -> None:
        """Record a trial's facts."""
        text = trial.model_dump_json(by_alias=True, exclude_defaults=True)
        self._write(_trial_key(trial.index), text.encode())

    def results(self, index: int, attempt: int | None = None) -> list[TrialResult]:
        """What the trial's attempts (or one of them) have left, oldest first; unreadable ones are left out."""
        found: list[TrialResult] = []
        for key in self.store.list(f"trials/{index}/reports/"):
            number = key.rpartition("/")[2].partition("-")[0]
            if key.endswith(".json") and (attempt is None or number == str(attempt)):
                try:
                    found.append(TrialResult.model_validate_json(self.store.read(key)))
                except (Missing, Corrupt, ValidationError):
                    continue
        return sorted(found, key=lambda result: result.attempt)

    def port(self, index: int) -> int | None:
        """The port on which the trial's trainer exposes its scores; None if it has not said."""
        try:
            return int(self.store.read(f"trials/{index}/port"))
        except (Missing, Corrupt, ValueError):
            return None

    def last_sign(self, index: int) -> float:
        """When the trial last wrote to its log, in seconds since the epoch; 0 if it never did."""
        log = self.path / "trials" / str(index) / "log.txt"
        return log.stat().st_mtime if log.exists() else 0.0

    def last_saving_attempt(self, index: int) -> int | None:
        """The attempt whose checkpoint is the trial's latest; None if there is none."""
        try:
            return int(json.loads(self.store.read(f"trials/{index}/latest.json"))["attempt"])
        except (Missing, Corrupt, ValueError, KeyError, TypeError):
            return None

    def _is_worthless(self, manifest: GraphSearch) -> bool:
        """Whether a search of the same name lies here that has nothing to lose."""
        if self.manifest().metadata.name != manifest.metadata.name:
            return False
        if any(trial.status.rungs for trial in self.ledger().trials.values()):
            return False
        return not any(key.endswith("/latest.json") for key in self.store.list("trials/"))

    def _has(self, name: str) -> bool:
        return self.store.exists(name)

    def _check(self) -> None:
        if not (self.path / "search.json").exists():
            raise NotARunError(f"{self.path}: holds no search (no search.json)")

    def _write(self, key: str, data: bytes) -> None:
        self._check_lock()
        self.store.write(key, data)

    def _check_lock(self) -> None:
        """A write would make a folder anew that was deleted or moved while its runner works."""
        if self._lock is None:
            return
        try:
            held = os.path.samestat((self.path / "lock").stat(), os.fstat(self._lock))
        except FileNotFoundError:
            held = False
        if not held:
            raise Missing(f"{self.path}: was deleted or moved while its search ran; move it back and run it again")

    def _read(self, key: str, kind: type[_T]) -> _T:
        """Facts, unlike checkpoints, cannot be made again: deleting what cannot be read would be poor advice."""
        path = self.path / key
        lost = f"trial {path.parent.name}" if kind is GraphTrial else "the search"
        advice = f"restore it from a copy or use another --output; deleting it would lose the record of {lost}"
        try:
            return kind.model_validate_json(self.store.read(key))
        except Corrupt:
            what = f"is corrupt: its bytes are not those that {path.name}.sha256 vouches for"
            raise Corrupt(f"{path} {what}; {advice}") from None
        except ValidationError as error:
            raise Corrupt(f"{path}: {'; '.join(problems(error, key))}; {advice}") from None
