"""The S3 store against a real server."""

from __future__ import annotations

import hashlib
import http.server
import json
import random
import threading
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest
from e2e.cluster.object_store import BUCKET, KEYS
from e2e.cluster.processes import free_ports

from graphtrial.storage import Conflict, Corrupt, Denied, Missing, StorageError, Unreachable, open_store

pytestmark = pytest.mark.usefixtures("s3_credentials")


@pytest.fixture
def open_at(s3_endpoint):
    """Opens a store on the server."""
    return lambda uri: open_store(uri, endpoint=s3_endpoint, region="us-east-1", path_style=True)


@pytest.fixture
def store(s3_client, open_at, request):
    """An empty store, in a prefix of the one bucket; each bucket costs SeaweedFS several volumes."""
    return open_at(f"s3://{BUCKET}/{request.node.name}")


def address(store, key):
    """Bucket and whole key of an object, as boto3 wants them."""
    bucket, _, whole = store.url_of(key).removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": whole}


def test_objects_live_their_whole_life(store):
    """Written, replaced, listed below the prefix, read, deleted twice."""
    store.write("trials/0/a.pt", b"first")
    store.write("trials/0/a.pt", b"second")
    store.write("trials/10/b", b"")
    assert store.list("") == ["trials/0/a.pt", "trials/10/b"]
    assert store.list("trials/1") == ["trials/10/b"]
    assert (store.read("trials/0/a.pt"), store.read("trials/10/b")) == (b"second", b"")
    store.delete("trials/0/a.pt")
    store.delete("trials/0/a.pt")
    assert (store.exists("trials/0/a.pt"), store.exists("trials/10/b")) == (False, True)


def test_listing_is_complete_beyond_one_page(store, s3_client):
    """S3 answers a thousand keys at a time; the store asks on."""
    keys = [f"reports/{number:04}" for number in range(1005)]
    for key in keys:
        s3_client.put_object(**address(store, key), Body=b"")
    assert store.list("reports/") == keys


def test_what_others_have_put_there_can_be_deleted(store, s3_client):
    """Marks of folders that consoles make, locks and sidecars of a copied run: they are no keys of ours."""
    for name in ("trials/0/", ".lock", "trials/0/1.pt.sha256"):
        s3_client.put_object(Bucket=BUCKET, Key=f"{address(store, 'a')['Key'].removesuffix('a')}{name}", Body=b"")
    for key in store.list(""):
        store.delete(key)
    assert store.list("") == []


def test_a_missing_object_and_a_missing_bucket_are_told_apart(store, open_at):
    """Both are Missing; the message says which."""
    with pytest.raises(Missing, match=f"{store.url_of('a')} does not exist"):
        store.read("a")
    with pytest.raises(Missing, match="there is no such bucket"):
        open_at("s3://nowhere-at-all/x").read("a")


def test_an_altered_object_is_refused(store, s3_client):
    """The digest in the metadata outlives a change of the bytes."""
    store.write("a", b"weights")
    metadata = s3_client.head_object(**address(store, "a"))["Metadata"]
    s3_client.put_object(**address(store, "a"), Body=b"weight", Metadata=metadata)
    for unsigned in (False, True):
        with pytest.raises(Corrupt, match="/a is corrupt"):
            store.read("a", unsigned=unsigned)


def test_an_object_without_a_digest_is_refused(store, s3_client):
    """What cannot be verified is not returned, but to a reader who takes what somebody else has put there."""
    s3_client.put_object(**address(store, "a"), Body=b"weights")
    with pytest.raises(Corrupt, match="carries no SHA-256"):
        store.read("a")
    assert store.read("a", unsigned=True) == b"weights"


def test_an_object_stored_by_another_tool_is_read_by_its_checksum(store, s3_client):
    """S3's own SHA-256 is enough; the metadata is this program's."""
    s3_client.put_object(**address(store, "a"), Body=b"weights", ChecksumAlgorithm="SHA256")
    assert store.read("a") == b"weights"


@pytest.fixture(scope="module")
def large():
    """Bytes that go up in three parts, and repeat nowhere."""
    return random.Random(0).randbytes(34 * 2**20)


def test_a_large_object_goes_up_in_parts_and_comes_down_verified(store, s3_client, large):
    """The checksum of the whole travels with it; the server's own is of the parts."""
    store.write("a.pt", large)
    head = s3_client.head_object(**address(store, "a.pt"), PartNumber=1)
    assert (head["PartsCount"], head["Metadata"]) == (3, {"sha256": hashlib.sha256(large).hexdigest()})
    assert store.read("a.pt") == large


