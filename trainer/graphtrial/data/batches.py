"""Batches of views, made on the device from whole images that lie as uint8 where ``residence`` puts them.

Padding, crop and flip are one gather: a crop of a reflect-padded image is an index into the image itself, so the
padded copy is never made. Index tables for rows and columns are kept per shift; a batch adds them up. An image that is
kept larger than networks see it has the same tables, with shifts inside it.

Draws are made on the CPU, where their generator is the same for every device, and a few numbers per image are moved.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from torch import Tensor

from graphtrial.contract import Augmentation, derive
from graphtrial.data.crops import draw_boxes, resized_at_once, resized_one_by_one
from graphtrial.data.images import ImageSet
from graphtrial.data.randaugment import draw, rand_augment
from graphtrial.data.residence import Residence, room_on

_PADDING = 4
"""Pixels (spec 7.1); of images below 32 pixels an eighth of the side."""
_MIRRORED = frozenset({Augmentation.PAD_CROP_FLIP, Augmentation.RAND_AUGMENT, Augmentation.CROP_FLIP})


class Batches:
    """Images of one set, ready to be drawn from.

    Attributes:
        batch_size: B.
    """

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
        """Move the images to the device, if they fit.

        Args:
            images: The set; networks see S x S pixels of each image.
            augmentations: Those that will be asked for.
            mean: float32 [C], subtracted from pixels in 0..1.
            std: float32 [C], by which they are then divided.
            device: Where batches are made and returned.
            batch_size: B.
        """
        self._side, self._stored = images.side, images.images.shape[-1]
        self._residence = Residence(images, device, room_on(device))
        self._labels = images.labels.to(self._residence.index_device)
        self._scale = (1 / (255 * std.double())).float().to(device)
        self._shift = (-mean.double() / std.double()).float().to(device)
        self._device = device
        self.batch_size = batch_size
        self._generator = torch.Generator()
        tabled = {*augmentations, Augmentation.NONE} - {Augmentation.RESIZED_CROP_FLIP}
        self._tables = {augmentation: self._table(augmentation) for augmentation in tabled}

    def _table(self, augmentation: Augmentation) -> tuple[Tensor, Tensor]:
        """Source rows and columns of every pixel, for each shift and, of columns, each flip."""
        room = self._stored - self._side
        if augmentation is Augmentation.CROP_FLIP:
            crops = torch.arange(room + 1)[:, None] + torch.arange(self._side)
        else:
            padding = 0 if augmentation is Augmentation.NONE else min(_PADDING, self._side // 8)
            crops = room // 2 + _reflected(self._side, padding)
        flipped = torch.cat([crops, crops.flip(1)]) if augmentation in _MIRRORED else crops
        return (crops * self._stored).to(self._device), flipped.to(self._device)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._labels)

    def epoch_order(self, seed: int, epoch: int, stream: str = "order") -> Tensor:
        """Indices of every batch of an epoch: int64 [N // B, B]; the last incomplete batch is dropped.

        They lie on the device, or on the CPU where images are fetched from there.

        Args:
            seed: The trial's.
            epoch: From 0.
            stream: Two sets of images that are drawn side by side have different ones.
        """
        steps = len(self) // self.batch_size
        self._generator.manual_seed(derive(seed, stream, epoch))
        order = torch.randperm(len(self), generator=self._generator)
        order = order[: steps * self.batch_size].view(steps, self.batch_size)
        return order.to(self._residence.index_device)

    def labels(self, indices: Tensor) -> Tensor:
        """Class indices, int64 [B], on the device."""
        return self._labels[indices.to(self._labels.device)].to(self._device, non_blocking=True)

    def view(
        self, indices: Tensor, augmentation: Augmentation, seed: int, step: int, stream: str = "augmentation"
    ) -> Tensor:
        """Augmented images; nothing waits for the device.

        Args:
            indices: int64 [B], as ``epoch_order`` gives them.
            augmentation: One of those named at the start.
            seed: The trial's.
            step: Update count.
            stream: No two batches of a trial share stream and step.

        Returns:
            float32 [B, C, S, S], normalised, channels last.
        """
        self._generator.manual_seed(derive(seed, stream, step))
        pixels, rows = self._residence.fetch(indices)
        if augmentation is Augmentation.RESIZED_CROP_FLIP:
            boxes = draw_boxes(len(rows), self._stored, self._generator)
            resized = resized_one_by_one if self._device.type == "cpu" else resized_at_once
            return self._normalised(resized(pixels, rows, boxes, self._side))
        row_table, column_table = self._tables[augmentation]
        shifts, views = len(row_table), len(column_table)
        shift = torch.randint(shifts * views, (len(rows),), generator=self._generator)
        shift = shift.to(self._device, non_blocking=True)
        crops = self._gather(pixels, rows, row_table[shift // views], column_table[shift % views])
        if augmentation is Augmentation.RAND_AUGMENT:
            planes = crops.permute(0, 3, 1, 2).contiguous()
            crops = rand_augment(planes, draw(len(rows), self._generator)).permute(0, 2, 3, 1)
        return self._normalised(crops)

    def evaluation_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All images in order, with labels, the middle of each as it is; the last batch may be smaller."""
        for indices in torch.arange(len(self), device=self._residence.index_device).split(self.batch_size):
            pixels, chosen = self._residence.fetch(indices)
            rows, columns = (table[0].expand(len(chosen), -1) for table in self._tables[Augmentation.NONE])
            yield self._normalised(self._gather(pixels, chosen, rows, columns)), self.labels(indices)

    def _gather(self, pixels: Tensor, chosen: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Pixel (y, x) of output b is pixel (rows[b, y] / S, columns[b, x]) of image ``chosen[b]``: [B, S, S, C]."""
        positions = (chosen * self._stored**2)[:, None, None] + rows[:, :, None] + columns[:, None, :]
        flat = pixels.view(-1, pixels.shape[-1])
        return flat.index_select(0, positions.flatten()).view(*positions.shape, -1)

    def _normalised(self, pixels: Tensor) -> Tensor:
        """uint8 [B, S, S, C] as float32 [B, C, S, S], channels last."""
        values = pixels.contiguous().to(torch.float32)
        return values.mul_(self._scale).add_(self._shift).permute(0, 3, 1, 2)


def _reflected(side: int, padding: int) -> Tensor:
    """For each shift, the source position of every pixel of a crop: int64 [2 * padding + 1, side].

    Crop d starts at pixel d of the image padded by reflection without repeating the border.
    """
    shifts = torch.arange(-padding, padding + 1)[:, None]
    positions = (shifts + torch.arange(side)).abs()
    return torch.where(positions < side, positions, 2 * (side - 1) - positions)
