"""Stratified draws: which images are held out, which keep their labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from graphtrial.contract import Data, derive
from graphtrial.data.images import DataError


def search_split(labels: Tensor, data: Data, classes: Sequence[str] = ()) -> tuple[Tensor, Tensor]:
    """Indices of training and of search validation images: int64, sorted, disjoint, together all.

    Args:
        labels: int64 [N].
        data: Says how many are held out.
        classes: Their names, for messages; none if they have none.

    Raises:
        DataError: If nothing would be left to train on, or nothing of a class.
    """
    part = data.search_validation
    count = part.count or max(1, round((part.fraction or 0.0) * len(labels)))
    if count >= len(labels):
        message = (
            f"data.searchValidation: {count} of {len(labels)} training images leave none to train on; ask for fewer"
        )
        raise DataError(message)
    held_out, rest = stratified(labels, count, derive(part.seed, "searchValidation"))
    there, left = torch.bincount(labels), torch.bincount(labels[rest], minlength=int(labels.max()) + 1)
    if lost := torch.nonzero((there > 0) & (left == 0)).flatten().tolist():
        name = f"{lost[0]} ({classes[lost[0]]})" if classes else str(lost[0])
        message = (
            f"data.searchValidation: of class {name} with {int(there[lost[0]])} images none is left to train on beside "
            f"the {count} held out; a search needs two of each class, one to train on and one to score on: ask for "
            f"fewer, or add images"
        )
        raise DataError(message)
    return rest, held_out


def labelled_of(candidates: Tensor, labels: Tensor, data: Data) -> Tensor:
    """Those of the indices ``candidates`` that keep their labels: all, if ``labelled`` is left out.

    Raises:
        DataError: If more are asked for than there are, or fewer than there are classes.
    """
    if data.labelled is None:
        return candidates
    asked, seed = data.labelled.count, data.labelled.seed
    if asked > len(candidates):
        message = f"data.labelled.count: {asked} images asked for and {len(candidates)} there; ask for at most as many"
        raise DataError(message)
    classes = len(torch.unique(labels[candidates]))
    if asked < classes:
        message = f"data.labelled.count: {asked} labels for {classes} classes; ask for at least one of each class"
        raise DataError(message)
    chosen, _ = stratified(labels[candidates], asked, derive(seed, "labelled"))
    return candidates[chosen]


def unlabelled_of(candidates: Tensor, labelled: Tensor, data: Data) -> Tensor:
    """Those of the indices ``candidates`` that are trained on without labels (spec 7.3, 10).

    All where every image keeps its label: without it each says as much as any other.

    Raises:
        DataError: If none is left.
    """
    if data.labelled is None or data.unlabelled_includes_labelled:
        return candidates
    left = candidates[~torch.isin(candidates, labelled)]
    if not len(left):
        message = (
            f"data.labelled.count: {data.labelled.count} labels leave none of {len(candidates)} images unlabelled; "
            "ask for fewer, or set unlabelledIncludesLabelled"
        )
        raise DataError(message)
    return left


def stratified(labels: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw ``count`` images whose classes have the proportions of all.

    Shares are rounded by the largest remainder, so none is off by one image or more, except that no class goes
    without an image if ``count`` allows one for each.

    Args:
        labels: int64 [N].
        count: At most N.
        seed: Of the draw, which depends on nothing else.

    Returns:
        Indices of the drawn and of the other images, int64 [count] and [N - count], each sorted.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.bincount(labels)
    chosen = []
    for label, share in enumerate(_shares(sizes.tolist(), count)):
        members = torch.nonzero(labels == label).flatten()
        chosen.append(members[torch.randperm(len(members), generator=generator)[:share]])
    drawn = torch.zeros(len(labels), dtype=torch.bool)
    drawn[torch.cat(chosen)] = True
    return torch.nonzero(drawn).flatten(), torch.nonzero(~drawn).flatten()


def _shares(sizes: list[int], count: int) -> list[int]:
    """How many of ``count`` images come from each class; ties go to the class that comes first."""
    total = sum(sizes)
    least = 1 if count >= sum(size > 0 for size in sizes) else 0
    shares = [max(size * count // total, min(least, size)) for size in sizes]

    def shortage(label: int) -> int:
        return sizes[label] * count - shares[label] * total

    while (missing := count - sum(shares)) > 0:
        for label in sorted(range(len(sizes)), key=shortage, reverse=True)[:missing]:
            shares[label] += 1
    for _ in range(-missing):
        shares[min((label for label in range(len(sizes)) if shares[label] > 1), key=shortage)] -= 1
    return shares
