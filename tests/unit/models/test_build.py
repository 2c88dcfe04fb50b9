"""Networks by name: what they compute, how they start, and which names are refused."""

from __future__ import annotations

import pytest
import torch
from tests.unit.models.networks import images, network
from torch.func import functional_call

from graphtrial.models import ModelError, build, observe

SMALL = ("resnet8", "resnet20", "wrn-10-1", "wrn-16-2", "abn-resnet8", "abn-resnet8-bypass")
LARGE = ("resnet18", "abn-resnet18")
"""Those of more blocks have the same parts: they are compared with torch's counters in the tests of the catalogue."""


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("side", [8, 32, 33, 64])
def test_images_of_any_size_give_logits(name, side):
    """Global pooling leaves one linear layer for every image size."""
    assert network(name)(torch.zeros(2, 3, side, side)).shape == (2, 10)


@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_a_network_is_its_two_parts(name):
    """Logits are those of the upper part on the features of the lower one; a map has its side, a branch its classes."""
    model = network(name, classes=7).eval()
    with torch.no_grad():
        output = observe(model, images(2, side=32))
        assert torch.equal(output.logits, model(images(2, side=32)))
    assert output.map.shape[0] == 2
    assert output.map.shape[1] == output.map.shape[2]
    assert (None if output.branch is None else output.branch.shape) == ((2, 7) if name.startswith("abn") else None)


@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_the_layout_of_the_images_changes_nothing_but_speed(name):
    """Channels first and channels last give the same logits, and every group keeps channels last."""
    model = network(name).eval()
    layouts = []
    for block in (*model.lower, *model.last):
        block.register_forward_hook(
            lambda *call: layouts.append(call[-1].is_contiguous(memory_format=torch.channels_last))
        )
    last = model(images().to(memory_format=torch.channels_last))
    assert all(layouts)
    torch.testing.assert_close(last, model(images()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [*SMALL, "abn-resnet18"])
def test_arithmetic_in_place_gives_the_true_gradient(name):
    """The directional derivative of a float64 loss of all outputs agrees with finite differences, in training mode."""
    model = network(name).double()
    generator = torch.Generator().manual_seed(1)
    batch = images(4, side=8 if name in SMALL else 32, dtype=torch.float64)
    weights = torch.randn(4, 10, generator=generator, dtype=torch.float64)
    start = dict(model.named_parameters())
    directions = {
        name: torch.randn(value.shape, generator=generator, dtype=torch.float64) for name, value in start.items()
    }

    class Loss(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, batch):
            output = observe(self.model, batch)
            loss = (output.logits.tanh() * weights).sum() + output.map.tanh().sum()
            return loss if output.branch is None else loss + (output.branch.tanh() * weights).sum()

    def loss(step):
        moved = {f"model.{name}": value + step * directions[name] for name, value in start.items()}
        return functional_call(Loss(), moved, batch)

    loss(0).backward()
    slope = sum((value.grad * directions[name]).sum() for name, value in start.items())
    step = 1e-7 if name in SMALL else 1e-9  # the more units, the nearer the next kink
    with torch.no_grad():
        torch.testing.assert_close((loss(step) - loss(-step)) / (2 * step), slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["resnet8", "wrn-10-1", "resnet18"])
def test_the_map_is_that_of_attention_transfer_on_the_last_group(name):
    """(2.11) with p = 2 as a mean over channels, cell by cell, of what the classifier pools."""
    model = network(name).eval()
    pooled = []
    model.linear.register_forward_pre_hook(lambda _, inputs: pooled.append(inputs[0]))
    (model.norm if name.startswith("wrn") else model.last).register_forward_hook(lambda *call: pooled.append(call[-1]))
    with torch.no_grad():
        output = observe(model, images(2, side=32))
    features, means = pooled
    features = features.relu()
    torch.testing.assert_close(features.mean((2, 3)), means)
    samples, channels, side, _ = features.shape
    expected = torch.zeros(samples, side, side)
    for channel in range(channels):
        expected += features[:, channel].abs() ** 2
    torch.testing.assert_close(output.map, expected / channels)


@pytest.mark.parametrize("name", ["resnet8", "wrn-10-1", "abn-resnet8"])
@pytest.mark.parametrize(("side", "kernel", "features"), [(32, 3, 16), (64, 3, 32), (65, 7, 5), (224, 7, 16)])
def test_large_images_are_first_reduced(name, side, kernel, features):
    """A 7x7 convolution with stride 1 and a maximum of 7x7 cells take 224 to 32 pixels; 64 stay as they are (7.1)."""
    model = network(name, image_size=side).eval()
    first = next(module for module in model.lower.modules() if isinstance(module, torch.nn.Conv2d))
    pools = [module for module in model.modules() if isinstance(module, torch.nn.MaxPool2d)]
    assert (first.kernel_size, first.stride, first.padding) == ((kernel, kernel), (1, 1), (kernel // 2, kernel // 2))
    assert [(pool.kernel_size, pool.stride, pool.padding) for pool in pools] == ([(7, 7, 0)] if kernel == 7 else [])
    with torch.no_grad():
        assert model.lower(torch.zeros(1, 3, side, side)).shape[-1] == features


def test_option_a_takes_every_second_pixel_and_appends_zero_channels():
    """With its own branch silenced, a block that widens passes on its input, thinned out and filled up."""
    block = network("resnet8").lower[2][0].eval()
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
            weights.append(build("resnet8", classes=10, channels=3, image_size=32).linear.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(("name", "part"), [("resnet8", "last"), ("abn-resnet8", "branch"), ("abn-resnet18", "branch")])
def test_convolutions_start_with_the_variance_of_he_for_fan_out(name, part):
    """Variance 2 / (outputs * 3 * 3), within five standard errors."""
    for weight in getattr(network(name), part).parameters():
        if weight.dim() == 4 and weight.numel() > 1000:
            expected = 2 / (weight.shape[0] * weight.shape[2] * weight.shape[3])
            error = expected * (2 / weight.numel()) ** 0.5
            assert weight.var().item() == pytest.approx(expected, abs=5 * error)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_large_resnets_are_torchvisions(name):
    """The same weights give the same logits."""
    from torchvision.models import get_model

    theirs = get_model(name, weights=None, num_classes=10).eval()
    ours = network(name, image_size=64).eval()
    ours.lower.load_state_dict(
        {key: value for key, value in theirs.state_dict().items() if not key.startswith(("layer4", "fc"))}
    )
    ours.last.load_state_dict(theirs.layer4.state_dict())
    ours.linear.load_state_dict(theirs.fc.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(ours(images(2, side=64)), theirs(images(2, side=64)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["", "resnet9", "wrn-28-0", "ResNet32", "abn-wrn-28-2", "resnet32-bypass"])
def test_a_wrong_name_is_told_so(name):
    """The message lists the names that are right."""
    with pytest.raises(ModelError, match=r"one of resnet8, resnet14"):
        build(name, classes=10, channels=3, image_size=32)
