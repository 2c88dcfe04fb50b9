"""Networks for the tests of this room."""

from __future__ import annotations

import torch

from graphtrial.models import build


def network(name, classes=10, channels=3, image_size=32):
    """A network whose weights are a function of its name alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(name, classes=classes, channels=channels, image_size=image_size)


def images(count=4, channels=3, side=16, dtype=torch.float32):
    """The same ones every time."""
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(1), dtype=dtype)
