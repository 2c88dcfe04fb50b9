"""RandAugment as FixMatch uses it: each image its own three operations, each with its own strength, then a cut-out.

Operations and ranges are those of USB's ``randaugment.py`` (spec 7.3), and every pixel is the one that Pillow gives
there: the same fixed-point coordinates, the same rounding. A batch is sorted by operation, so that each operation runs
once, on its images only; how many those are is known on the host, where the draws are made, so nothing waits for the
device.

Decided against: one draw for the whole batch (kornia's way), which is another method, and computing every operation
for every image and selecting one, which costs 14 times the work.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, auto
from typing import NamedTuple

import torch
from torch import Tensor

ROUNDS = 3
"""n: operations per image."""
_LARGEST_CUT = 0.5
"""Of the image's side."""
_CUT_COLOUR = (125, 123, 114)
"""What fills the cut-out: about the mean colour of natural images."""
_ONE = 1 << 16
"""1 in Pillow's fixed-point coordinates."""
_BLUR = 13
"""Sum of the weights of Pillow's SMOOTH: 5 in the middle and 1 around it."""


class Operation(IntEnum):
    """The 14; neighbours share code, so that sorting brings them together."""

    IDENTITY = 0
    AUTO_CONTRAST = auto()
    EQUALIZE = auto()
    POSTERIZE = auto()
    SOLARIZE = auto()
    BRIGHTNESS = auto()
    COLOR = auto()
    CONTRAST = auto()
    SHARPNESS = auto()
    SHEAR_X = auto()
    SHEAR_Y = auto()
    TRANSLATE_X = auto()
    TRANSLATE_Y = auto()
    ROTATE = auto()


RANGES = {
    Operation.IDENTITY: (0.0, 1.0),
    Operation.AUTO_CONTRAST: (0.0, 1.0),
    Operation.EQUALIZE: (0.0, 1.0),
    Operation.POSTERIZE: (4.0, 8.0),
    Operation.SOLARIZE: (0.0, 256.0),
    Operation.BRIGHTNESS: (0.05, 0.95),
    Operation.COLOR: (0.05, 0.95),
    Operation.CONTRAST: (0.05, 0.95),
    Operation.SHARPNESS: (0.05, 0.95),
    Operation.SHEAR_X: (-0.3, 0.3),
    Operation.SHEAR_Y: (-0.3, 0.3),
    Operation.TRANSLATE_X: (-0.3, 0.3),
    Operation.TRANSLATE_Y: (-0.3, 0.3),
    Operation.ROTATE: (-30.0, 30.0),
}
"""From which each strength is drawn: bits, grey level, factor, shear, part of the side, degrees."""


class Draws(NamedTuple):
    """What decides a batch, on the CPU."""

    operations: Tensor
    """int64 [rounds, B], numbers of ``Operation``."""
    strengths: Tensor
    """float64 [rounds, B], in the unit of ``RANGES``."""
    cuts: Tensor
    """float64 [3, B] in 0..1: centre in x and y, and size."""


def draw(count: int, generator: torch.Generator) -> Draws:
    """Draw anew for each of ``count`` images."""
    operations = torch.randint(len(Operation), (ROUNDS, count), generator=generator)
    low, high = torch.tensor([RANGES[operation] for operation in Operation], dtype=torch.float64).unbind(1)
    uniform = torch.rand(ROUNDS + 3, count, generator=generator, dtype=torch.float64)
    strengths = low[operations] + (high - low)[operations] * uniform[:ROUNDS]
    return Draws(operations, strengths, uniform[ROUNDS:])


def rand_augment(images: Tensor, draws: Draws) -> Tensor:
    """The strong views of a batch.

    Args:
        images: uint8 [B, C, S, S] with C = 1 or 3, on any device; left as they are.
        draws: Made for B images.

    Returns:
        uint8 [B, C, S, S].
    """
    side, device = images.shape[-1], images.device
    sorted_by = torch.argsort(draws.operations, dim=1, stable=True)
    places = torch.argsort(sorted_by, dim=1)
    # From the order of one round to that of the next; after the last, back to the batch's own.
    steps = [sorted_by[0], *(before[after] for before, after in zip(places, sorted_by[1:], strict=False)), places[-1]]
    parameters = _parameters(draws.operations.gather(1, sorted_by), draws.strengths.gather(1, sorted_by), side)
    moved_orders = torch.stack(steps).to(device, non_blocking=True)
    moved_parameters = parameters.to(device, non_blocking=True)
    for order, parameter, operations in zip(moved_orders, moved_parameters, draws.operations, strict=False):
        images = images.index_select(0, order)
        _apply(images, torch.bincount(operations, minlength=len(Operation)).tolist(), parameter)
    return _cut_out(images.index_select(0, moved_orders[-1]), draws.cuts)


