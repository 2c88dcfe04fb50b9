"""Which store a URI means."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from graphtrial.storage.errors import StorageError
from graphtrial.storage.files import FileStore
from graphtrial.storage.store import Store


def open_store(uri: str, *, endpoint: str = "", region: str = "", path_style: bool = False) -> Store:
    """The store below a URI; nothing is created or contacted yet.

    Args:
        uri: ``file:///folder``, an absolute path, or ``s3://bucket/prefix``.
        endpoint: S3: address of a server that is not Amazon's. boto3 finds the credentials.
        region: S3: the bucket's region.
        path_style: S3: the bucket stands in the path and not in the host name.

    Raises:
        StorageError: If the URI is none of these.
    """
    if uri.startswith("/"):
        return FileStore(Path(uri))
    parts = urlsplit(uri)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return FileStore(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc:
        from graphtrial.storage.s3 import S3Store

        prefix = uri.removeprefix(f"s3://{parts.netloc}").strip("/")
        return S3Store(parts.netloc, prefix, endpoint=endpoint, region=region, path_style=path_style)
    message = f"{uri!r} is no place to store objects; use file:///folder, an absolute path or s3://bucket/prefix"
    raise StorageError(message)
