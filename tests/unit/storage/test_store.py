"""Which store a URI means, and which keys every store can hold."""

from __future__ import annotations

import subprocess
import sys

import pytest

from graphtrial.storage import StorageError, open_store


@pytest.mark.parametrize("uri", ["", "relative/path", "file://host/path", "s3://", "gs://bucket/x", "file:relative"])
def test_a_uri_that_is_no_place_is_refused(uri):
    """The message holds the URI and the forms that are right."""
    with pytest.raises(StorageError, match="use file:///folder, an absolute path or s3://bucket/prefix"):
        open_store(uri)


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".lock", "a/.tmp", "a.sha256", "a.sha256/b"])
def test_a_key_that_some_store_cannot_hold_is_refused(tmp_path, key):
    """No key can leave the root or collide with the store's own files."""
    with pytest.raises(ValueError, match="is no key"):
        open_store(str(tmp_path)).write(key, b"x")


@pytest.mark.parametrize(("uri", "url"), [("s3://bucket/a/b/", "s3://bucket/a/b/k"), ("s3://bucket", "s3://bucket/k")])
def test_an_s3_uri_with_or_without_prefix_roots_the_store(uri, url):
    """Slashes at the end of the URI do not double."""
    assert open_store(uri, region="us-east-1").url_of("k") == url


def test_files_need_neither_torch_nor_boto3():
    """The package stays light for who stores nothing in S3."""
    code = (
        "import sys; from graphtrial.storage import open_store; open_store('/x');"
        "print(sorted({'torch', 'boto3', 'botocore'} & set(sys.modules)))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "[]\n"
