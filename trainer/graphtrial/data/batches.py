"""Batches out of images that lie on the device as uint8.

Padding, crop and flip are one gather: a crop of a reflect-padded image is an index into the image itself, so the
padded copy is never made. Index tables for rows and columns are kept per shift; a batch adds them up.

Draws are made on the CPU, where their generator is the same for every device, and one integer per image is moved.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from torch import Tensor

from graphtrial.contract import Augmentation, derive
from graphtrial.data.images import DataError, ImageSet


class Batches:
    """Images on their device, ready to be drawn from."""

    def __init__(
        self,
        images: ImageSet,
        *,
        augmentations: Collection[Augmentation],
        mean: Tensor,
        std: Tensor,
        device: torch.device,
        batch_size: int,
    ) -> None:
        """Move the images to the device.

        Args:
            images: uint8 [N, C, S, S] and labels.
            augmentations: Those that will be asked for.
            mean: float32 [C], subtracted from pixels in 0..1.
            std: float32 [C], by which they are then divided.
            device: Where batches are made and returned.
            batch_size: B.
        """
        count, self._channels, self._side, _ = images.images.shape
        pixels = images.images.permute(0, 2, 3, 1).contiguous().to(device)
        self._pixels = pixels.view(count * self._side**2, self._channels)
        self._labels = images.labels.to(device)
        self._scale = (1 / (255 * std.double())).float().to(device)
        self._shift = (-mean.double() / std.double()).float().to(device)
        self._device = device
        self._batch_size = batch_size
        self._generator = torch.Generator()
        self._tables = {augmentation: self._table(augmentation) for augmentation in {*augmentations, Augmentation.NONE}}

    def _table(self, augmentation: Augmentation) -> tuple[Tensor, Tensor]:
        """Source rows and columns of every pixel, for each shift and, of columns, each flip."""
        padding = 0 if augmentation is Augmentation.NONE else self._side // 8
        crops = _reflected(self._side, padding)
        flipped = torch.cat([crops, crops.flip(1)]) if augmentation is Augmentation.PAD_CROP_FLIP else crops
        return (crops * self._side).to(self._device), flipped.to(self._device)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._labels)

    def epoch_order(self, seed: int, epoch: int, stream: str = "order") -> Tensor:
        """Indices of every batch of an epoch: int64 [N // B, B], on the device; the last incomplete batch is dropped.

        Args:
            seed: The trial's.
            epoch: From 0.
            stream: Two sets of images that are drawn side by side have different ones.

        Raises:
            DataError: If there are fewer images than a batch holds.
        """
        steps = len(self) // self._batch_size
        if not steps:
            message = (
                f"training.batchSize: {self._batch_size} is more than the {len(self)} training images; "
                f"use {len(self)} or less"
            )
            raise DataError(message)
        self._generator.manual_seed(derive(seed, stream, epoch))
        order = torch.randperm(len(self), generator=self._generator)
        return order[: steps * self._batch_size].view(steps, self._batch_size).to(self._device)

    def labels(self, indices: Tensor) -> Tensor:
        """Class indices, int64 [B]."""
        return self._labels[indices]

    def view(
        self, indices: Tensor, augmentation: Augmentation, seed: int, step: int, stream: str = "augmentation"
    ) -> Tensor:
        """Augmented images; nothing waits for the device.

        Args:
            indices: int64 [B], on the device.
            augmentation: One of those named at the start.
            seed: The trial's.
            step: Update count.
            stream: No two batches of a trial share stream and step.

        Returns:
            float32 [B, C, S, S], normalised, channels last.
        """
        row_table, column_table = self._tables[augmentation]
        shifts, views = len(row_table), len(column_table)
        self._generator.manual_seed(derive(seed, stream, step))
        draw = torch.randint(shifts * views, (len(indices),), generator=self._generator)
        draw = draw.to(self._device, non_blocking=True)
        return self._gather(indices, row_table[draw // views], column_table[draw % views])

    def evaluation_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All images in order as they are, with labels; shapes as ``view``, the last batch may be smaller."""
        for indices in torch.arange(len(self), device=self._device).split(self._batch_size):
            rows, columns = (table[0].expand(len(indices), -1) for table in self._tables[Augmentation.NONE])
            yield self._gather(indices, rows, columns), self._labels[indices]

    def _gather(self, indices: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Pixel (y, x) of output b is pixel (rows[b, y], columns[b, x]) of image ``indices[b]``, normalised."""
        positions = (indices * self._side**2)[:, None, None] + rows[:, :, None] + columns[:, None, :]
        pixels = self._pixels.index_select(0, positions.flatten()).to(torch.float32)
        normalised = pixels.mul_(self._scale).add_(self._shift)
        return normalised.view(len(indices), self._side, self._side, self._channels).permute(0, 3, 1, 2)


def _reflected(side: int, padding: int) -> Tensor:
    """For each shift, the source position of every pixel of a crop: int64 [2 * padding + 1, side].

    Crop d starts at pixel d of the image padded by reflection without repeating the border.
    """
    shifts = torch.arange(-padding, padding + 1)[:, None]
    positions = (shifts + torch.arange(side)).abs()
    return torch.where(positions < side, positions, 2 * (side - 1) - positions)
