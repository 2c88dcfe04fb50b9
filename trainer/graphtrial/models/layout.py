"""How images, features and the weights of convolutions lie in memory: all alike, or every layer would reorder them."""

from __future__ import annotations

import torch

from graphtrial.contract import Precision


def layout(device: torch.device, precision: Precision) -> torch.memory_format:
    """What a device computes convolutions on most quickly.

    Channels last on a CPU and for a GPU's tensor cores. Float32 on a GPU does without these, and its kernels for
    channels last are slower by half.
    """
    plain = device.type == "cuda" and precision is Precision.FP32
    return torch.contiguous_format if plain else torch.channels_last
