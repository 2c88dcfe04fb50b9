"""Image folders, on disk and in archives: what is found in them, and what damage is said to be."""

from __future__ import annotations

import importlib
import io
import os
import shutil
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from tests.shared_data import shared_data

from graphtrial.contract import Data, Labelled, Part, Split
from graphtrial.data import DataError, load

loading = importlib.import_module("graphtrial.data.load")  # the room gives its name to the function
COLOURS = {"ant": (200, 0, 0), "bee": (0, 200, 0), "cat": (0, 0, 200)}
PER_CLASS = {"train": 5, "test": 2}


def picture(colour, size=(8, 8)):
    """A plain image."""
    return Image.new("RGB", size, colour)


@pytest.fixture
def folder(tmp_path):
    """Five training and two test images of 8x8 pixels in each of three classes, and a file that is no image."""
    root = tmp_path / "set"
    for part, count in PER_CLASS.items():
        for name, colour in COLOURS.items():
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                picture(colour).save(root / part / name / f"{number:02}.png")
    (root / "train" / "ant" / "notes.txt").write_text("not an image")
    return root


@pytest.fixture(params=[".tar", ".tar.gz"])
def archive(folder, tmp_path, request):
    """The same as an archive, one folder deeper."""
    path = tmp_path / f"set{request.param}"
    with tarfile.open(path, "w:gz" if request.param.endswith("gz") else "w") as tar:
        tar.add(folder, "deeper")
    return path


def data_at(path, **fields):
    """A data set of images of 8 pixels; one image of each class is held out in a search."""
    return Data(dataset="ImageFolder", uri=str(path), **{"image_size": 8, "search_validation": Part(count=3)} | fields)


def assert_whole(data):
    """The three colours, as the three classes in alphabetical order."""
    assert (data.classes, data.channels, data.image_size) == (3, 3, 8)
    for images, count in ((data.train, PER_CLASS["train"]), (data.evaluation, PER_CLASS["test"])):
        assert images.labels.tolist() == [label for label in range(3) for _ in range(count)]
        colours = torch.tensor(list(COLOURS.values()), dtype=torch.uint8)[images.labels]
        assert torch.equal(images.images, colours[:, :, None, None].expand(-1, -1, 8, 8))


def test_classes_are_folders_in_alphabetical_order(folder):
    """Every image is there with its folder's label, and other files are passed over."""
    assert_whole(load(data_at(folder), Split.FULL))


def test_train_and_test_may_lie_one_folder_deeper(folder):
    """As they do in most archives, once extracted."""
    assert_whole(load(data_at(folder.parent), Split.FULL))


def test_an_archive_is_read_as_it_is(archive):
    """Compressed or not, nothing need be extracted."""
    assert_whole(load(data_at(archive.as_uri()), Split.FULL))


def test_images_are_numbered_alike_however_they_are_packed(folder, tmp_path):
    """By class, then by file, also where a class's name continues another's; hidden files are passed over."""
    (folder / "train" / "ant-like").mkdir()
    picture((9, 9, 9)).save(folder / "train" / "ant-like" / "0.png")
    (folder / "train" / ".hidden").mkdir()
    for hidden in (".hidden/0.png", "ant/._00.png"):
        (folder / "train" / hidden).write_bytes(b"no image")
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(folder, "deeper")
    on_disk, packed = (load(data_at(path), Split.FULL) for path in (folder, tmp_path / "set.tar"))
    assert on_disk.train.labels.tolist() == [0] * 5 + [1] + [2] * 5 + [3] * 5
    assert torch.equal(packed.train.images, on_disk.train.images)
    assert packed.train_digest == on_disk.train_digest


def test_a_file_name_may_be_of_any_bytes(folder, tmp_path):
    """Also one that is no UTF-8, of an image and of a class, however they are packed and kept."""
    (folder / "train" / "ant" / "00.png").rename(folder / "train" / "ant" / os.fsdecode(b"caf\xe9.png"))
    for part in PER_CLASS:
        (folder / part / "bee").rename(folder / part / os.fsdecode(b"b\xe9\xe9"))
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(folder, "deeper")
    (tmp_path / os.fsdecode(b"s\xe9t.tar")).write_bytes((tmp_path / "set.tar").read_bytes())
    (tmp_path / "linked.tar").symlink_to(tmp_path / os.fsdecode(b"s\xe9t.tar"))
    found = [
        load(data_at(tmp_path / name), Split.FULL, cache=str(tmp_path / "cache"))
        for name in ("set", "set.tar", "linked.tar", "set", "set.tar")
    ]
    for data in found:
        assert_whole(data)
    assert len({data.train_digest for data in found}) == 1


