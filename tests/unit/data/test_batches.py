"""Batches: every pixel where a plain per-image pad, crop and flip puts it, and draws that depend on seeds alone."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import pad

from graphtrial.contract import Augmentation, derive
from graphtrial.data import Batches, DataError, ImageSet

MEAN, STD = torch.tensor([0.25, 0.5, 0.75]), torch.tensor([0.2, 0.25, 0.3])


def image_set(count=20, channels=3, side=16):
    """Random images, and the image's index as its label."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8, generator=generator)
    return ImageSet(images, torch.arange(count))


def batches(images, augmentation=Augmentation.PAD_CROP_FLIP, batch_size=6):
    """Batches on the CPU."""
    channels = images.images.shape[1]
    return Batches(
        images,
        augmentations=(augmentation,),
        mean=MEAN[:channels],
        std=STD[:channels],
        device=torch.device("cpu"),
        batch_size=batch_size,
    )


def normalised(images):
    """Plainly: pixels in 0..1, less the mean, over the standard deviation."""
    channels = images.shape[-3]
    return (images / 255 - MEAN[:channels, None, None]) / STD[:channels, None, None]


def views_of(image, padding, flips):
    """All crops of a reflect-padded image [C, S, S], and their mirror images, normalised."""
    side = image.shape[-1]
    padded = pad(image[None].float(), (padding,) * 4, mode="reflect")[0]
    starts = range(2 * padding + 1)
    crops = [padded[:, top : top + side, left : left + side] for top in starts for left in starts]
    return normalised(torch.stack([*crops, *(crop.flip(-1) for crop in crops if flips)]))


@pytest.mark.parametrize(("side", "padding"), [(8, 1), (16, 2), (32, 4)])
@pytest.mark.parametrize("augmentation", [Augmentation.PAD_CROP_FLIP, Augmentation.PAD_CROP])
def test_every_crop_and_mirror_image_is_drawn_and_nothing_else(side, padding, augmentation):
    """Over many steps one image is seen in each of its views, which are those of a plain pad, crop and flip."""
    images = image_set(count=1, channels=1, side=side)
    views = views_of(images.images[0], padding, augmentation is Augmentation.PAD_CROP_FLIP)
    drawn = batches(images, augmentation)
    seen = set()
    for step in range(10):
        made = drawn.view(torch.zeros(200, dtype=torch.int64), augmentation, seed=0, step=step)
        distances = (made[:, None] - views).abs().amax((2, 3, 4))
        assert distances.amin(1).max() < 1e-5
        seen |= set(distances.argmin(1).tolist())
    assert len(seen) == len(views)


def test_a_batch_holds_the_images_asked_for_with_their_labels():
    """Without augmentation the images come back normalised, in the order of the indices."""
    images = image_set()
    indices = torch.tensor([3, 19, 3, 0])
    drawn = batches(images, Augmentation.NONE)
    made = drawn.view(indices, Augmentation.NONE, seed=0, step=1)
    torch.testing.assert_close(made, normalised(images.images[indices]))
    assert (drawn.labels(indices).tolist(), made.dtype) == ([3, 19, 3, 0], torch.float32)


@pytest.mark.parametrize("channels", [1, 3])
def test_batches_are_laid_out_channels_last(channels):
    """Networks get the layout that they are fastest with, also for one channel."""
    made = batches(image_set(channels=channels)).view(torch.arange(4), Augmentation.PAD_CROP_FLIP, seed=0, step=1)
    assert made.shape == (4, channels, 16, 16)
    assert made.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("augmentation", list(Augmentation))
def test_evaluation_sees_every_image_once_as_it_is(augmentation):
    """In order, unaugmented, with the last incomplete batch."""
    images = image_set()
    pieces = list(batches(images, augmentation).evaluation_batches())
    assert [len(labels) for _, labels in pieces] == [6, 6, 6, 2]
    torch.testing.assert_close(torch.cat([made for made, _ in pieces]), normalised(images.images))
    assert torch.equal(torch.cat([labels for _, labels in pieces]), images.labels)


def test_an_epoch_visits_each_image_at_most_once_and_drops_the_remainder():
    """20 images in batches of 6 make 3 batches of distinct images."""
    order = batches(image_set()).epoch_order(seed=0, epoch=1)
    assert (order.shape, len(set(order.flatten().tolist()))) == ((3, 6), 18)


def test_more_than_all_images_in_a_batch_is_refused():
    """The message names the field and the greatest size that works."""
    with pytest.raises(DataError, match=r"training\.batchSize: 21 is more than the 20 training images; use 20 or less"):
        batches(image_set(), batch_size=21).epoch_order(seed=0, epoch=1)


def test_draws_are_functions_of_seed_epoch_and_step():
    """Order and crops repeat for equal numbers, whatever was drawn before, and differ for each other number."""
    images = image_set()
    indices = torch.arange(6)
    first, second = batches(images), batches(images)
    second.epoch_order(5, 5)
    second.view(indices, Augmentation.PAD_CROP_FLIP, 5, 5)

    def orders(source):
        return [source.epoch_order(seed, epoch).tolist() for seed, epoch in ((0, 1), (0, 2), (1, 1))]

    def crops(source):
        kind = Augmentation.PAD_CROP_FLIP
        return [source.view(indices, kind, seed, step).tolist() for seed, step in ((0, 1), (0, 2), (1, 1))]

    for draw in (orders, crops):
        drawn = draw(first)
        assert draw(second) == drawn
        assert drawn[0] != drawn[1] != drawn[2] != drawn[0]


def test_the_global_generator_is_left_alone():
    """Who trains beside this draws what they would have drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(derive(0, "anything") % 1000)
        state = torch.get_rng_state()
        made = batches(image_set())
        made.view(made.epoch_order(0, 1)[0], Augmentation.PAD_CROP_FLIP, 0, 1)
        assert torch.equal(torch.get_rng_state(), state)
