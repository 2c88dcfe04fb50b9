"""Images made on a GPU are those made on a CPU, and nothing waits for the device meanwhile."""

from __future__ import annotations

import pytest
import torch

from graphtrial.contract import Augmentation
from graphtrial.data import Batches, ImageSet
from graphtrial.data import batches as batches_module

MEAN, STD = torch.tensor([0.25, 0.5, 0.75]), torch.tensor([0.2, 0.25, 0.3])
KEPT_WHOLE = (Augmentation.CROP_FLIP, Augmentation.RESIZED_CROP_FLIP)


def images(seen=0):
    """Random ones of 32 pixels, of which networks see ``seen`` a side or all, some rows of a larger array."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (200, 32, 32, 3), dtype=torch.uint8, generator=generator)
    rows = torch.randperm(200, generator=generator)[:150]
    return ImageSet(pixels.permute(0, 3, 1, 2), torch.arange(200)[rows], rows=rows, side=seen)


def batches(augmentation, device):
    """On one device."""
    given = images(24 if augmentation in KEPT_WHOLE else 0)
    return Batches(given, augmentations=(augmentation,), mean=MEAN, std=STD, device=torch.device(device), batch_size=64)


@pytest.fixture(params=["resident", "fetched"])
def place(request, monkeypatch):
    """Pixels on the device, or gathered into pinned memory batch by batch."""
    if request.param == "fetched":
        monkeypatch.setattr(batches_module, "room_on", lambda _: 0.0)
    return request.param


@pytest.mark.parametrize("augmentation", list(Augmentation))
def test_views_are_those_of_a_cpu(place, augmentation):
    """Draws are the same on every device; resized crops may differ by a grey level, all others not at all."""
    on_cpu, on_gpu = batches(augmentation, "cpu"), batches(augmentation, "cuda")
    tolerance = 1.01 / 255 / STD.min() if augmentation is Augmentation.RESIZED_CROP_FLIP else 1e-6
    orders = zip(on_cpu.epoch_order(seed=1, epoch=0), on_gpu.epoch_order(seed=1, epoch=0), strict=True)
    for step, (expected_order, order) in enumerate(orders):
        assert torch.equal(on_gpu.labels(order).cpu(), on_cpu.labels(expected_order))
        view = on_gpu.view(order, augmentation, 1, step)
        assert view.is_cuda
        assert (view.cpu() - on_cpu.view(expected_order, augmentation, 1, step)).abs().max() <= tolerance


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize("augmentation", list(Augmentation))
def test_the_host_never_waits(place, augmentation):
    """While the device sleeps a batch is asked for: it still sleeps afterwards."""
    made = batches(augmentation, "cuda")
    order = made.epoch_order(seed=1, epoch=0)
    made.view(order[0], augmentation, 1, 0)  # what lazily comes into being
    made.labels(order[0])
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        awake = torch.cuda.Event()
        torch.cuda._sleep(4_000_000_000)
        awake.record()
        made.view(order[1], augmentation, 1, 1)
        made.labels(order[1])
        assert not awake.query()
    finally:
        torch.cuda.set_sync_debug_mode("default")
        torch.cuda.synchronize()


def test_evaluation_batches_are_those_of_a_cpu(place):
    """All images in order."""
    pairs = zip(
        batches(Augmentation.NONE, "cuda").evaluation_batches(),
        batches(Augmentation.NONE, "cpu").evaluation_batches(),
        strict=True,
    )
    for (view, labels), (expected, expected_labels) in pairs:
        torch.testing.assert_close(view.cpu(), expected, rtol=0, atol=1e-6)
        assert torch.equal(labels.cpu(), expected_labels)