def test_a_large_object_that_was_altered_is_refused(store, s3_client, large):
    """One bit in the middle."""
    store.write("a.pt", large)
    metadata = s3_client.head_object(**address(store, "a.pt"))["Metadata"]
    altered = bytearray(large)
    altered[len(large) // 2] ^= 1
    s3_client.put_object(**address(store, "a.pt"), Body=bytes(altered), Metadata=metadata)
    with pytest.raises(Corrupt, match=r"/a\.pt is corrupt"):
        store.read("a.pt")


def test_a_pointer_moves_only_from_the_version_that_was_read(store):
    """New, moved, refused from a past version and from none; what it held stays."""
    assert store.read_pointer("latest.json") is None
    first = store.write_pointer("latest.json", b"1", None)
    second = store.write_pointer("latest.json", b"2", first)
    for version in (first, None):
        with pytest.raises(Conflict, match=r"latest\.json was moved by another writer; read it again"):
            store.write_pointer("latest.json", b"3", version)
    assert store.read_pointer("latest.json") == (b"2", second)


def test_a_pointer_deleted_meanwhile_is_a_conflict(store):
    """Moving what is gone is refused, and a fresh start is possible."""
    version = store.write_pointer("latest.json", b"1", None)
    store.delete("latest.json")
    with pytest.raises(Conflict):
        store.write_pointer("latest.json", b"2", version)
    store.write_pointer("latest.json", b"2", None)
    assert store.read("latest.json") == b"2"


def test_repeating_a_move_whose_answer_was_lost_succeeds(store):
    """The same bytes written again from the same version are not a conflict."""
    first = store.write_pointer("latest.json", b"1", None)
    second = store.write_pointer("latest.json", b"2", first)
    assert store.write_pointer("latest.json", b"2", first) == second


def test_a_wrong_key_is_denied(store, monkeypatch, open_at):
    """The message points at the credentials."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(Denied, match="check the credentials"):
        open_at(f"s3://{BUCKET}").write("a", b"x")


def test_no_key_at_all_is_denied(store, monkeypatch, open_at):
    """The message names the variables that are missing."""
    for name in KEYS:
        monkeypatch.delenv(name)
    with pytest.raises(Denied, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        open_at(f"s3://{BUCKET}").write("a", b"x")


class Identity(http.server.BaseHTTPRequestHandler):
    """Gives a pod its credentials as EKS Pod Identity does: over HTTP, to who shows the token."""

    answers: ClassVar[bool] = True

    def do_GET(self):
        """One answer: credentials for an hour, or a failure."""
        granted = self.answers and self.headers["Authorization"] == "pod-token"
        expiry = datetime.now(UTC) + timedelta(hours=1)
        key, secret = KEYS.values()
        answer = {"AccessKeyId": key, "SecretAccessKey": secret, "Token": "", "Expiration": expiry.isoformat()}
        body = json.dumps(answer if granted else {"code": "no", "message": "no role for this service account"}).encode()
        self.send_response(200 if granted else 400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing to print."""


@pytest.fixture
def identity(monkeypatch, tmp_path):
    """No key in the environment, but an agent on the node that gives one to this process."""
    for name in KEYS:
        monkeypatch.delenv(name)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Identity) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        (tmp_path / "token").write_text("pod-token")
        monkeypatch.setenv(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{server.server_port}/v1/credentials"
        )
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
        yield
        server.shutdown()
        thread.join()


def test_a_process_may_have_an_identity_in_place_of_a_key(store, identity, open_at, request):
    """boto3's chain finds it; no Secret is needed."""
    open_at(f"s3://{BUCKET}/{request.node.name}").write("a", b"x")
    assert store.exists("a") is True


def test_an_identity_that_fails_is_denied(store, identity, monkeypatch, open_at):
    """The message says so and what else can be done."""
    monkeypatch.setattr(Identity, "answers", False)
    with pytest.raises(Denied, match=rf"s3://{BUCKET}: no S3 credentials from the process's identity .*set AWS_ACCESS"):
        open_at(f"s3://{BUCKET}").write("a", b"x")


def test_a_token_that_is_not_there_is_denied(store, monkeypatch, tmp_path, open_at):
    """The file that the identity needs is named."""
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/trainer")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "no-token"))
    with pytest.raises(Denied, match=r"no-token.*check the files that the AWS_ variables name"):
        open_at(f"s3://{BUCKET}").write("a", b"x")


def test_a_server_that_is_not_there_is_unreachable():
    """The message points at the endpoint and the network."""
    [port] = free_ports(1)
    nowhere = open_store("s3://bucket/x", endpoint=f"http://127.0.0.1:{port}", region="us-east-1", path_style=True)
    with pytest.raises(Unreachable, match="check the endpoint and the network"):
        nowhere.read("a")


def test_an_endpoint_that_is_no_address_is_refused():
    """A slip in the manifest is one sentence, not boto3's traceback."""
    with pytest.raises(StorageError, match="check the URI, the endpoint and the region"):
        open_store("s3://bucket/x", endpoint="no address", region="us-east-1")