def linked(folder, path, **how):
    """The set as an archive in which two images of each class are one file, of the first class a hidden one."""
    (folder / "train" / "ant" / ".kept").hardlink_to(folder / "train" / "ant" / "02.png")
    for name in COLOURS:
        (folder / "train" / name / "00.png").unlink()
        (folder / "train" / name / "00.png").hardlink_to(folder / "train" / name / "02.png")
    with tarfile.open(path, **how) as tar:
        tar.add(folder, "deeper")
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_hard_link_in_an_archive_is_the_file_that_it_is_of(folder, tmp_path, mode):
    """As ``tar`` packs a file with two names; the images and the digest are those of the folder."""
    path = linked(folder, tmp_path / "set.tar", mode=mode)
    with tarfile.open(path) as tar:
        assert sum(member.islnk() for member in tar) == 4
    on_disk, packed = (load(data_at(place), Split.FULL) for place in (folder, path))
    assert_whole(packed)
    assert packed.train_digest == on_disk.train_digest


def test_a_hard_link_to_a_hard_link_is_the_file_too(folder, tmp_path):
    """GNU tar writes none; others may."""
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(folder, "set")
        for name, target in (("1", "train/ant/00"), ("2", "train/ant/1")):
            link = tarfile.TarInfo(f"set/train/ant/{name}.png")
            link.type, link.linkname = tarfile.LNKTYPE, f"set/{target}.png"
            tar.addfile(link)
    images = load(data_at(tmp_path / "set.tar"), Split.FULL).train.images
    assert len(images) == len(load(data_at(folder), Split.FULL).train.images) + 2


def test_a_hard_link_to_what_was_replaced_in_an_archive_has_the_bytes_of_its_time(folder, tmp_path):
    """As extracting would leave it; what was replaced itself is the later file."""
    path = linked(folder, tmp_path / "set.tar", mode="w")
    with tarfile.open(path) as tar:
        (of_bee,) = (member.linkname for member in tar if member.islnk() and "bee" in member.name)
    picture((7, 8, 9)).save(tmp_path / "later.png")
    with tarfile.open(path, "a") as tar:
        tar.add(tmp_path / "later.png", of_bee)
    colours = load(data_at(path), Split.FULL).train.images[5:10, :, 0, 0].tolist()
    assert colours == [[7, 8, 9], *[[0, 200, 0]] * 4]


