"""Random resized crops: torchvision's boxes and torchvision's pixels, one by one and all at once."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as tv

from graphtrial.data.crops import Boxes, draw_boxes, resized_at_once, resized_one_by_one

SIDE, SIZE, COUNT = 64, 56, 60


def pictures(channels=3):
    """Ten smooth pictures with some noise: uint8 [10, 64, 64, C]."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(10, channels, 8, 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear") * 200
    noise = torch.rand(smooth.shape, generator=generator) * 55
    return (smooth + noise).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def drawn(count=COUNT, seed=1):
    """Which images, and a box for each."""
    return torch.arange(count) % 10, draw_boxes(count, SIDE, torch.Generator().manual_seed(seed))


def torchvisions(image, bounds, mirrored):
    """uint8 [C, S, S], by torchvision's antialiased resizing of a tensor."""
    view = tv.resized_crop(image.permute(2, 0, 1), *bounds, [SIZE, SIZE], antialias=True)
    return tv.hflip(view) if mirrored else view


@pytest.mark.parametrize("channels", [1, 3])
def test_one_by_one_every_pixel_is_torchvisions(channels):
    """Cut out, resized with antialiasing, mirrored half the time."""
    images, (rows, boxes) = pictures(channels), drawn()
    made = resized_one_by_one(images, rows, boxes, SIZE)
    for row, bounds, mirrored, view in zip(rows, boxes.bounds.tolist(), boxes.mirrored, made, strict=True):
        assert torch.equal(view.permute(2, 0, 1), torchvisions(images[row], bounds, mirrored))


def test_one_by_one_is_within_a_grey_level_of_pillow():
    """Pillow rounds after each of its two passes, as torch does, and keeps two more bits in its weights."""
    images, (rows, boxes) = pictures(), drawn()
    made = resized_one_by_one(images, rows, boxes, SIZE)
    for row, (top, left, height, width), mirrored, view in zip(
        rows, boxes.bounds.tolist(), boxes.mirrored, made, strict=True
    ):
        cut = Image.fromarray(images[row].numpy()).crop((left, top, left + width, top + height))
        resized = tv.pil_to_tensor(cut.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
        expected = tv.hflip(resized) if mirrored else resized
        assert (view.permute(2, 0, 1).int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize("size", [SIZE, 16, 100])
def test_at_once_is_within_a_grey_level_of_one_by_one(size):
    """Enlarged or reduced, a GPU's way gives the CPU's pixels, but for the rounding between two passes."""
    images, (rows, boxes) = pictures(), drawn()
    one_by_one = resized_one_by_one(images, rows, boxes, size)
    at_once = resized_at_once(images, rows, boxes, size)
    assert (one_by_one.int() - at_once.int()).abs().max() <= 1


def test_the_whole_image_at_its_own_size_stays():
    """A box that needs no resizing loses nothing, either way."""
    images = pictures()
    boxes = Boxes(torch.tensor([[0, 0, SIDE, SIDE]]), torch.tensor([False]))
    for resized in (resized_one_by_one, resized_at_once):
        assert torch.equal(resized(images, torch.tensor([3]), boxes, SIDE), images[3:4])


def test_boxes_are_distributed_as_torchvisions():
    """Top, left, height and width of 5,000 boxes of each, by the Kolmogorov-Smirnov test."""
    ours = draw_boxes(5_000, 256, torch.Generator().manual_seed(0)).bounds
    with torch.random.fork_rng():
        torch.manual_seed(0)
        picture = torch.empty(3, 256, 256)
        theirs = torch.tensor([RandomResizedCrop.get_params(picture, [0.08, 1], [3 / 4, 4 / 3]) for _ in range(5_000)])
    for mine, other in zip(ours.unbind(1), theirs.unbind(1), strict=True):
        assert ks_2samp(mine.numpy(), other.numpy()).pvalue > 0.01


@pytest.mark.parametrize("side", [1, 2, 8, 256])
def test_boxes_lie_inside_the_image(side):
    """Also where hardly any box fits."""
    boxes = draw_boxes(2_000, side, torch.Generator().manual_seed(0))
    top, left, height, width = boxes.bounds.unbind(1)
    assert min(top.min(), left.min()) >= 0
    assert min(height.min(), width.min()) >= 1
    assert max((top + height).max(), (left + width).max()) <= side
    assert 0.45 < boxes.mirrored.double().mean() < 0.55
