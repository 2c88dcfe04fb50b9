"""Data sets on a real S3 server: copied once, whole or not at all, and found again."""

from __future__ import annotations

import collections
import contextlib
import http.server
import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest
from e2e.cluster.object_store import BUCKET
from e2e.cluster.processes import free_ports
from PIL import Image
from tests.trainer_process import PATIENCE
from tests.trials import trial_spec
from tests.unit.data.test_cifar import PIXELS, write_batch

from graphtrial.contract import Checkpoint, Data, ExitCode, Part, Split
from graphtrial.data import DataError, load, remote
from graphtrial.storage import Corrupt, Denied, Unreachable
from graphtrial.storage.bucket import Bucket

pytestmark = pytest.mark.usefixtures("s3_credentials")


@pytest.fixture
def folder(tmp_path):
    """Two classes of three training images and one test image."""
    root = tmp_path / "set"
    for part, count in (("train", 3), ("test", 1)):
        for label, name in enumerate(("ant", "bee")):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (8, 8), (100 * label, 10 * number, 0)).save(root / part / name / f"{number}.png")
    return root


@pytest.fixture
def prefix(request):
    """Each test's own part of the one bucket."""
    return request.node.name


@pytest.fixture
def put(s3_client, prefix):
    """Stores a file under a key of this test."""
    return lambda path, key: s3_client.upload_file(str(path), BUCKET, f"{prefix}/{key}")


@pytest.fixture
def archive(folder, tmp_path, put, prefix):
    """The set as one object; its URI."""
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(folder, "set")
    put(path, "sets/set.tar")
    return f"s3://{BUCKET}/{prefix}/sets/set.tar"


@pytest.fixture
def objects(folder, put, prefix):
    """The set as an object for each file, and one beside it that does not belong; the prefix's URI."""
    for path in folder.rglob("*.png"):
        put(path, f"sets/set/{path.relative_to(folder)}")
    put(path, "sets/set-other/train/cat/0.png")
    return f"s3://{BUCKET}/{prefix}/sets/set"


@pytest.fixture
def server(s3_endpoint):
    """Where a trial saves: the data's server too."""
    return Checkpoint(uri=f"s3://{BUCKET}/trials", endpoint=s3_endpoint, region="us-east-1", path_style=True)


def loaded(uri, cache, server, split=Split.FULL):
    """The set's training and test images."""
    data = Data(dataset="ImageFolder", uri=uri, image_size=8, search_validation=Part(count=2))
    return load(data, split, cache=str(cache) if cache else "", server=server)


def assert_whole(data):
    """Every image with its label."""
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.train.images[:, :2, 0, 0].tolist() == [[0, 0], [0, 10], [0, 20], [100, 0], [100, 10], [100, 20]]
    assert data.evaluation.labels.tolist() == [0, 1]


@pytest.mark.parametrize("kind", ["archive", "objects"])
@pytest.mark.parametrize("kept", [True, False])
def test_a_set_on_s3_is_read_whole(kind, kept, server, tmp_path, request, monkeypatch):
    """An archive or a prefix, with a cache or without; with one, the next trial downloads nothing."""
    uri, cache = request.getfixturevalue(kind), tmp_path / "cache" if kept else None
    assert_whole(loaded(uri, cache, server))
    if kept:
        monkeypatch.setattr(Bucket, "download", lambda *_: pytest.fail("downloaded again"))
        assert_whole(loaded(uri, cache, server))
        assert not [path for path in (cache / "fetched").iterdir() if path.suffix == ".tmp"]


@pytest.mark.parametrize("form", ["archive", "objects"])
def test_cifar_on_s3_is_read_in_both_forms(form, server, tmp_path, put, prefix):
    """As its authors publish it, and as the files of its folder."""
    folder = tmp_path / "cifar-100-python"
    for name, pixels in (("train", PIXELS[:50]), ("test", PIXELS[50:])):
        write_batch(folder / name, data=pixels, fine_labels=list(range(len(pixels))))
        put(folder / name, f"{folder.name}/{name}")
    with tarfile.open(tmp_path / "cifar-100-python.tar.gz", "w:gz") as tar:
        tar.add(folder, folder.name)
    put(tmp_path / "cifar-100-python.tar.gz", "cifar-100-python.tar.gz")
    uri = f"s3://{BUCKET}/{prefix}/{folder.name}{'.tar.gz' if form == 'archive' else ''}"
    data = load(Data(dataset="CIFAR100", uri=uri), Split.FULL, server=server)
    assert (data.train.labels.tolist(), data.evaluation.labels.tolist()) == (list(range(50)), list(range(10)))


