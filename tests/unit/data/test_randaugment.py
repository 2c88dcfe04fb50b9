"""RandAugment in batches: every pixel Pillow's, every image its own draw, draws functions of their generator alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.unit.data.pillow_randaugment import OPERATIONS, cut_out

from graphtrial.data.randaugment import RANGES, ROUNDS, Draws, Operation, draw, rand_augment

STEPS = torch.linspace(0, 1, 64, dtype=torch.float64)
NO_CUT = torch.tensor([[2.0], [2.0], [0.0]], dtype=torch.float64)
"""A cut-out that lies outside the image."""


def images(count, channels=3, side=32, seed=0):
    """Half noise, half smooth pictures of few grey levels."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8, generator=generator)
    coarse = torch.randint(60, 200, (count, channels, 4, 4), generator=generator).float()
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear").to(torch.uint8)
    return torch.where((torch.arange(count) % 2 == 0)[:, None, None, None], noise, smooth)


def to_pillow(image):
    """uint8 [C, S, S] as a picture."""
    return Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy())


def from_pillow(picture):
    """A picture as uint8 [C, S, S]."""
    pixels = torch.from_numpy(np.array(picture))
    return pixels.view(*pixels.shape[:2], -1).permute(2, 0, 1)


def only(operation, strengths):
    """One round of one operation, and no cut-out."""
    strengths = torch.as_tensor(strengths, dtype=torch.float64)
    count = len(strengths)
    return Draws(torch.full((1, count), int(operation)), strengths[None], NO_CUT.expand(3, count))


@pytest.mark.parametrize("side", [8, 32, 33])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("operation", list(Operation))
def test_every_operation_gives_pillows_pixels(operation, channels, side):
    """Over its whole range, to the last grey level."""
    low, high = RANGES[operation]
    strengths = low + (high - low) * STEPS[:-1]
    pictures = images(len(strengths), channels, side)
    made = rand_augment(pictures, only(operation, strengths))
    for image, strength, view in zip(pictures, strengths.tolist(), made, strict=True):
        assert torch.equal(view, from_pillow(OPERATIONS[operation](to_pillow(image), strength)))


@pytest.mark.parametrize("operation", [Operation.AUTO_CONTRAST, Operation.EQUALIZE, Operation.CONTRAST])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_images_of_few_grey_levels_are_pillows_too(operation, levels):
    """A plain image has no contrast to stretch and no histogram to spread."""
    generator = torch.Generator().manual_seed(levels)
    pictures = torch.randint(100, 100 + levels, (20, 3, 16, 16), dtype=torch.uint8, generator=generator)
    made = rand_augment(pictures, only(operation, [0.5] * 20))
    for image, view in zip(pictures, made, strict=True):
        assert torch.equal(view, from_pillow(OPERATIONS[operation](to_pillow(image), 0.5)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 40), st.sampled_from([1, 3]), st.sampled_from([8, 32]))
def test_a_batch_is_each_image_by_itself(seed, count, channels, side):
    """Three operations one after the other and the cut-out, as Pillow does them image by image."""
    pictures = images(count, channels, side, seed)
    before = pictures.clone()
    draws = draw(count, torch.Generator().manual_seed(seed))
    made = rand_augment(pictures, draws)
    assert torch.equal(pictures, before)
    for index, image in enumerate(pictures):
        expected = to_pillow(image)
        for operation, strength in zip(
            draws.operations[:, index].tolist(), draws.strengths[:, index].tolist(), strict=True
        ):
            expected = OPERATIONS[Operation(operation)](expected, strength)
        expected = cut_out(expected, *draws.cuts[:, index].tolist())
        assert torch.equal(made[index], from_pillow(expected))


def test_draws_cover_every_operation_over_its_range():
    """Of 20,000 images each operation gets its share in each round, from one end of its range to the other."""
    draws = draw(20_000, torch.Generator().manual_seed(0))
    assert draws.operations.shape == draws.strengths.shape == (ROUNDS, 20_000)
    for number, operation in enumerate(Operation):
        low, high = RANGES[operation]
        for operations, strengths in zip(draws.operations, draws.strengths, strict=True):
            drawn = strengths[operations == number]
            assert 1_250 < len(drawn) < 1_600
            assert low <= drawn.min() < low + 0.01 * (high - low)
            assert high - 0.01 * (high - low) < drawn.max() < high
    assert ((draws.cuts >= 0) & (draws.cuts < 1)).all()


def test_images_are_drawn_for_one_by_one():
    """No two of many equal images come out alike, but for those that happen to be left whole."""
    made = rand_augment(images(1).expand(100, -1, -1, -1), draw(100, torch.Generator().manual_seed(0)))
    assert len({view.numpy().tobytes() for view in made}) == 100
