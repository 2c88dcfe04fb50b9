"""A bucket that others filled: whole listings and objects of any size, streamed into files.

The objects of ``Store`` are our own and carry our SHA-256. These carry what their owner's tool has left: a checksum of
S3's own, which the client checks as the bytes arrive; else the MD5 that the ETag is where an object went up in one
part; and their size in any case.
"""

from __future__ import annotations

import hashlib
import re
from typing import IO, NamedTuple

from graphtrial.storage.errors import Corrupt
from graphtrial.storage.s3 import connect, translated

_CHUNK = 2**20
_MD5 = re.compile(r"[0-9a-f]{32}")
_PLAIN = {None, "AES256"}
"""Encryption under which an ETag still is an MD5."""


class S3Object(NamedTuple):
    """One object as its bucket lists it."""

    key: str
    size: int
    etag: str
    modified: float
    """Seconds since 1970."""


class Bucket:
    """Reads one bucket; errors are those of ``graphtrial.storage.errors``, each naming the URI."""

    def __init__(self, name: str, *, endpoint: str, region: str, path_style: bool) -> None:
        """Contact nobody yet; arguments as of ``open_store``. Without an endpoint boto3 looks for one itself."""
        self._name = name
        self._client = connect(name, endpoint=endpoint, region=region, path_style=path_style)

    def objects(self, prefix: str) -> dict[str, S3Object]:
        """Every object whose key starts with ``prefix``, by key, sorted.

        Raises:
            Missing: If there is no such bucket.
        """
        with translated(f"s3://{self._name}/{prefix}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=prefix)
            listed = [
                S3Object(each["Key"], each["Size"], each["ETag"].strip('"'), each["LastModified"].timestamp())
                for page in pages
                for each in page.get("Contents", ())
            ]
        return {each.key: each for each in sorted(listed)}

    def download(self, wanted: S3Object, file: IO[bytes]) -> None:
        """Write the object into an empty file; may be called from several threads.

        Raises:
            Missing: If it has gone since it was listed.
            Corrupt: If it is another by now, or its bytes do not agree with its checksum.
            OSError: If the file cannot be written.
        """
        where = f"s3://{self._name}/{wanted.key}"
        digest = hashlib.md5(usedforsecurity=False)
        with translated(where):
            answer = self._client.get_object(Bucket=self._name, Key=wanted.key, ChecksumMode="ENABLED")
        chunks = answer["Body"].iter_chunks(_CHUNK)
        while True:
            with translated(where):
                chunk = next(chunks, b"")
            if not chunk:
                break
            digest.update(chunk)
            file.write(chunk)
        checked = any(name.startswith("Checksum") and name != "ChecksumType" for name in answer)
        is_md5 = answer.get("ServerSideEncryption") in _PLAIN and _MD5.fullmatch(wanted.etag) is not None
        altered = not checked and is_md5 and digest.hexdigest() != wanted.etag
        if altered or file.tell() != wanted.size or answer["ETag"].strip('"') != wanted.etag:
            message = f"{where} is damaged, or was replaced while it was read; store it again, or try again"
            raise Corrupt(message)
