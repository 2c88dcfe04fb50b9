"""The catalogue's arithmetic against torch's own counters and the real files."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from graphtrial.contract import DATASETS, MODELS, Data, Split, model_size
from graphtrial.data import load
from graphtrial.models import build, observe

OTHERS = ("wrn-16-1", "wrn-22-3", "wrn-34-2", "wrn-40-1", "abn-resnet20-bypass", "abn-resnet18-bypass")
IMAGES = [(10, 3, 32), (100, 1, 8), (7, 3, 33), (120, 3, 224)]
"""Classes, channels, image size: the usual one, the least, an odd side that does not halve evenly, and a large one."""


@pytest.mark.parametrize("name", [*MODELS, *OTHERS])
def test_sizes_are_those_of_the_network_that_is_built(name):
    """Parameters, operations of one image's forward pass, and the side of the map."""
    for classes, channels, image_size in IMAGES:
        with torch.device("meta"):
            network = build(name, classes=classes, channels=channels, image_size=image_size).eval()
            images = torch.empty(1, channels, image_size, image_size)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            output = observe(network, images)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        size = model_size(name, classes=classes, channels=channels, image_size=image_size)
        assert (size.parameters, size.flops) == (parameters, counter.get_total_flops())
        assert list(output.map.shape) == [1, size.map_size, size.map_size]


def test_digits_have_the_sizes_of_the_catalogue():
    """The fixed split has as many images, classes, channels and pixels as stated."""
    digits = DATASETS["digits"]
    data = load(Data(dataset="digits"), Split.FULL)
    stated = (digits.train_images, digits.test_images, digits.classes, digits.channels, digits.image_size)
    assert stated == (len(data.train), len(data.evaluation), data.classes, data.channels, data.image_size)
