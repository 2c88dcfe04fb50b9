"""Shared lower layers, and the sides of maps."""

from __future__ import annotations

import pytest
import torch
from tests.unit.models.networks import images, network

from graphtrial.contract import model_size
from graphtrial.models import ModelError, build, map_side, share_trunk


@pytest.mark.parametrize("name", ["resnet8", "wrn-10-1", "abn-resnet8", "resnet18"])
def test_a_shared_trunk_is_one_module(name):
    """It is that of the first, and its gradient the sum of those of all its networks."""
    networks = [build(name, classes=10, channels=3, image_size=32).double() for _ in range(3)]
    first = networks[0].lower
    share_trunk(networks)
    assert all(each.lower is first for each in networks)
    batch = images(2, side=32, dtype=torch.float64)
    parameter = next(first.parameters())

    def gradient(chosen):
        loss = sum(each.upper(each.lower(batch)).logits.square().sum() for each in chosen)
        return torch.autograd.grad(loss, parameter)[0]

    torch.testing.assert_close(gradient(networks), sum(gradient([each]) for each in networks))


def test_a_network_without_lower_layers_shares_none():
    """The message names it and a model that has them."""
    with pytest.raises(ModelError, match="MobileNetV3 has no layers to share; use a model with lower and upper, such"):
        share_trunk([network("resnet8"), network("torchvision:mobilenet_v3_small")])


@pytest.mark.parametrize("name", ["resnet8", "wrn-10-1", "abn-resnet8", "resnet18", "abn-resnet18"])
@pytest.mark.parametrize("side", [32, 224])
def test_the_side_of_a_map_is_that_of_the_catalogue(name, side):
    """Asking leaves the network as it was."""
    model = network(name, image_size=side)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    expected = model_size(name, classes=10, image_size=side).map_size
    assert map_side(model, channels=3, image_size=side) == expected
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_plain_classifier_has_no_map():
    """Nor is it run for that."""
    assert map_side(torch.nn.Identity(), channels=3, image_size=32) is None
