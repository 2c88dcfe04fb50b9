"""Losses on attention maps, for all edges whose maps are of one size at once (spec 2.2).

K square crops are centred at the argmax of the source's map and shifted to stay inside; the destination is cropped at
the same place; each crop is normalised by its own L2 norm. All crops of all samples and edges are one gather: the
authors' code cuts sample by sample and row by row, 13,000 to 74,000 operations a step.

Decided against: padding at the border, which would add cells that no map has.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

Crops = tuple[int, ...]


def resized(maps: Tensor, side: int) -> Tensor:
    """Maps [samples, S, S] as [samples, side, side], bilinearly."""
    if maps.shape[-1] == side:
        return maps
    return F.interpolate(maps[:, None], size=(side, side), mode="bilinear", align_corners=False)[:, 0]


def windows(source: Tensor, side: int) -> Tensor:
    """Positions of the cells of a crop around each map's maximum, in the flattened map.

    start = clamp(argmax - side // 2, 0, S - side), for rows and columns.

    Args:
        source: [edges, samples, S, S].
        side: Of the crop, at most S.

    Returns:
        int64 [edges, samples, side * side].
    """
    size = source.shape[-1]
    top = source.flatten(2).argmax(dim=-1)
    centres = torch.stack([top // size, top % size])
    rows, columns = (centres - side // 2).clamp(0, size - side)
    steps = torch.arange(side, device=source.device)
    cells = (rows[..., None] + steps)[..., :, None] * size + (columns[..., None] + steps)[..., None, :]
    return cells.flatten(2)


def crop_pairs(source: Tensor, destination: Tensor, crops: Crops) -> list[tuple[Tensor, Tensor]]:
    """For each crop the normalised cells of source and destination, [edges, samples, cells].

    Args:
        source: Maps [edges, samples, S, S], without gradient.
        destination: The same of the nodes that learn.
        crops: Sides; one that is not smaller than the map is the whole map, and so is none at all.
    """
    pairs: list[tuple[Tensor, Tensor]] = []
    size = source.shape[-1]
    whole = source.flatten(2), destination.flatten(2)
    for side in crops or (size,):
        if side >= size:
            cut = whole
        else:
            cells = windows(source, side)
            cut = whole[0].gather(-1, cells), whole[1].gather(-1, cells)
        pairs.append((F.normalize(cut[0], dim=-1), F.normalize(cut[1], dim=-1)))
    return pairs


def squared_difference(source: Tensor, destination: Tensor) -> Tensor:
    """Mean over a crop's cells of (Q_s / ||Q_s|| - Q_t / ||Q_t||)^2, (4.8): [edges, samples]."""
    return (source - destination).square().mean(dim=-1)


def inner_product(source: Tensor, destination: Tensor) -> Tensor:
    """(Q_s / ||Q_s||) . (Q_t / ||Q_t||) over a crop's cells, (4.9): [edges, samples]."""
    return (source * destination).sum(dim=-1)
