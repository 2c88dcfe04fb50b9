"""What the answers of S3 servers mean; they are literal, and no server is asked."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from graphtrial.storage import Conflict, Denied, Full, Missing, StorageError, Unreachable
from graphtrial.storage.s3 import translated

WHERE = "s3://bucket/key"


@pytest.mark.parametrize(
    ("status", "code", "expected", "words"),
    [
        (404, "NoSuchBucket", Missing, "there is no such bucket"),
        (404, "NoSuchKey", Missing, "does not exist"),
        (507, "InsufficientStorage", Full, "no space left"),
        (403, "AccessDenied", Denied, "check the credentials"),
        (400, "ExpiredToken", Denied, "check the credentials"),
        (403, "RequestTimeTooSkewed", Denied, "set this machine's clock"),
        (409, "ConditionalRequestConflict", Conflict, "another writer"),
        (412, "PreconditionFailed", Conflict, "another writer"),
        (429, "TooManyRequests", Unreachable, "is busy"),
        (503, "SlowDown", Unreachable, "is busy"),
        (400, "RequestTimeout", Unreachable, "is busy"),
        (503, "ServiceUnavailable", Unreachable, "try again later"),
        (501, "NotImplemented", StorageError, "conditional writes"),
        (400, "InvalidArgument", StorageError, "check the URI and the region"),
    ],
)
def test_the_table_of_answers(status, code, expected, words):
    """What passes by itself is waited for; everything else says what to do."""
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    with pytest.raises(expected, match=words) as caught, translated(WHERE):
        raise ClientError(answer, "PutObject")
    assert type(caught.value) is expected
    assert WHERE in str(caught.value)


def test_a_connection_that_is_lost_without_a_word_is_no_answer():
    """A node that was drained took it along."""
    with pytest.raises(Unreachable, match="does not answer"), translated(WHERE):
        raise ReadTimeoutError(endpoint_url="http://bucket")