def test_trials_of_a_node_fetch_once(archive, server, tmp_path, monkeypatch):
    """Four at the same time: one downloads, the others wait for it."""
    fetched = []
    download = Bucket.download
    monkeypatch.setattr(Bucket, "download", lambda *what: fetched.append(what[1].key) or download(*what))
    with ThreadPoolExecutor(4) as pool:
        for data in pool.map(lambda _: loaded(archive, tmp_path / "cache", server), range(4)):
            assert_whole(data)
    assert len(fetched) == 1


def test_a_set_that_was_changed_there_is_fetched_anew(objects, folder, put, server, tmp_path):
    """Its ETag is another one."""
    assert_whole(loaded(objects, tmp_path / "cache", server))
    Image.new("RGB", (8, 8), (0, 77, 0)).save(folder / "train" / "ant" / "0.png")
    put(folder / "train" / "ant" / "0.png", "sets/set/train/ant/0.png")
    assert loaded(objects, tmp_path / "cache", server).train.images[0, 1, 0, 0] == 77


def test_the_environment_names_the_server(archive, server, monkeypatch, tmp_path):
    """Where the trial saves on a disk: boto3's own variables, and a bucket in the path."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    for saves_on in (None, Checkpoint(uri="file:///tmp/trials")):
        assert_whole(loaded(archive, tmp_path / "cache", saves_on))


def test_a_copy_that_is_not_whole_is_made_anew(archive, server, tmp_path):
    """A file of another size does not pass for the object."""
    assert_whole(loaded(archive, tmp_path / "cache", server))
    [copy] = (tmp_path / "cache" / "fetched").glob("*/set.tar")
    copy.write_bytes(copy.read_bytes()[:1000])
    assert_whole(loaded(archive, tmp_path / "cache", server))


@pytest.mark.parametrize("cut", [1000, 6000])
def test_a_half_uploaded_archive_leaves_nothing_decoded(archive, server, tmp_path, put, prefix, cut):
    """The error is the archive's, and names it."""
    path = tmp_path / "half.tar"
    path.write_bytes((tmp_path / "set.tar").read_bytes()[:cut])
    put(path, "half.tar")
    with pytest.raises(DataError, match=r"half\.tar is cut off or no tar archive"):
        loaded(f"s3://{BUCKET}/{prefix}/half.tar", tmp_path / "cache", server)
    assert not list((tmp_path / "cache").glob("*.npy"))


def test_a_download_that_breaks_leaves_nothing(objects, server, tmp_path, monkeypatch):
    """Neither a half copy that the next trial would take, nor its pieces."""
    download = Bucket.download

    def breaking(bucket, wanted, file):
        download(bucket, wanted, file)
        if wanted.key.endswith("bee/1.png"):
            raise Unreachable("the server has gone")

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "download", breaking)
        with pytest.raises(Unreachable):
            loaded(objects, tmp_path / "cache", server)
    assert {path.suffix for path in (tmp_path / "cache" / "fetched").iterdir()} == {".lock"}
    assert_whole(loaded(objects, tmp_path / "cache", server))


def test_an_object_whose_connection_breaks_is_asked_for_again(objects, server, tmp_path, monkeypatch):
    """A set of many objects does not begin anew for one."""
    download, asked = Bucket.download, collections.Counter()

    def breaking(bucket, wanted, file):
        asked[wanted.key] += 1
        file.write(b"a part")
        if wanted.key.endswith("bee/1.png") and asked[wanted.key] < 3:
            raise Unreachable("connection reset")
        file.seek(0)
        file.truncate()
        download(bucket, wanted, file)

    monkeypatch.setattr(Bucket, "download", breaking)
    assert_whole(loaded(objects, tmp_path / "cache", server))
    assert sorted(asked.values()) == [1] * 7 + [3]


