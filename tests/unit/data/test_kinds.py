"""Images of mixed sizes and modes: what becomes RGB, what the log says of it, what is refused in a user's own set."""

from __future__ import annotations

import io
import logging
import shutil
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from tests.unit.data.layouts import BUILDERS

from graphtrial.contract import Data, Part, Split
from graphtrial.data import DataError, load
from graphtrial.data.kinds import check_kind

SIZE = (8, 8)
RED = (200, 0, 0)


def grey(mode):
    """A plain image of grey level 160, 30 wide and 11 high."""
    cells = np.full((11, 30), 160)
    if mode == "I;16":
        return Image.fromarray((cells * 257).astype(np.uint16))
    if mode == "F":
        return Image.fromarray(cells.astype(np.float32))
    plain = Image.fromarray(cells.astype(np.uint8)).convert("RGB")
    return plain.quantize(4) if mode == "P" else plain.convert(mode, dither=0)


def suffix(mode):
    """Of a file format that has the mode."""
    return {"CMYK": "jpg", "F": "tif"}.get(mode, "png")


@pytest.fixture
def folder(tmp_path):
    """Two red training images and a red test image in each of two classes."""
    root = tmp_path / "set"
    for part, count in (("train", 2), ("test", 1)):
        for name in ("ant", "bee"):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", SIZE, RED).save(root / part / name / f"{number}.png")
    return root


def loaded(root, dataset="ImageFolder", **fields):
    """All its images."""
    held_out = Part(count=2)
    return load(
        Data(**{"dataset": dataset, "uri": str(root), "image_size": 8, "search_validation": held_out} | fields),
        Split.FULL,
    )


@pytest.fixture
def published(tmp_path):
    """DTD, with the name of its first training image."""
    made = BUILDERS["DTD"](tmp_path / "published")
    first = loaded(made.root, "DTD").train.images[0].double().mean((1, 2))
    (name,) = [
        path
        for path in made.root.glob("images/*/*")
        if np.abs(np.asarray(Image.open(path)).mean((0, 1)) - first.numpy()).max() < 3
    ]
    return made.root, name


def assert_grey(images):
    """The first is of grey level 160, the second is not."""
    assert (images[0].int() - 160).abs().max() <= 2
    assert (images[1].int() - 160).abs().max() > 2


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA"])
def test_modes_that_leave_nothing_open_become_rgb(folder, mode):
    """Grey, a palette, transparency that hides nothing: three channels of 8 bits, side by side with the others."""
    image = grey(mode)
    assert image.mode == mode
    image.save(folder / "train" / "ant" / "0.png")
    assert_grey(loaded(folder).train.images)


def test_an_image_of_one_bit_becomes_black_and_white(folder):
    """Its two values are 0 and 255."""
    grey("1").save(folder / "train" / "ant" / "0.png")
    assert loaded(folder).train.images[0].unique().tolist() == [255]


@pytest.mark.parametrize("mode", ["CMYK", "I;16", "F"])
def test_modes_that_become_rgb_by_a_guess_are_refused(folder, mode):
    """Colours for printing need a profile; nobody can tell what is white among more than 8 bits."""
    (folder / "train" / "ant" / "0.png").unlink()
    grey(mode).save(folder / "train" / "ant" / f"0.{suffix(mode)}")
    words = (
        rf"train/ant/0\.{suffix(mode)} cannot be used: its mode is {mode}, .* store it as RGB with 8 bits a channel$"
    )
    with pytest.raises(DataError, match=words):
        loaded(folder)


def deep_png():
    """Eight by eight pixels of RGB with 16 bits a channel, which Pillow can read and not write."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + bytes(range(48)) for _ in range(8))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "content"),
    [("0.png", deep_png()), ("0.ppm", b"P6 8 8 65535\n" + bytes(8 * 8 * 6))],
    ids=["PNG", "PPM"],
)
def test_colours_of_more_than_8_bits_are_refused(folder, name, content):
    """Pillow opens them as RGB and keeps the upper 8 bits, of which a dim picture has none."""
    (folder / "train" / "ant" / "0.png").unlink()
    (folder / "train" / "ant" / name).write_bytes(content)
    words = rf"train/ant/{name} cannot be used: it has more than 8 bits a channel, .* with 8 bits a channel$"
    with pytest.raises(DataError, match=words):
        loaded(folder)


def test_colours_of_8_bits_are_read_from_every_format(folder):
    """None is taken for deeper than it is."""
    for name in ("0.ppm", "1.tif", "2.bmp", "3.jpg", "4.webp", "5.gif"):
        grey("RGB").save(folder / "train" / "ant" / name)
    assert loaded(folder).train.images.shape[0] == 10


def test_a_format_whose_decoder_needs_no_arguments_is_read():
    """A user's own set may open images of any format that Pillow knows: here one red pixel of QOI."""
    pixel = b"qoif" + struct.pack(">IIBB", 1, 1, 3, 0) + bytes([0xFE, *RED]) + bytes(7) + b"\1"
    with Image.open(io.BytesIO(pixel)) as image:
        check_kind(image)
        assert image.getpixel((0, 0)) == RED


