"""Batches: every pixel where a plain per-image pad, crop and flip puts it, and draws that depend on seeds alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import pad

from graphtrial.contract import Augmentation, derive
from graphtrial.data import Batches, ImageSet
from graphtrial.data.crops import draw_boxes, resized_one_by_one
from graphtrial.data.randaugment import draw, rand_augment

MEAN, STD = torch.tensor([0.25, 0.5, 0.75]), torch.tensor([0.2, 0.25, 0.3])


def image_set(count=20, channels=3, side=16, seen=0):
    """Random images, of which networks see ``seen`` pixels a side or all; the image's index is its label."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, side, side, channels), dtype=torch.uint8, generator=generator)
    return ImageSet(images.permute(0, 3, 1, 2), torch.arange(count), side=seen)


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


@pytest.mark.parametrize(("side", "padding"), [(8, 1), (16, 2), (32, 4), (64, 4)])
@pytest.mark.parametrize("augmentation", [Augmentation.PAD_CROP_FLIP, Augmentation.PAD_CROP])
def test_every_crop_and_mirror_image_is_drawn_and_nothing_else(side, padding, augmentation):
    """Over many steps one image is seen in each of its views, those of a plain pad, crop and flip (spec 7.1)."""
    images = image_set(count=1, channels=1, side=side)
    views = views_of(images.images[0], padding, augmentation is Augmentation.PAD_CROP_FLIP)
    drawn = batches(images, augmentation)
    seen = set()
    for step in range(10):
        made = drawn.view(torch.zeros(200, dtype=torch.int64), augmentation, seed=0, step=step)
        distances = torch.cdist(made.flatten(1), views.flatten(1), p=math.inf)
        assert distances.amin(1).max() < 1e-5
        seen |= set(distances.argmin(1).tolist())
    assert len(seen) == len(views)


def test_of_larger_images_every_crop_and_mirror_image_is_drawn():
    """A set kept at 10 pixels and seen at 8 has nine crops, and nine more in the mirror."""
    images = image_set(count=1, channels=1, side=10, seen=8)
    starts = range(3)
    crops = [images.images[0, :, top : top + 8, left : left + 8] for top in starts for left in starts]
    views = normalised(torch.stack([*crops, *(crop.flip(-1) for crop in crops)]).float())
    drawn = batches(images, Augmentation.CROP_FLIP)
    made = drawn.view(torch.zeros(300, dtype=torch.int64), Augmentation.CROP_FLIP, seed=0, step=0)
    distances = (made[:, None] - views).abs().amax((2, 3, 4))
    assert distances.amin(1).max() < 1e-5
    assert set(distances.argmin(1).tolist()) == set(range(18))


def test_of_larger_images_the_middle_is_padded_and_evaluated():
    """Padding reflects what networks see, whatever lies beyond it."""
    images = image_set(count=1, channels=3, side=10, seen=8)
    middle = images.images[0, :, 1:9, 1:9]
    drawn = batches(images, Augmentation.PAD_CROP_FLIP)
    made = drawn.view(torch.zeros(50, dtype=torch.int64), Augmentation.PAD_CROP_FLIP, seed=0, step=0)
    distances = (made[:, None] - views_of(middle, padding=1, flips=True)).abs().amax((2, 3, 4))
    assert distances.amin(1).max() < 1e-5
    [(seen, _)] = drawn.evaluation_batches()
    torch.testing.assert_close(seen[0], normalised(middle))


def test_resized_crops_are_those_of_the_drawn_boxes():
    """The view is what the boxes of its seed, stream and step make of the images."""
    images = image_set(side=40, seen=35)
    indices = torch.tensor([4, 4, 17])
    made = batches(images, Augmentation.RESIZED_CROP_FLIP).view(indices, Augmentation.RESIZED_CROP_FLIP, 3, 5, "views")
    boxes = draw_boxes(3, 40, torch.Generator().manual_seed(derive(3, "views", 5)))
    expected = resized_one_by_one(images.images.permute(0, 2, 3, 1), indices, boxes, 35).permute(0, 3, 1, 2)
    torch.testing.assert_close(made, normalised(expected))


def test_the_strong_view_is_a_weak_one_put_through_randaugment():
    """Cropped and mirrored first, then augmented, all from one generator."""
    images, indices = image_set(), torch.arange(12)
    made = batches(images, Augmentation.RAND_AUGMENT).view(indices, Augmentation.RAND_AUGMENT, 3, 5)
    generator = torch.Generator().manual_seed(derive(3, "augmentation", 5))
    shifts = torch.randint(2 * 5**2, (12,), generator=generator)
    weak = torch.stack(
        [views_of(images.images[k], 2, flips=True)[_numbered(int(shift))] for k, shift in enumerate(shifts)]
    )
    pixels = ((weak * STD[:, None, None] + MEAN[:, None, None]) * 255).round().to(torch.uint8)
    torch.testing.assert_close(made, normalised(rand_augment(pixels, draw(12, generator))))


def _numbered(shift):
    """The place in ``views_of`` of a draw that counts rows, then mirror images, then columns, of 5 shifts."""
    row, (mirrored, column) = shift // 10, divmod(shift % 10, 5)
    return mirrored * 25 + row * 5 + column


@pytest.mark.parametrize("augmentation", list(Augmentation))
def test_views_of_another_process_are_the_same(augmentation):
    """A resumed trial asks anew for the views of a step, and gets them to the bit; another stream is another draw."""
    images, indices = image_set(side=16, seen=14), torch.arange(20)
    first, second = batches(images, augmentation), batches(images, augmentation)
    for step in range(3):
        second.view(indices, augmentation, 0, step)
    made = first.view(indices, augmentation, 0, 3)
    assert torch.equal(second.view(indices, augmentation, 0, 3), made)
    if augmentation is not Augmentation.NONE:
        assert not torch.equal(second.view(indices, augmentation, 0, 3, "other"), made)


@pytest.mark.parametrize("augmentation", list(Augmentation))
def test_rows_of_a_shared_array_are_a_set(augmentation):
    """Images that lie among others, as in a memory map, are drawn as if they lay alone."""
    images, chosen = image_set(side=16, seen=14), torch.tensor([19, 3, 8, 8])
    rows = batches(ImageSet(images.images, chosen, rows=chosen, side=14), augmentation, batch_size=2)
    alone = batches(ImageSet(images.images[chosen], chosen, side=14), augmentation, batch_size=2)
    indices = torch.tensor([3, 0, 1])
    assert torch.equal(rows.view(indices, augmentation, 0, 1), alone.view(indices, augmentation, 0, 1))
    assert rows.labels(indices).tolist() == [8, 19, 3]
    pairs = zip(rows.evaluation_batches(), alone.evaluation_batches(), strict=True)
    assert all(torch.equal(mine, other) for one, two in pairs for mine, other in zip(one, two, strict=True))


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

    for made_by in (orders, crops):
        drawn = made_by(first)
        assert made_by(second) == drawn
        assert drawn[0] != drawn[1] != drawn[2] != drawn[0]


def test_the_global_generator_is_left_alone():
    """Who trains beside this draws what they would have drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(derive(0, "anything") % 1000)
        state = torch.get_rng_state()
        made = batches(image_set())
        made.view(made.epoch_order(0, 1)[0], Augmentation.PAD_CROP_FLIP, 0, 1)
        assert torch.equal(torch.get_rng_state(), state)
