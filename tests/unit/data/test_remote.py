"""Which of a bucket's objects are the set; how they are copied, ``tests/integration/test_data_on_s3.py`` says."""

from __future__ import annotations

import pytest
from PIL import Image

from graphtrial.contract import Data, Part, Split
from graphtrial.data import load, remote
from graphtrial.storage.bucket import S3Object


class Folder:
    """A folder as a bucket, besides some empty objects."""

    def __init__(self, root, marks):
        """Each mark is a key."""
        self._root, self._marks = root, marks

    def objects(self, prefix):
        """As ``Bucket.objects``."""
        files = {path.relative_to(self._root).as_posix(): path for path in self._root.rglob("*.png")}
        listed = {key: S3Object(key, path.stat().st_size, "etag", 1.0) for key, path in files.items()}
        listed |= {key: S3Object(key, 0, "empty", 1.0) for key in self._marks}
        return {key: listed[key] for key in sorted(listed) if key.startswith(prefix)}

    def download(self, wanted, file):
        """As ``Bucket.download``."""
        file.write((self._root / wanted.key).read_bytes() if wanted.size else b"")


@pytest.mark.parametrize(
    "marks",
    [
        ["set/train", "set/train/ant"],
        ["set/", "set/train/", "set/train/ant/"],
        ["set"],
        ["set", "set/", "set/train", "set/train/", "set/train/ant-other"],
    ],
)
@pytest.mark.parametrize("kept", [True, False])
def test_empty_objects_that_stand_for_folders_are_passed_over(tmp_path, monkeypatch, marks, kept):
    """With a slash at their end or without, inside the prefix or in its place; other empty ones are files."""
    for label, name in enumerate(("ant", "bee")):
        (tmp_path / "bucket" / "set" / "train" / name).mkdir(parents=True)
        for number in range(2):
            picture = Image.new("RGB", (8, 8), (100 * label, 10 * number, 0))
            picture.save(tmp_path / "bucket" / "set" / "train" / name / f"{number}.png")
    monkeypatch.setattr(remote, "_bucket", lambda *_: Folder(tmp_path / "bucket", marks))
    data = Data(dataset="ImageFolder", uri="s3://bucket/set", search_validation=Part(count=2))
    found = load(data, Split.SEARCH, cache=str(tmp_path / "cache") if kept else "")
    assert sorted([*found.train.labels.tolist(), *found.evaluation.labels.tolist()]) == [0, 0, 1, 1]
    if kept:
        assert len(list((tmp_path / "cache" / "fetched").rglob("ant-other"))) == marks.count("set/train/ant-other")