def half_transparent(mode):
    """An image whose right half shows what lies behind."""
    image = Image.new("RGBA", SIZE, (*RED, 255))
    image.paste((0, 0, 0, 0), (4, 0, 8, 8))
    return image.quantize(4) if mode == "P" else image.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_are_refused(folder, mode):
    """The colours that a drawing program left behind them would be seen by networks and by nobody else."""
    half_transparent(mode).save(folder / "train" / "bee" / "1.png")
    words = r"train/bee/1\.png cannot be used: it is transparent in places, .* store it without transparency$"
    with pytest.raises(DataError, match=words):
        loaded(folder)


@pytest.mark.parametrize("mode", ["L", "CMYK", "I;16"])
def test_published_sets_are_read_as_torchvision_reads_them(published, mode):
    """Some of them hold a few such images, and published results have seen them."""
    root, name = published
    grey(mode).save(name, {"jpg": "JPEG", "png": "PNG"}[suffix(mode)], quality=100)
    assert_grey(loaded(root, "DTD").train.images)


def test_a_palette_with_degrees_of_transparency_is_looked_up_in_a_published_set(published):
    """Pillow warns of it, and a warning is an error here."""
    root, name = published
    Image.new("RGB", SIZE, RED).quantize(4).save(name, "PNG", transparency=bytes([10, 200, 255, 0]))
    assert (loaded(root, "DTD").train.images[0].permute(1, 2, 0) == torch.tensor(RED)).all()


def test_pixels_without_a_range_are_refused_in_a_published_set_too(published):
    """Nobody can tell what is white in an image of floating-point numbers."""
    root, name = published
    grey("F").save(name, "TIFF")
    with pytest.raises(DataError, match=r"cannot be used: its pixels, of mode F, have no known range; store it with 8"):
        loaded(root, "DTD")


def test_several_sizes_need_a_side_to_be_scaled_to(folder):
    """Both sizes and the first image of the second; nothing is guessed, and one line of the manifest mends it."""
    Image.new("RGB", (48, 40), RED).save(folder / "train" / "bee" / "0.png")
    with pytest.raises(DataError) as caught:
        loaded(folder, image_size=None)
    assert str(caught.value) == (
        f"data.imageSize: images are of several sizes ({folder}/train/bee/0.png has 48x40 pixels, those before it "
        "8x8), so say the side at which networks see them"
    )
    assert loaded(folder, image_size=16).train.images.shape == (4, 3, 16, 16)


def test_images_of_one_size_need_no_side(folder):
    """They are scaled to the default, which the log tells."""
    assert loaded(folder, image_size=None).train.images.shape == (4, 3, 32, 32)


def test_a_cache_does_not_answer_for_a_check(folder, tmp_path):
    """What was decoded for a manifest that names a side is no excuse for one that does not."""
    Image.new("RGB", (48, 40), RED).save(folder / "train" / "bee" / "0.png")
    data = Data(dataset="ImageFolder", uri=str(folder), image_size=32, search_validation=Part(count=2))
    load(data, Split.SEARCH, cache=str(tmp_path / "cache"))
    with pytest.raises(DataError, match=r"data\.imageSize: images are of several sizes"):
        load(data.model_copy(update={"image_size": None}), Split.SEARCH, cache=str(tmp_path / "cache"))


def said_of(folder, caplog, **fields):
    """What the log says of the training images."""
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="graphtrial.data"):
        loaded(folder, **fields)
    return caplog.messages


def test_what_is_converted_is_told_once_with_its_counts(folder, caplog):
    """Sizes and modes by how many there are, the first file that changes by name; nothing where nothing changes."""
    assert said_of(folder, caplog) == []
    shutil.rmtree(folder / "train" / "bee")
    (folder / "train" / "bee").mkdir()
    for number, size in enumerate([(9, 12), (9, 12), (10, 12), (11, 12), (12, 12), (13, 12)]):
        Image.new("L", size, 7).save(folder / "train" / "bee" / f"{number}.png")
    assert said_of(folder, caplog) == [
        "8 images, of modes L (6), RGB (2) and sizes 8x8 (2), 9x12 (2), 10x12 (1) and 3 more, become RGB of 8x8 "
        "pixels, their shorter side scaled and the middle kept; the first that changes is "
        f"{folder}/train/bee/0.png (L, 9x12)"
    ]


def test_images_of_one_size_are_told_of_where_they_are_scaled(folder, caplog):
    """To 32 pixels where no side was asked for."""
    train, test = said_of(folder, caplog, image_size=None)
    assert train.startswith("4 images, of modes RGB (4) and sizes 8x8 (4), become RGB of 32x32 pixels")
    assert test.endswith(f"the first that changes is {folder}/test/ant/0.png (RGB, 8x8)")