class Slow(http.server.BaseHTTPRequestHandler):
    """A bucket with one object, of which a byte comes now and then until a test ends it."""

    asked: ClassVar[threading.Event]
    released: ClassVar[threading.Event]

    def do_GET(self):
        """Answer the listing, or begin with the object."""
        listing = (
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated><Contents>'
            "<Key>set.tar</Key><Size>9999</Size><ETag>x</ETag><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            "</Contents></ListBucketResult>"
        )
        body, length = (listing.encode(), len(listing)) if "list-type" in self.path else (b"begun", 9999)
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.send_header("ETag", "x")
        self.end_headers()
        self.wfile.write(body)
        with contextlib.suppress(ConnectionError):
            while length > len(body) and not self.released.wait(0.2):
                self.asked.set()
                self.wfile.write(b".")

    def log_message(self, *_):
        """Say nothing."""


def test_a_trial_that_is_stopped_while_its_data_come_does_not_wait_for_them(tmp_path, monkeypatch):
    """SIGTERM ends it though the server takes half an hour: 143."""
    Slow.asked, Slow.released = threading.Event(), threading.Event()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        spec = trial_spec(tmp_path / "trial", data={"dataset": "ImageFolder", "uri": "s3://bucket/set.tar"})
        trainer = subprocess.Popen(
            [sys.executable, "-m", "graphtrial"], env=os.environ | {"GRAPHTRIAL_SPEC": json.dumps(spec)}
        )
        try:
            assert Slow.asked.wait(PATIENCE)
            trainer.send_signal(signal.SIGTERM)
            assert trainer.wait(PATIENCE) == ExitCode.STOPPED
        finally:
            trainer.kill()
            trainer.wait()
            Slow.released.set()
            server.shutdown()


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        (f"s3://{BUCKET}/nothing/there", r"data\.uri: s3://.*/nothing/there names neither an object nor a prefix"),
        ("s3://no-such-bucket/key", r"data\.uri: s3://no-such-bucket/key: there is no such bucket; create it or"),
    ],
)
def test_what_is_not_there_is_named(uri, words, server, s3_client, tmp_path):
    """An object, a prefix, a bucket."""
    with pytest.raises(DataError, match=words):
        loaded(uri, tmp_path / "cache", server)


def test_wrong_credentials_are_named(archive, server, monkeypatch, tmp_path):
    """They are those that checkpoints use: from the environment, on Kubernetes a Secret's."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(Denied, match=r"data\.uri: s3://.*refuses access .*check the credentials, AWS_ACCESS_KEY_ID"):
        loaded(archive, tmp_path / "cache", server)


def test_a_server_that_does_not_answer_is_no_fault_of_the_data(archive, server, tmp_path):
    """The trial ends as one whose storage failed, and is tried again."""
    [port] = free_ports(1)
    gone = server.model_copy(update={"endpoint": f"http://127.0.0.1:{port}"})
    with pytest.raises(Unreachable, match="does not answer"):
        loaded(archive, tmp_path / "cache", gone)


def test_a_cache_that_cannot_be_written_costs_the_copy_only(archive, server, tmp_path, caplog):
    """The log says so, and the set is copied for this trial."""
    (tmp_path / "cache").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        assert_whole(loaded(archive, tmp_path / "cache", server))
    assert any("is not kept" in message for message in caplog.messages)


def test_an_object_altered_behind_its_checksum_is_refused(archive, server, tmp_path, monkeypatch):
    """Bytes that do not agree with the ETag, where S3 has no other checksum."""
    digests = importlib.import_module("graphtrial.storage.bucket").hashlib
    monkeypatch.setattr(digests, "md5", lambda **_: digests.sha256())
    monkeypatch.setattr(remote, "Bucket", Unchecked)
    with pytest.raises(Corrupt, match=r"set\.tar is damaged, or was replaced while it was read"):
        loaded(archive, tmp_path / "cache", server)


class Unchecked(Bucket):
    """A bucket whose answers carry no checksum of S3's own."""

    def __init__(self, name, **options):
        super().__init__(name, **options)
        get = self._client.get_object
        self._client.get_object = lambda **what: {
            field: value for field, value in get(**what).items() if not field.startswith("Checksum")
        }


def test_digests_do_not_depend_on_where_a_set_lies(archive, objects, folder, server, tmp_path):
    """Teachers trained on the bucket's images serve trials that read them from a disk."""
    digests = {loaded(uri, tmp_path / "cache", server).train_digest for uri in (archive, objects, str(folder))}
    assert len(digests) == 1