def _apply(images: Tensor, counts: list[int], parameters: Tensor) -> None:
    """One operation on each image, in place; image k of the operations' order has the parameters k."""
    ends = torch.tensor(counts).cumsum(0).tolist()

    def members(first: Operation, last: Operation) -> tuple[Tensor, Tensor] | None:
        start, end = ends[first] - counts[first], ends[last]
        return (images[start:end], parameters[start:end]) if start < end else None

    if found := members(Operation.AUTO_CONTRAST, Operation.AUTO_CONTRAST):
        found[0].copy_(_auto_contrast(found[0]))
    if found := members(Operation.EQUALIZE, Operation.EQUALIZE):
        found[0].copy_(_equalize(found[0]))
    if found := members(Operation.POSTERIZE, Operation.POSTERIZE):
        found[0].bitwise_and_(_per_image(found[1][:, 0]).to(torch.uint8))
    if found := members(Operation.SOLARIZE, Operation.SOLARIZE):
        inverted = found[0] >= _per_image(found[1][:, 0]).to(torch.int16)
        found[0].bitwise_xor_(inverted.to(torch.uint8).mul_(255))
    degenerates: dict[Operation, Callable[[Tensor], Tensor]] = {
        Operation.BRIGHTNESS: torch.zeros_like,
        Operation.COLOR: _grey,
        Operation.CONTRAST: _mean_grey,
        Operation.SHARPNESS: _smooth,
    }
    for operation, degenerate in degenerates.items():
        if found := members(operation, operation):
            found[0].copy_(_blend(degenerate(found[0]), *found))
    if found := members(Operation.SHEAR_X, Operation.ROTATE):
        found[0].copy_(_affine(*found))


def _parameters(operations: Tensor, strengths: Tensor, side: int) -> Tensor:
    """Pillow's fixed-point coefficients of the affine ones, a number and zeros of the others: float64 [rounds, B, 6].

    Source x of output pixel (x, y) is (a x + b y + c) / 65536, source y (d x + e y + f) / 65536, both rounded down.
    """
    zeros, ones = torch.zeros_like(strengths), torch.ones_like(strengths)
    angle = -torch.deg2rad(strengths)
    cosine, sine = angle.cos(), angle.sin()
    # Pillow moves by whole pixels where it neither turns nor shears.
    shift = (strengths * side + 0.5).floor()
    centre = side / 2
    turned = (cosine, sine, centre - centre * (cosine + sine), -sine, cosine, centre - centre * (cosine - sine))
    mask = 256 - 2 ** (8 - strengths.floor())
    number = torch.where(operations == Operation.POSTERIZE, mask, strengths)
    number = torch.where(operations == Operation.SOLARIZE, strengths.ceil(), number)
    matrices = {
        Operation.SHEAR_X: (ones, strengths, zeros, zeros, ones, zeros),
        Operation.SHEAR_Y: (ones, zeros, zeros, strengths, ones, zeros),
        Operation.TRANSLATE_X: (ones, zeros, shift, zeros, ones, zeros),
        Operation.TRANSLATE_Y: (ones, zeros, zeros, zeros, ones, shift),
        Operation.ROTATE: turned,
    }
    result = torch.stack([number, *[zeros] * 5], 2)
    for operation, (a, b, c, d, e, f) in matrices.items():
        # Pillow asks for the middle of each pixel.
        exact = torch.stack([a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5], 2)
        fixed = (exact * _ONE + 0.5).floor()
        result = torch.where((operations == operation)[..., None], fixed, result)
    return result


def _per_image(values: Tensor) -> Tensor:
    """[B] as [B, 1, 1, 1]."""
    return values[:, None, None, None]


