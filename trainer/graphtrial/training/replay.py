"""Updates as a GPU wants them: recorded once as a CUDA graph, then replayed with one launch each.

At this method's batch sizes a GPU is done with a kernel before Python asks for the next one. So the first updates run
as they do on a CPU, the next is recorded, and from then on an update is a copy of its images to where the recorded
ones lie, and one launch: the same kernels on the same numbers. What differs from update to update is read from
tensors that stay where they are: images, labels, learning rate, the gates' counter.

What an update does must not hang on the host, so three kinds stay unrecorded: those of networks that ask the device
for a number, which is noticed before; gradients that are projected in an order drawn anew (compression); and the user's
own networks, whose Python may do something else each time. Making images is not recorded either: RandAugment's work
differs from batch to batch.

Decided against: ``torch.compile``, whose start-up every trial of a search would pay (half a minute for a sixth of an
update's time; docs/performance.md), and a cache of recorded networks: recording takes about as long as two updates.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from graphtrial.training.step import Images

_log = logging.getLogger(__name__)

Update = Callable[[Images, float | Tensor], None]
"""Trains on images, with a learning rate."""


class Replayed:
    """An update, called like it, that is recorded at its third call."""

    def __init__(self, update: Update, device: torch.device) -> None:
        """Record nothing yet.

        Args:
            update: Changes tensors in place only, the same ones each time, and leaves nothing in Python.
            device: A CUDA device, where all of them are.
        """
        self._update = update
        self._rate = torch.zeros((), device=device)
        self._stream = torch.cuda.Stream(device)
        self._images: Images | None = None
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._recordable = True

    def __call__(self, images: Images, rate: float) -> None:
        """Train on images of the same shapes as at the first call."""
        kept = self._kept(images)
        self._rate.fill_(rate)
        if self._graph is None and self._recordable and self._calls == 2:
            self._graph = self._recorded(kept)
        if self._graph is not None:
            self._graph.replay()
            return
        # The first call makes what lazily comes into being, waits included; the second tells whether it still waits.
        if self._calls == 1:
            self._recordable = self._never_waits(kept)
        else:
            self._unrecorded(kept)
        self._calls += 1

    def _kept(self, images: Images) -> Images:
        """Where the recorded update reads them."""
        if self._images is None:
            self._images = Images(*(None if each is None else each.clone() for each in images))  # type: ignore[arg-type]
            return self._images
        for place, each in zip(self._images, images, strict=True):
            if place is not None and each is not None:
                place.copy_(each)
        return self._images

    def _unrecorded(self, images: Images) -> None:
        """On the stream that records, because memory and library handles belong to streams."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._update(images, self._rate)
        torch.cuda.current_stream().wait_stream(self._stream)

    def _never_waits(self, images: Images) -> bool:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                self._unrecorded(images)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        waits = sum("called a synchronizing" in str(warning.message) for warning in said)
        if waits:
            _log.warning("an update waits for the device %d times, so updates are not replayed: slower", waits)
        return not waits

    def _recorded(self, images: Images) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        # Thread-local: meanwhile another thread may be storing a checkpoint.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            self._update(images, self._rate)
        return graph
