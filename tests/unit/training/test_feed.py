"""Which images an update is made of, and how each part of them is seen (spec 2.3, 4, 7.3)."""

from __future__ import annotations

import pytest
import torch

from graphtrial.contract import Augmentation, Length, Training, Unlabelled
from graphtrial.data import Batches, DataError, ImageSet
from graphtrial.training.feed import Feed

NONE, WEAK, STRONG = Augmentation.NONE, Augmentation.PAD_CROP_FLIP, Augmentation.RAND_AUGMENT


def batches(count, size):
    """Images of which each has one colour of its own, so that NONE shows which ones were drawn."""
    colours = torch.linspace(0, 255, count).to(torch.uint8).view(count, 1, 1, 1)
    gradient = torch.arange(16, dtype=torch.uint8).expand(count, 3, 16, 16) // 4
    return Batches(
        ImageSet(colours // 2 + gradient, torch.arange(count)),
        augmentations=(NONE, WEAK, STRONG),
        mean=torch.zeros(3),
        std=torch.ones(3),
        device=torch.device("cpu"),
        batch_size=size,
    )


def feed(*, labelled=(30, 6), unlabelled=(40, 8), augmentation=NONE, destination=NONE, source=NONE):
    """Of so many images, so many at a time, seen so."""
    views = Unlabelled(batch_size=unlabelled[1], destination=destination, source=source)
    training = Training(length=Length(steps=9), batch_size=labelled[0], augmentation=augmentation, unlabelled=views)
    return Feed(batches(*labelled), batches(*unlabelled), training, seed=3)


def test_the_two_unlabelled_views_are_of_the_same_images():
    """Section 4: one draw of images for both, in batches of fixed sizes, beside the labelled ones."""
    images = feed().images(0)
    assert [len(part) for part in images] == [6, 6, 8, 8]
    assert torch.equal(images.destination, images.source)


@pytest.mark.parametrize("augmentation", [WEAK, STRONG])
def test_the_two_views_are_independent_draws(augmentation):
    """Section 4, zeta1 and zeta2: equal augmentations see one image differently."""
    images = feed(destination=augmentation, source=augmentation).images(0)
    assert not torch.equal(images.destination, images.source)


@pytest.mark.parametrize("part", ["labelled", "destination", "source"])
def test_each_part_is_seen_as_it_is_said(part):
    """FixMatch (section 6) has zeta1 strong and zeta2 weak: only the part whose augmentation changes is another."""
    name = "augmentation" if part == "labelled" else part
    plain, changed = feed().images(4), feed(**{name: STRONG}).images(4)
    differing = {field for field in plain._fields if not torch.equal(getattr(plain, field), getattr(changed, field))}
    assert differing == {part}


def test_an_epoch_is_a_pass_over_the_unlabelled_images():
    """Section 7.3: the labelled ones go round in epochs of their own."""
    made = feed()
    assert made.steps_per_epoch == 5
    seen = torch.cat([made.images(step).destination[:, 0, 0, 0] for step in range(5)])
    assert len(set(seen.tolist())) == 40
    labels = torch.cat([made.images(step).labels for step in range(5)])
    assert sorted(labels.tolist()) == list(range(30))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"labelled": (30, 31)}, "training.batchSize: 31 is more than the 30 training images; use 30 or less"),
        (
            {"unlabelled": (40, 41)},
            "training.unlabelled.batchSize: 41 is more than the 40 unlabelled images; use 40 or less",
        ),
    ],
    ids=["labelled", "unlabelled"],
)
def test_more_than_all_images_in_a_batch_is_refused(sizes, message):
    """The message names the field and the greatest size that works."""
    with pytest.raises(DataError) as error:
        feed(**sizes)
    assert str(error.value) == message
