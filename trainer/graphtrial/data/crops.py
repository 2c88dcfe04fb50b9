"""Random parts of images, resized: torchvision's RandomResizedCrop for a whole batch.

Both ways of computing it weigh source pixels by a triangle as wide as the box is reduced, which is Pillow's and
torchvision's bilinear resizing with antialiasing, and round to a grey level. On a CPU torch's own kernel for bytes is
several times as fast, image by image; on a GPU a launch per image would cost more than the work, and the
triangles of a batch are two matrix products.

Decided against: grid_sample, which reads four pixels however much the box is reduced, and so aliases.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SCALE = (0.08, 1.0)
"""Part of the image's area (spec 7.2, torchvision's default)."""
RATIO = (3 / 4, 4 / 3)
"""Width over height."""
_TRIES = 10


class Boxes(NamedTuple):
    """What is cut out of each image of a batch, on the CPU."""

    bounds: Tensor
    """int64 [B, 4]: top, left, height, width."""
    mirrored: Tensor
    """bool [B]."""


def draw_boxes(count: int, side: int, generator: torch.Generator) -> Boxes:
    """A box for each of ``count`` square images: area and log of the ratio uniform, the first of ten that fits.

    The whole image where none does, as torchvision falls back to.
    """
    uniform = torch.rand(2 * _TRIES + 3, count, generator=generator, dtype=torch.float64)
    areas = side**2 * (SCALE[0] + (SCALE[1] - SCALE[0]) * uniform[:_TRIES])
    low, high = map(math.log, RATIO)
    ratios = (low + (high - low) * uniform[_TRIES : 2 * _TRIES]).exp()
    widths, heights = (areas * ratios).sqrt().round(), (areas / ratios).sqrt().round()
    fits = (widths >= 1) & (widths <= side) & (heights >= 1) & (heights <= side)
    first = fits.int().argmax(0, keepdim=True)
    width, height = (torch.where(fits.any(0), each.gather(0, first)[0], side) for each in (widths, heights))
    top, left = (uniform[-3] * (side - height + 1)).floor(), (uniform[-2] * (side - width + 1)).floor()
    return Boxes(torch.stack([top, left, height, width], 1).long(), uniform[-1] < 0.5)


def resized_one_by_one(images: Tensor, rows: Tensor, boxes: Boxes, size: int) -> Tensor:
    """On the CPU; only the pixels inside the boxes are read.

    Args:
        images: uint8 [M, S, S, C], possibly memory-mapped.
        rows: int64 [B], which images.
        boxes: Of B images.
        size: Side of the result.

    Returns:
        uint8 [B, size, size, C].
    """
    result = torch.empty((len(rows), size, size, images.shape[-1]), dtype=torch.uint8)
    mirrored = boxes.mirrored.tolist()
    for place, (row, (top, left, height, width)) in enumerate(zip(rows.tolist(), boxes.bounds.tolist(), strict=True)):
        box = images[row, top : top + height, left : left + width].permute(2, 0, 1)[None]
        view = F.interpolate(box, size=(size, size), mode="bilinear", antialias=True)[0].permute(1, 2, 0)
        result[place] = view.flip(1) if mirrored[place] else view
    return result


def resized_at_once(images: Tensor, rows: Tensor, boxes: Boxes, size: int) -> Tensor:
    """As ``resized_one_by_one``, on the device of ``images``, within a grey level; nothing waits for the device."""
    side, device = images.shape[1], images.device
    top, left, height, width = boxes.bounds.to(device, torch.float32, non_blocking=True).unbind(1)
    down, across = _triangles(top, height, side, size), _triangles(left, width, side, size)
    mirrored = boxes.mirrored.to(device, non_blocking=True)[:, None, None]
    across = torch.where(mirrored, across.flip(1), across)
    planes = images.index_select(0, rows).permute(0, 3, 1, 2).to(torch.float32)
    views = down[:, None] @ planes @ across[:, None].transpose(2, 3)
    return views.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _triangles(start: Tensor, length: Tensor, side: int, size: int) -> Tensor:
    """Weight of each source pixel in each output pixel: float32 [B, size, side], zero outside the box."""
    output = torch.arange(size, device=start.device) + 0.5
    source = torch.arange(side, device=start.device) + 0.5
    start, length = start[:, None, None], length[:, None, None]
    scale = length / size
    distance = (source - (start + output[:, None] * scale)).abs() / scale.clamp(min=1)
    inside = (source > start) & (source < start + length)
    weights = (1 - distance).clamp(min=0) * inside
    return weights / weights.sum(2, keepdim=True)
