"""Objects in an S3 bucket; the SHA-256 travels as S3's own checksum and again as metadata.

The server checks the first when it stores the object: of the whole, or of each part where a large object goes up in
parts. The second is always of the whole, and survives servers that keep no checksums. A pointer moves by ``If-Match``
on its ETag, or ``If-None-Match: *`` when it is new.

Credentials are boto3's to find: variables of the environment, or the identity that the platform gives the process.
botocore repeats a request that a moment's trouble has spoilt; who can wait longer repeats the call.

Decided against: parts side by side (uploads are nobody's hurry) and looking for the parts of uploads that were killed
half-way (a lifecycle rule of the bucket, AbortIncompleteMultipartUpload, takes them away).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
from collections.abc import Iterator, Mapping
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore import exceptions as boto
from botocore.config import Config

from graphtrial.storage.errors import Conflict, Corrupt, Denied, Full, Missing, StorageError, Unreachable
from graphtrial.storage.store import checked

_METADATA = "sha256"
_CONNECT_SECONDS, _READ_SECONDS = 10, 20
"""Of silence, the first also of a server that stops taking what is sent.

A connection that was lost without a word must not cost a pod's whole grace period, nor a busy disk a whole upload.
"""
_ATTEMPTS = 3
_IN_PARTS_FROM = 32 * 2**20
"""Bytes; what is smaller is sent again as a whole when a connection breaks."""
_PART = 16 * 2**20
_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (on Kubernetes: in the Secret that credentialsSecretRef names), or "
    "give the process an identity that boto3 finds (a service account with a role)"
)
_BAD_CREDENTIALS = {
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "InvalidAccessKeyId",
    "InvalidIdentityToken",
}
"""Answers that some servers give with status 400."""
_BUSY = {"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests"}
"""Answers, under whatever status, that ask for patience."""


def connect(bucket: str, *, endpoint: str, region: str, path_style: bool) -> Any:
    """boto3's client for a bucket; nothing is contacted yet.

    Raises:
        StorageError: If the endpoint or the region cannot be one.
    """
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        s3={"addressing_style": "path" if path_style else "auto"},
    )
    with translated(f"s3://{bucket}"):
        return boto3.Session().client("s3", endpoint_url=endpoint or None, region_name=region or None, config=config)


class S3Store:
    """The store below a bucket's prefix; see ``graphtrial.storage.Store``."""

    remote = True

    def __init__(self, bucket: str, prefix: str, *, endpoint: str, region: str, path_style: bool) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._client: Any = connect(bucket, endpoint=endpoint, region=region, path_style=path_style)

    def url_of(self, key: str) -> str:
        """``s3://``, the bucket and the whole key."""
        return f"s3://{self._bucket}/{self._prefix}{checked(key)}"

    def read(self, key: str, *, unsigned: bool = False) -> bytes:
        """See ``Store.read``; verified against S3's checksum and the metadata, as far as each is there."""
        return self._get(key, unsigned=unsigned)[0]

    def write(self, key: str, data: bytes) -> None:
        """See ``Store.write``; the bucket must exist. Large objects go up in parts, and appear when all are there."""
        if len(data) < _IN_PARTS_FROM:
            self._put(key, data)
        else:
            self._put_in_parts(key, data)

    def exists(self, key: str) -> bool:
        """See ``Store.exists``."""
        try:
            with translated(self.url_of(key)):
                self._client.head_object(**self._address(key))
        except Missing:
            return False
        return True

    def list(self, prefix: str) -> list[str]:
        """See ``Store.list``."""
        return list(self.sizes(prefix))

    def sizes(self, prefix: str) -> dict[str, int]:
        """See ``Store.sizes``."""
        start = self._prefix + prefix
        with translated(f"s3://{self._bucket}/{start}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=start)
            found = {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", ())}
        return {name.removeprefix(self._prefix): found[name] for name in sorted(found)}

    def delete(self, key: str) -> None:
        """See ``Store.delete``; also what others have put there, under names that are no keys of ours."""
        name = self._prefix + key
        with translated(f"s3://{self._bucket}/{name}"):
            self._client.delete_object(Bucket=self._bucket, Key=name)

    def read_pointer(self, key: str) -> tuple[bytes, str] | None:
        """See ``Store.read_pointer``; the version is the ETag."""
        try:
            return self._get(key)
        except Missing:
            return None

    def write_pointer(self, key: str, data: bytes, version: str | None) -> str:
        """See ``Store.write_pointer``."""
        condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        try:
            return self._put(key, data, **condition)
        except (Conflict, Missing) as error:
            current = self.read_pointer(key)
            if current and current[0] == data:
                return current[1]
            message = f"{self.url_of(key)} was moved by another writer; read it again before moving it"
            raise Conflict(message) from error

    def _address(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + checked(key)}

    def _put(self, key: str, data: bytes, **condition: str) -> str:
        digest = hashlib.sha256(data)
        with translated(self.url_of(key)):
            answer = self._client.put_object(
                **self._address(key),
                Body=data,
                ChecksumSHA256=base64.b64encode(digest.digest()).decode(),
                Metadata={_METADATA: digest.hexdigest()},
                **condition,
            )
        return str(answer["ETag"])

    def _put_in_parts(self, key: str, data: bytes) -> None:
        config = TransferConfig(multipart_threshold=_IN_PARTS_FROM, multipart_chunksize=_PART, use_threads=False)
        sent_along = {"ChecksumAlgorithm": "SHA256", "Metadata": {_METADATA: hashlib.sha256(data).hexdigest()}}
        with translated(self.url_of(key)):
            self._client.upload_fileobj(io.BytesIO(data), **self._address(key), ExtraArgs=sent_along, Config=config)

    def _get(self, key: str, *, unsigned: bool = False) -> tuple[bytes, str]:
        where = self.url_of(key)
        with translated(where):
            answer = self._client.get_object(**self._address(key), ChecksumMode="ENABLED")
            data: bytes = answer["Body"].read()
        _verify(where, data, answer, unsigned=unsigned)
        return data, str(answer["ETag"])


def _verify(where: str, data: bytes, answer: Mapping[str, Any], *, unsigned: bool) -> None:
    actual = hashlib.sha256(data)
    metadata, checksum = answer["Metadata"].get(_METADATA), answer.get("ChecksumSHA256", "")
    stated = {metadata} - {None}
    if checksum and "-" not in checksum:  # "-" marks a checksum of parts
        stated.add(base64.b64decode(checksum).hex())
    if not stated and unsigned:
        return
    if not stated:
        message = f"{where} cannot be verified: it carries no SHA-256; store it again with ChecksumAlgorithm SHA256"
        raise Corrupt(message)
    if stated != {actual.hexdigest()}:
        raise Corrupt(_altered(where))


def _altered(where: str) -> str:
    return f"{where} is corrupt: its bytes do not agree with its SHA-256; delete it or restore a copy"


@contextlib.contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn what botocore says into an error of this room."""
    try:
        yield
    except boto.FlexibleChecksumError as error:
        raise Corrupt(_altered(where)) from error
    except (boto.NoCredentialsError, boto.PartialCredentialsError) as error:
        raise Denied(f"{where}: no S3 credentials; set {_CREDENTIALS}") from error
    except (boto.CredentialRetrievalError, boto.MetadataRetrievalError) as error:
        raise Denied(
            f"{where}: no S3 credentials from the process's identity ({error}); mend it, or set {_CREDENTIALS}"
        ) from error
    except boto.ClientError as error:
        raise _of_answer(where, error) from error
    except (boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError) as error:
        message = f"{where}: the S3 server does not answer ({error}); check the endpoint and the network"
        raise Unreachable(message) from error
    except OSError as error:  # a token or a certificate that a variable of the environment names
        message = f"{where}: a file cannot be read ({error}); check the files that the AWS_ variables name"
        raise Denied(message) from error
    except (boto.BotoCoreError, ValueError) as error:
        message = f"{where}: {error}; check the URI, the endpoint and the region"
        raise StorageError(message) from error


def _of_answer(where: str, error: boto.ClientError) -> StorageError:
    """The error for an answer of the server that is not a success."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = error.response.get("Error", {}).get("Code", "")
    if code == "NoSuchBucket":
        return Missing(f"{where}: there is no such bucket; create it or correct the URI")
    if code in {"QuotaExceeded", "XMinioStorageFull"} or status == 507:
        return Full(f"{where}: the S3 server has no space left ({code}); free some or choose another bucket")
    if status == 404:
        return Missing(f"{where} does not exist; check the URI")
    if status in {408, 429} or code in _BUSY:
        return Unreachable(f"{where}: the S3 server is busy ({status} {code}); try again later")
    if code == "RequestTimeTooSkewed":
        return Denied(f"{where}: the S3 server refuses access ({code}); set this machine's clock")
    if status in {401, 403} or code in _BAD_CREDENTIALS:
        message = (
            f"{where}: the S3 server refuses access ({code}); check the credentials, {_CREDENTIALS}, and the bucket's "
            f"policy (list, get, put and delete)"
        )
        return Denied(message)
    if status in {409, 412}:
        return Conflict(f"{where} was changed by another writer ({code}); read it again")
    if status == 501:
        message = (
            f"{where}: the S3 server cannot do what is asked ({code}); take one that knows checksums and conditional "
            f"writes (If-Match, If-None-Match)"
        )
        return StorageError(message)
    if status >= 500:
        return Unreachable(f"{where}: the S3 server fails ({status} {code}); try again later")
    return StorageError(f"{where}: the S3 server refuses the request ({status} {code}); check the URI and the region")
