"""A data set on S3, copied once per node: an archive, or all objects below a prefix.

The copy lies in the cache under a name made of what the bucket lists, sizes and ETags included, so that a set that
was changed there is another one here. It is put in place by a rename when every object has arrived whole; the lock
has other trials of the node wait for it. Without a cache it lies in the pod's own space until the images are decoded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from graphtrial.contract import Checkpoint
from graphtrial.data.cache import locked
from graphtrial.data.images import DataError, failure
from graphtrial.storage import Missing, StorageError, Unreachable
from graphtrial.storage.bucket import Bucket, S3Object
from graphtrial.storage.waiting import pause_after

_log = logging.getLogger(__name__)

_AT_ONCE = 8
"""Objects on their way."""
_WAITING = 4 * _AT_ONCE
"""Objects that wait for it."""
_TRIES, _LONGEST_PAUSE = 4, 5.0
"""How often one object is asked for where its connection breaks, with so many seconds between two tries at most.

The client repeats requests, not the reading of what comes back; and a set of many objects must not begin anew for one.
"""
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""Variables that boto3 reads by itself."""


@contextlib.contextmanager
def local_copy(uri: str, cache: str, server: Checkpoint | None) -> Iterator[Path]:
    """The archive or folder that an ``s3://`` URI names, as long as the block runs, and longer in a cache.

    Args:
        uri: ``s3://bucket/key`` or ``s3://bucket/prefix``.
        cache: A folder shared by the trials of a node; empty: none.
        server: Where checkpoints are saved: its endpoint, region and path style are the data's too. Without an
            endpoint there, ``AWS_ENDPOINT_URL`` and ``AWS_REGION`` of the environment are. Credentials are boto3's to
            find, the same as for checkpoints: on Kubernetes those of ``checkpoint.credentialsSecretRef``.

    Raises:
        DataError: If there is nothing.
        StorageError: If access is refused, the transfer breaks, or the copy fits nowhere.
        Unreachable: If the server does not answer.
    """
    if cache:
        try:
            kept = _fetched(uri, Path(cache, "fetched"), server)
        except OSError as error:
            _log.warning("%s is not kept, %s cannot be written: %s", uri, cache, error.strerror or error)
        else:
            yield kept
            return
    with tempfile.TemporaryDirectory(prefix="graphtrial-") as folder:
        try:
            copied = _fetched(uri, Path(folder), server)
        except OSError as error:
            reason = error.strerror or error
            message = f"data.uri: {folder} cannot hold a copy of {uri}: {reason}; make room, or name a cacheVolume"
            raise failure(error, message) from error
        yield copied


def _fetched(uri: str, folder: Path, server: Checkpoint | None) -> Path:
    parts = urlsplit(uri)
    key = uri.removeprefix(f"s3://{parts.netloc}").strip("/")
    try:
        bucket = _bucket(parts.netloc, server)
        listed = _without_marks(bucket.objects(key))
        objects = _chosen(key, listed)
        if not objects:
            message = f"data.uri: {uri} names neither an object nor a prefix with objects below it; check the URI"
            raise DataError(message)
        described = json.dumps([uri, sorted((name, each.size, each.etag) for name, each in objects.items())])
        digest = hashlib.sha256(described.encode()).hexdigest()[:32]
        with locked(str(folder), digest) as alone:
            place = folder / digest
            if not _whole(place, objects):
                _fetch(bucket, objects, place, folder / f"{digest if alone else uuid.uuid4().hex}.tmp")
        return place / key.rpartition("/")[2] if key in listed else place
    except Unreachable:
        raise
    except StorageError as error:
        # Credentials may be renewed and a broken transfer repeated; what is not there stays away.
        raise (DataError if isinstance(error, Missing) else type(error))(f"data.uri: {error}") from error


def _bucket(name: str, server: Checkpoint | None) -> Bucket:
    """On the server that checkpoints are saved on, if that is one; else the environment's, else Amazon's."""
    if server is not None and server.uri.startswith("s3://") and server.endpoint:
        return Bucket(name, endpoint=server.endpoint, region=server.region, path_style=server.path_style)
    # Servers that are not Amazon's understand a bucket in the path, and rarely one in the host name.
    own = any(os.environ.get(variable) for variable in _ENDPOINTS)
    return Bucket(name, endpoint="", region=os.environ.get("AWS_REGION", ""), path_style=own)


def _without_marks(listed: Mapping[str, S3Object]) -> dict[str, S3Object]:
    """Less the empty objects that tools leave for folders, under the very key below which others lie."""
    folders = {key[: slash.start()] for key in listed for slash in re.finditer("/", key)}
    return {key: each for key, each in listed.items() if each.size or key not in folders}


def _chosen(key: str, listed: Mapping[str, S3Object]) -> dict[str, S3Object]:
    """By name below the copy's folder: the object itself, else those below the prefix."""
    if key in listed:
        return {key.rpartition("/")[2]: listed[key]}
    start = f"{key}/" if key else ""
    return {
        name.removeprefix(start): each for name, each in listed.items() if name.startswith(start) and name[-1] != "/"
    }


def _whole(place: Path, objects: Mapping[str, S3Object]) -> bool:
    try:
        return all((place / name).stat().st_size == each.size for name, each in objects.items())
    except OSError:
        return False


def _download(bucket: Bucket, wanted: S3Object, target: Path) -> None:
    with target.open("wb") as file:
        bucket.download(wanted, file)
        # Copies are known by their size: after a power cut one must not be as long and full of zeros.
        file.flush()
        os.fsync(file.fileno())
    os.utime(target, (wanted.modified, wanted.modified))


def _fetch(bucket: Bucket, objects: Mapping[str, S3Object], place: Path, temporary: Path) -> None:
    """Copy every object, then put the folder in place."""

    def fetch(name: str) -> None:
        each, target = objects[name], temporary / name
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            message = f"data.uri: the key {each.key} leads out of its folder; rename the object"
            raise DataError(message)
        target.parent.mkdir(parents=True, exist_ok=True)
        for failures in range(_TRIES):
            try:
                _download(bucket, each, target)
            except Unreachable:
                if failures == _TRIES - 1:
                    raise
                time.sleep(pause_after(failures, _LONGEST_PAUSE))
            else:
                return

    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            names = list(objects)
            # A few at a time: a set may have a million objects.
            for start in range(0, len(names), _WAITING):
                for _ in pool.map(fetch, names[start : start + _WAITING]):
                    pass
        shutil.rmtree(place, ignore_errors=True)
        temporary.replace(place)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