@pytest.mark.parametrize("name", ["train/ant/more.png", "train/dog", "train/St.Bernard", "classes.txt"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_in_an_archive_that_leads_elsewhere_is_named(folder, tmp_path, name, kind):
    """Nothing is left out without a word: not an image, nor a folder of them; what nobody reads is passed over."""
    unread = ("deeper/train/ant/.more.png", "deeper/README", "latest", "elsewhere/train/0.png")
    *passed_over, seen = (tarfile.TarInfo(each) for each in (*unread, f"deeper/{name}"))
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(folder, "deeper")
        for link in (*passed_over, seen):
            link.type, link.linkname = kind, "../elsewhere"
        for link in passed_over:
            tar.addfile(link)
    assert_whole(load(data_at(tmp_path / "set.tar"), Split.FULL))
    with tarfile.open(tmp_path / "set.tar", "a") as tar:
        tar.addfile(seen)
    words = rf"set\.tar: deeper/{name} is a link to \.\./elsewhere, which is not read; pack .* tar --dereference"
    with pytest.raises(DataError, match=words):
        load(data_at(tmp_path / "set.tar"), Split.FULL)


@pytest.mark.parametrize("root", ["/", "//", "./", "/data/set/"])
def test_an_archive_of_absolute_paths_is_read(folder, tmp_path, root):
    """As ``tar -P`` packs it."""

    def absolute(member):
        member.name = root + member.name
        return member

    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for part in PER_CLASS:
            tar.add(folder / part, part, filter=absolute)
    assert_whole(load(data_at(tmp_path / "set.tar"), Split.FULL))


def test_a_search_needs_no_test_images_and_does_not_open_them(folder):
    """A test image that is damaged goes unnoticed, and so does a test folder that is missing."""
    path = folder / "test" / "ant" / "00.png"
    path.write_bytes(b"damaged")
    assert len(load(data_at(folder), Split.SEARCH).evaluation) == 3
    for name in COLOURS:
        for image in (folder / "test" / name).iterdir():
            image.unlink()
    assert len(load(data_at(folder), Split.SEARCH).evaluation) == 3
    with pytest.raises(DataError, match=r"data\.uri: .*set holds no test images, and the final comparison needs some"):
        load(data_at(folder), Split.FULL)


def test_images_are_scaled_by_their_shorter_side_and_cut_to_the_middle(folder):
    """Of a wide image with red ends the blue middle is kept."""
    wide = Image.fromarray(np.zeros((16, 64, 3), dtype=np.uint8))
    wide.paste((200, 0, 0), (0, 0, 64, 16))
    wide.paste((0, 0, 200), (20, 0, 44, 16))
    wide.save(folder / "train" / "ant" / "00.png")
    train = load(data_at(folder, search_validation=Part(count=1, seed=1)), Split.FULL).train
    assert torch.equal(train.images[0], torch.tensor([0, 0, 200], dtype=torch.uint8)[:, None, None].expand(3, 8, 8))


def test_one_class_only_is_refused(folder):
    """There is nothing to tell apart."""
    for name in ("bee", "cat"):
        for part in ("train", "test"):
            shutil.rmtree(folder / part / name)
    with pytest.raises(DataError, match=r"data\.uri: all 5 training images of .*set are of one class"):
        load(data_at(folder), Split.SEARCH)


def test_a_class_that_a_search_would_use_up_is_named(folder):
    """One image cannot be both trained and scored on; the comparison, which holds out nothing, takes it."""
    for number in range(1, 5):
        (folder / "train" / "bee" / f"{number:02}.png").unlink()
    with pytest.raises(DataError, match=r"data\.searchValidation: of class 1 \(bee\) with 1 images none is left"):
        load(data_at(folder), Split.SEARCH)
    assert len(load(data_at(folder), Split.FULL).train) == 11


def test_an_image_may_lie_deeper_in_its_class(folder):
    """As torchvision finds it; the order is that of the names."""
    picture(COLOURS["bee"]).save(folder / "train" / "bee" / "more.png")
    (folder / "train" / "bee" / "deeper").mkdir()
    (folder / "train" / "bee" / "more.png").rename(folder / "train" / "bee" / "deeper" / "more.png")
    assert torch.bincount(load(data_at(folder), Split.FULL).train.labels).tolist() == [5, 6, 5]


def test_large_images_are_kept_with_room_for_crops(folder):
    """256 pixels for the 224 that networks see; up to 64 they are kept as they are seen."""
    for size, kept in ((64, 64), (70, 80), (224, 256)):
        train = load(data_at(folder, image_size=size), Split.SEARCH).train
        assert (train.side, train.images.shape[2:]) == (size, (kept, kept))


def test_a_large_set_stays_in_its_memory_map(folder, tmp_path, monkeypatch):
    """Training, unlabelled and search validation images share the cache's pages, and are what copies would be."""
    fields = {"search_validation": Part(count=3), "labelled": Labelled(count=4)}
    copied = load(data_at(folder, **fields), Split.SEARCH, unlabelled=True, cache=str(tmp_path))
    monkeypatch.setattr(loading, "_COPIED", 0)
    mapped = load(data_at(folder, **fields), Split.SEARCH, unlabelled=True, cache=str(tmp_path))
    for one, other in (
        (copied.train, mapped.train),
        (copied.evaluation, mapped.evaluation),
        (copied.unlabelled, mapped.unlabelled),
    ):
        assert one.rows is None
        assert len(other.images) == 15
        assert torch.equal(other.images[other.rows], one.images)
        assert torch.equal(other.labels, one.labels)
    assert mapped.train.images.data_ptr() == mapped.evaluation.images.data_ptr()
    assert torch.equal(mapped.mean, copied.mean)
    assert torch.equal(mapped.std, copied.std)


def test_the_index_of_an_archive_is_kept(archive, tmp_path, monkeypatch):
    """Reading a large compressed archive from end to end at each start would cost minutes."""
    cache = str(tmp_path / "cache")
    assert_whole(load(data_at(archive), Split.FULL, cache=cache))
    monkeypatch.setattr(tarfile, "open", lambda *_: pytest.fail("the archive was opened"))
    assert_whole(load(data_at(archive), Split.FULL, cache=cache))


def test_images_have_the_side_asked_for(folder):
    """32 pixels where nothing is said."""
    assert load(data_at(folder, image_size=12), Split.SEARCH).train.images.shape[2:] == (12, 12)
    assert load(data_at(folder, image_size=None), Split.SEARCH).train.images.shape[2:] == (32, 32)


def damage_of(kind, whole):
    """The bytes of an image, spoilt."""
    return {"empty": b"", "text": b"no image", "cut off": whole[: len(whole) // 2]}[kind]


@pytest.mark.parametrize("kind", ["empty", "text", "cut off"])
def test_one_damaged_image_among_many_is_named_and_nothing_is_cached(folder, tmp_path, kind):
    """The message holds the file, and the next start decodes anew."""
    path = folder / "train" / "bee" / "03.png"
    path.write_bytes(damage_of(kind, path.read_bytes()))
    with pytest.raises(DataError, match=r"set/train/bee/03\.png is damaged or no image \(.*\); replace or remove it"):
        load(data_at(folder), Split.SEARCH, cache=str(tmp_path / "cache"))
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".lock"}


def test_one_damaged_image_in_an_archive_is_named(folder, tmp_path):
    """The message holds the archive and the file in it."""
    (folder / "train" / "bee" / "03.png").write_bytes(b"no image")
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(folder, "deeper")
    with pytest.raises(
        DataError, match=r"set\.tar: deeper/train/bee/03\.png is damaged or no image \(Pillow knows no such"
    ):
        load(data_at(tmp_path / "set.tar"), Split.SEARCH)


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.5, 0.7])
def test_an_archive_that_is_cut_off_is_named(archive, share):
    """Wherever a download stopped, the archive does not pass for a whole one."""
    archive.write_bytes(archive.read_bytes()[: int(share * archive.stat().st_size)])
    with pytest.raises(DataError, match=r"set\.tar.* is cut off or no tar archive .*; download it again"):
        load(data_at(archive), Split.SEARCH)


def test_an_archive_cut_off_between_two_files_is_named(folder, tmp_path):
    """Where tarfile itself sees nothing amiss."""
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(folder, "deeper")
    with tarfile.open(path) as tar:
        boundary = tar.getmembers()[-3].offset
    path.write_bytes(path.read_bytes()[:boundary])
    with pytest.raises(DataError, match=r"set\.tar is cut off or no tar archive"):
        load(data_at(path), Split.SEARCH)


def test_a_folder_of_another_form_is_told_the_form(tmp_path):
    """Neither an empty folder nor one with classes at the top will do."""
    for path in (tmp_path, tmp_path / "ant"):
        path.mkdir(exist_ok=True)
        with pytest.raises(DataError, match=r"data\.uri: .* expected train/<class>/<image>"):
            load(data_at(tmp_path), Split.SEARCH)


def test_an_archive_of_another_form_is_told_the_form(tmp_path):
    """An archive without train in it is whole and still no data set."""
    path = tmp_path / "other.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("readme"), io.BytesIO())
    with pytest.raises(
        DataError, match=r"other\.tar holds no folder with train/ in it; expected train/<class>/<image>"
    ):
        load(data_at(path), Split.SEARCH)


def test_a_test_class_without_training_images_is_named(folder):
    """It could never be recognised."""
    (folder / "test" / "cat").rename(folder / "test" / "dog")
    with pytest.raises(DataError, match="no folder train/dog for test/dog"):
        load(data_at(folder), Split.FULL)


def test_real_images_come_out_of_a_real_archive():
    """15,000 and 3,000 photographs of ten classes, with the statistics of natural images."""
    path = shared_data("cifar10-subset.tar")
    data = load(Data(dataset="ImageFolder", uri=str(path)), Split.FULL)
    assert (len(data.train), len(data.evaluation), data.classes, data.image_size) == (15_000, 3_000, 10, 32)
    assert torch.bincount(data.train.labels).tolist() == [1_500] * 10
    torch.testing.assert_close(data.mean, torch.tensor([0.4914, 0.4822, 0.4465]), atol=0.01, rtol=0)
    torch.testing.assert_close(data.std, torch.tensor([0.2470, 0.2435, 0.2616]), atol=0.01, rtol=0)
