"""Where pixels lie: on the CPU untouched; on a device moved where they fit, else fetched batch by batch.

There is no GPU here: torch's meta device stands for one where only places and shapes matter.
"""

from __future__ import annotations

import torch

from graphtrial.data import ImageSet
from graphtrial.data.residence import Residence, room_on

PIXELS = torch.arange(6 * 4 * 4 * 3, dtype=torch.int64).to(torch.uint8).view(6, 4, 4, 3)


def images(rows=None):
    """Six images, or some of them."""
    count = 6 if rows is None else len(rows)
    return ImageSet(PIXELS.permute(0, 3, 1, 2), torch.zeros(count, dtype=torch.int64), rows=rows)


def test_on_a_cpu_pixels_are_never_copied():
    """Whether an array or a memory map, batches index what was loaded."""
    cpu = torch.device("cpu")
    pixels, rows = Residence(images(torch.tensor([5, 2])), cpu, room_on(cpu)).fetch(torch.tensor([1, 1, 0]))
    assert pixels.data_ptr() == PIXELS.data_ptr()
    assert rows.tolist() == [2, 2, 5]


def test_what_does_not_fit_the_device_is_fetched_batch_by_batch():
    """Indices stay on the CPU; only the batch's images go to the device, in the batch's order."""
    residence = Residence(images(torch.tensor([5, 2, 4])), torch.device("meta"), room=3 * 48 - 1)
    pixels, rows = residence.fetch(torch.tensor([1, 0]))
    assert residence.index_device.type == "cpu"
    assert (pixels.device.type, pixels.shape, rows.shape) == ("meta", (2, 4, 4, 3), (2,))


def test_what_fits_the_device_is_moved_there_once(monkeypatch):
    """The set's own images go, in its order and a few at a time; then indices are wanted there too."""
    monkeypatch.setattr("graphtrial.data.residence._AT_ONCE", 100)
    residence = Residence(images(torch.tensor([5, 2, 4])), torch.device("cpu"), room=3 * 48)
    pixels, rows = residence.fetch(torch.tensor([2, 0]))
    assert torch.equal(pixels, PIXELS[[5, 2, 4]])
    assert rows.tolist() == [2, 0]
    assert Residence(images(), torch.device("meta"), room=1e9).index_device.type == "meta"


def test_a_set_may_take_a_quarter_of_the_memory_that_is_free(monkeypatch):
    """Three sets and the networks share a GPU."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (80 * 2**30, 90 * 2**30))
    assert room_on(torch.device("cuda")) == 20 * 2**30
