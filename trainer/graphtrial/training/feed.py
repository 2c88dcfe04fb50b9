"""From the number of a step to its images: which ones, and how they are seen.

Everything drawn is a function of (seed, stream, step or epoch), so a resumed run sees what an undisturbed one does.
An epoch is a pass over the labelled images, or in a semi-supervised graph over the unlabelled ones (spec 7.3), beside
which the labelled ones go round in epochs of their own.
"""

from __future__ import annotations

from torch import Tensor

from graphtrial.contract import Training
from graphtrial.data import Batches, DataError
from graphtrial.training.step import Images


class Feed:
    """The images of a training.

    Attributes:
        steps_per_epoch: Updates per epoch; the last incomplete batch is dropped.
    """

    def __init__(self, labelled: Batches, unlabelled: Batches | None, training: Training, seed: int) -> None:
        """Draw the first orders.

        Raises:
            DataError: If there are fewer images than a batch holds; the message names the field.
        """
        _check_size(labelled, "training.batchSize", "training")
        self._labelled = _Order(labelled, seed, "order")
        self._unlabelled = None
        if unlabelled is not None:
            _check_size(unlabelled, "training.unlabelled.batchSize", "unlabelled")
            self._unlabelled = _Order(unlabelled, seed, "unlabelled order")
        self._training, self._seed = training, seed
        self.steps_per_epoch = (self._unlabelled or self._labelled).steps

    def images(self, step: int) -> Images:
        """What the update that follows ``step`` finished ones is made of."""
        training, seed = self._training, self._seed
        indices, batches = self._labelled.at(step), self._labelled.batches
        labelled = batches.view(indices, training.augmentation, seed, step)
        labels = batches.labels(indices)
        if self._unlabelled is None:
            return Images(labelled, labels)
        indices, batches, views = self._unlabelled.at(step), self._unlabelled.batches, training.unlabelled
        return Images(
            labelled,
            labels,
            batches.view(indices, views.destination, seed, step, "destination"),
            batches.view(indices, views.source, seed, step, "source"),
        )


def _check_size(batches: Batches, field: str, images: str) -> None:
    if batches.batch_size > len(batches):
        there = len(batches)
        raise DataError(f"{field}: {batches.batch_size} is more than the {there} {images} images; use {there} or less")


class _Order:
    """Which images each step gets."""

    def __init__(self, batches: Batches, seed: int, stream: str) -> None:
        self.batches = batches
        self._seed, self._stream = seed, stream
        self._epoch, self._order = 0, batches.epoch_order(seed, 0, stream)
        self.steps = len(self._order)

    def at(self, step: int) -> Tensor:
        """Indices of one batch, on the device."""
        epoch, position = divmod(step, self.steps)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self.batches.epoch_order(self._seed, epoch, self._stream)
        return self._order[position]
