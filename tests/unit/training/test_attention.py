"""Crops of attention maps, cell by cell (spec 2.2)."""

from __future__ import annotations

import pytest
import torch

from graphtrial.training.attention import crop_pairs, windows


def a_map(row: int, column: int, side: int = 7) -> torch.Tensor:
    """[1, 1, side, side] with its maximum there and its own value in every cell."""
    values = torch.arange(side * side, dtype=torch.float64).reshape(side, side) / 100
    values[row, column] = 9
    return values[None, None]


@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize(
    ("row", "column"), [(3, 3), (0, 0), (6, 6), (0, 6), (1, 5)], ids=["inside", "corner", "end", "edges", "near"]
)
def test_a_crop_is_shifted_to_stay_inside(side: int, row: int, column: int):
    """Its rows and columns start at clamp(argmax - k // 2, 0, S - k), without padding (spec 2.2, 10)."""
    first_row, first_column = (min(max(place - side // 2, 0), 7 - side) for place in (row, column))
    cells = [r * 7 + c for r in range(first_row, first_row + side) for c in range(first_column, first_column + side)]
    assert windows(a_map(row, column), side).tolist() == [[cells]]


def test_both_maps_are_cropped_where_the_source_looks():
    """One crop of each size at the argmax of the source's map, wherever the destination's has its own (spec 2.2)."""
    source, destination = a_map(0, 0), a_map(6, 6)
    crops = crop_pairs(source, destination, (3, 5))
    assert [cut[0].shape[-1] for cut in crops] == [9, 25]
    for (theirs, own), side in zip(crops, (3, 5), strict=True):
        for cut, whole in ((theirs, source), (own, destination)):
            expected = whole[0, 0, :side, :side].flatten()
            assert torch.allclose(cut[0, 0], expected / expected.norm())


def test_a_crop_as_large_as_the_map_is_the_whole_map():
    """As is none at all: a ResNet's 7 x 7 map under crops of 3, 5 and 7 (spec 2.2)."""
    whole, cropped = (crop_pairs(a_map(2, 2), a_map(4, 4), sides)[-1] for sides in ((), (3, 5, 7)))
    assert all(torch.equal(one, other) for one, other in zip(whole, cropped, strict=True))
