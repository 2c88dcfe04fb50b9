"""Where the pixels of a set lie while batches are drawn from it.

On a CPU they stay where they were loaded: in memory, or in the memory map that all trials of a node share. On a GPU
they move there where they leave enough room; if not, each batch is gathered from memory or map into pinned memory and
copied while the device works on the batches before it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graphtrial.data.images import ImageSet

_SHARE = 0.25
"""Of the device memory that is free when a set is moved: at most three sets leave networks over two fifths of it."""
_AT_ONCE = 256 * 2**20
"""Bytes that are gathered and moved at a time."""


def room_on(device: torch.device) -> float:
    """Bytes that a set may take on the device; on a CPU none, as it is in memory or mapped already."""
    return _SHARE * torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0.0


class Residence:
    """The pixels of one set, ready to be indexed by its images' numbers."""

    def __init__(self, images: ImageSet, device: torch.device, room: float) -> None:
        """Move the pixels to the device if they fit.

        Args:
            images: The set.
            device: Where batches are wanted.
            room: Bytes that the set may take there.
        """
        self._pixels = images.images.permute(0, 2, 3, 1).contiguous()
        self._rows = images.rows
        self._device = device
        self.index_device = torch.device("cpu")
        """Where indices of images belong, so that nothing waits for the device."""
        size = len(images) * self._pixels[0].numel()
        if size <= room:
            self._move(images)

    def _move(self, images: ImageSet) -> None:
        rows = torch.arange(len(images)) if self._rows is None else self._rows
        moved = torch.empty((len(images), *self._pixels.shape[1:]), dtype=torch.uint8, device=self._device)
        at_once = max(1, _AT_ONCE // self._pixels[0].numel())
        for target, chosen in zip(moved.split(at_once), rows.split(at_once), strict=True):
            target.copy_(self._pixels[chosen])
        self._pixels, self._rows, self.index_device = moved, None, self._device

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels on the device, and which of them are asked for.

        Args:
            indices: int64 [B], on ``index_device``.

        Returns:
            uint8 [K, S, S, C] and int64 [B] into it.
        """
        indices = indices.to(self.index_device)
        rows = indices if self._rows is None else self._rows[indices]
        if self._pixels.device.type == self._device.type:
            return self._pixels, rows
        shape = (len(rows), *self._pixels.shape[1:])
        pinned = torch.empty(shape, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        torch.index_select(self._pixels, 0, rows, out=pinned)
        return pinned.to(self._device, non_blocking=True), torch.arange(len(rows), device=self._device)
