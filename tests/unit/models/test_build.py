"""Networks by name: what they compute, how they start, and which names are refused."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call

from graphtrial.models import UnknownModel, build

SMALL = ("resnet8", "resnet20", "wrn-10-1", "wrn-16-2")


def network(name, classes=10, channels=3):
    """A network whose weights are a function of its name alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(name, classes=classes, channels=channels)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("side", [8, 32, 33, 64])
def test_images_of_any_size_give_logits(name, side):
    """Global pooling leaves one linear layer for every image size."""
    assert network(name)(torch.zeros(2, 3, side, side)).shape == (2, 10)


@pytest.mark.parametrize("name", SMALL)
def test_the_layout_of_the_images_changes_nothing_but_speed(name):
    """Channels first and channels last give the same logits, and every block keeps channels last."""
    model = network(name).eval()
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    layouts = []
    for block in (*model.lower, *model.last):
        block.register_forward_hook(
            lambda *call: layouts.append(call[-1].is_contiguous(memory_format=torch.channels_last))
        )
    last = model(images.to(memory_format=torch.channels_last))
    assert all(layouts)
    torch.testing.assert_close(last, model(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_arithmetic_in_place_gives_the_true_gradient(name):
    """The directional derivative of a float64 loss agrees with finite differences, in training mode."""
    model = network(name).double()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(4, 3, 8, 8, generator=generator, dtype=torch.float64)
    weights = torch.randn(4, 10, generator=generator, dtype=torch.float64)
    start = dict(model.named_parameters())
    directions = {
        name: torch.randn(value.shape, generator=generator, dtype=torch.float64) for name, value in start.items()
    }

    def loss(step):
        moved = {name: value + step * directions[name] for name, value in start.items()}
        return (functional_call(model, moved, images).tanh() * weights).sum()

    loss(0).backward()
    slope = sum((value.grad * directions[name]).sum() for name, value in start.items())
    step = 1e-7
    with torch.no_grad():
        torch.testing.assert_close((loss(step) - loss(-step)) / (2 * step), slope, rtol=1e-4, atol=1e-6)


def test_option_a_takes_every_second_pixel_and_appends_zero_channels():
    """With its own branch silenced, a block that widens passes on its input, thinned out and filled up."""
    block = network("resnet8").blocks[1].eval()
    torch.nn.init.zeros_(block.norm2.weight)
    features = torch.rand(2, 16, 5, 5, generator=torch.Generator().manual_seed(1))
    expected = torch.zeros(2, 32, 3, 3)
    expected[:, :16] = features[:, :, ::2, ::2]
    assert torch.equal(block(features), expected)


def test_weights_are_drawn_from_the_global_generator():
    """The same seed gives the same network, another seed another."""
    weights = []
    for seed in (0, 0, 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            weights.append(build("resnet8", classes=10, channels=3).blocks[0].conv1.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_convolutions_start_with_the_variance_of_he_for_fan_out():
    """Variance 2 / (outputs * 3 * 3), within five standard errors."""
    weight = network("resnet8").blocks[2].conv2.weight
    expected = 2 / (64 * 9)
    error = expected * (2 / weight.numel()) ** 0.5
    assert weight.var().item() == pytest.approx(expected, abs=5 * error)


@pytest.mark.parametrize("name", ["resnet18", "abn-resnet20", "torchvision:resnet18", "timm:vit_tiny", "my.module:Net"])
def test_a_name_for_later_is_told_so(name):
    """The name is right, this version is too early."""
    with pytest.raises(UnknownModel, match=f"^{name} cannot be built by this version yet; use one of resnet8"):
        build(name, classes=10, channels=3)


@pytest.mark.parametrize("name", ["", "resnet9", "wrn-28-0", "ResNet32"])
def test_a_wrong_name_is_told_so(name):
    """The message lists the names that are right."""
    with pytest.raises(UnknownModel, match=r"one of resnet8, resnet14") as raised:
        build(name, classes=10, channels=3)
    assert "yet" not in str(raised.value)
