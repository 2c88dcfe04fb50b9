"""Torch on one thread: sums in one order, and no contention between test processes."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Some test before may have asked for more."""
    torch.set_num_threads(1)