def _auto_contrast(images: Tensor) -> Tensor:
    """Each channel stretched to 0..255; one of a single grey level stays."""
    low, high = (extreme(images, (2, 3), keepdim=True).double() for extreme in (torch.amin, torch.amax))
    flat = high <= low
    # Not 255 / ..., which torch computes by way of the reciprocal, rounded twice.
    scale = torch.full_like(high, 255) / torch.where(flat, 255, high - low)
    offset = torch.where(flat, 0, -low * scale)
    return (images * scale + offset).clamp_(0, 255).to(torch.uint8)


def _equalize(images: Tensor) -> Tensor:
    """Each channel's histogram made flat; one that Pillow cannot spread stays."""
    planes = images.flatten(2).flatten(0, 1)
    count, size = planes.shape
    offsets = torch.arange(count, device=images.device)[:, None] * 256
    values = planes.long()
    bins = torch.zeros(count * 256, dtype=torch.int32, device=images.device)
    bins.scatter_add_(0, (values + offsets).flatten(), bins.new_ones(1).expand(count * size))
    histogram = bins.view(count, 256)
    brightest = histogram.gather(1, values.amax(1, keepdim=True))
    step = (size - brightest).div(255, rounding_mode="floor")
    below = histogram.cumsum(1) - histogram
    spread = (below + step.div(2, rounding_mode="floor")).div(step.clamp(min=1), rounding_mode="floor").clamp_(max=255)
    table = torch.where(step > 0, spread, torch.arange(256, device=images.device)).to(torch.uint8)
    return table.gather(1, values).view_as(images)


def _blend(degenerate: Tensor, images: Tensor, parameters: Tensor) -> Tensor:
    """Pillow's ``Image.blend`` in its single precision, rounded down."""
    base = degenerate.float()
    factor = _per_image(parameters[:, 0].float())
    return (base + factor * (images.float() - base)).to(torch.uint8)


def _grey(images: Tensor) -> Tensor:
    """Pillow's mode L: uint8 [B, 1, S, S]."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.to(torch.int32).split(1, 1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).to(torch.uint8)


def _mean_grey(images: Tensor) -> Tensor:
    """The mean of L, rounded: [B, 1, 1, 1]."""
    return (_grey(images).mean((1, 2, 3), keepdim=True, dtype=torch.float64) + 0.5).floor()


def _smooth(images: Tensor) -> Tensor:
    """Pillow's SMOOTH; the outermost pixels stay.

    A thirteenth never lies halfway between two grey levels, so single precision rounds as exact arithmetic does.
    """
    values = images.float()
    rows = values[:, :, :-2] + values[:, :, 1:-1] + values[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * values[:, :, 1:-1, 1:-1]
    values[:, :, 1:-1, 1:-1] = (total / _BLUR + 0.5).floor_()
    return values


def _affine(images: Tensor, parameters: Tensor) -> Tensor:
    """Pillow's affine transform by the nearest pixel; black comes in from outside."""
    side = images.shape[-1]
    a, b, c, d, e, f = parameters.to(torch.int32)[:, :, None, None].unbind(1)
    x = torch.arange(side, dtype=torch.int32, device=images.device)
    y = x[:, None]
    column, row = (a * x + b * y + c) >> 16, (d * x + e * y + f) >> 16
    inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
    position = (row * side + column) * inside
    planes = images.flatten(2)
    moved = planes.gather(2, position.flatten(1)[:, None].expand(planes.shape).long())
    return moved.view_as(images) * inside[:, None]


def _cut_out(images: Tensor, cuts: Tensor) -> Tensor:
    """One square of each image filled: its size uniform up to half the side, its centre uniform in the image."""
    side = images.shape[-1]
    centre, size = cuts[:2] * side, cuts[2] * (_LARGEST_CUT * side)
    first = (centre - size / 2).clamp(min=0).floor()
    last = (first + size).floor()
    bounds = torch.cat([first, last]).to(images.device, torch.int32, non_blocking=True)
    left, top, right, bottom = bounds[:, :, None].unbind(0)
    place = torch.arange(side, dtype=torch.int32, device=images.device)
    inside = ((place >= left) & (place <= right))[:, None] & ((place >= top) & (place <= bottom))[:, :, None]
    colour = torch.tensor(_CUT_COLOUR, dtype=torch.uint8)[None, :, None, None]
    filling = (colour if images.shape[1] == 3 else _grey(colour)).to(images.device, non_blocking=True)
    return torch.where(inside[:, None], filling, images)
