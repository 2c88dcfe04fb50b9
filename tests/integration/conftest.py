"""One S3 server for all tests that need one."""

from __future__ import annotations

import boto3
import pytest
from e2e.cluster.object_store import BUCKET, KEYS, running_object_store


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """The server; who stops it starts it again."""
    with running_object_store(tmp_path_factory.mktemp("weed")) as store:
        yield store


@pytest.fixture(scope="session")
def s3_endpoint(s3):
    """Its address."""
    return s3.url


@pytest.fixture
def s3_credentials(monkeypatch, tmp_path):
    """The server's key in the environment, and nothing from the user's own configuration."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def s3_client(s3_endpoint):
    """boto3 itself, with the one bucket made: to make and damage objects behind the store's back."""
    key, secret = KEYS.values()
    session = boto3.Session(aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1")
    client = session.client("s3", endpoint_url=s3_endpoint)
    client.create_bucket(Bucket=BUCKET)
    return client
