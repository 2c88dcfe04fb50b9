"""Attention Branch Networks against their description, written out step by step (Fukui et al. 2019, spec 7.2)."""

from __future__ import annotations

import pytest
import torch
from tests.unit.models.networks import images, network
from torch.nn.functional import conv2d, pad

from graphtrial.models import observe

TOLERANCE = {"rtol": 1e-9, "atol": 1e-10}


def norm(weights, name, features):
    """A batch norm in evaluation mode, channel by channel."""
    mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
    out = torch.empty_like(features)
    for channel in range(features.shape[1]):
        centred = features[:, channel] - mean[channel]
        out[:, channel] = centred / (variance[channel] + 1e-5).sqrt() * scale[channel] + shift[channel]
    return out


def block(weights, name, features, stride):
    """A CIFAR block with the shortcut of option A."""
    out = conv2d(features, weights[f"{name}.conv1.weight"], stride=stride, padding=1)
    out = norm(weights, f"{name}.norm1", out).clamp(min=0)
    out = norm(weights, f"{name}.norm2", conv2d(out, weights[f"{name}.conv2.weight"], padding=1))
    shortcut = features[:, :, ::stride, ::stride]
    return (out + pad(shortcut, (0, 0, 0, 0, 0, out.shape[1] - shortcut.shape[1]))).clamp(min=0)


def plain_abn8(weights, batch, *, bypass):
    """(logits, branch logits, map) of abn-resnet8: one block a group."""
    features = norm(weights, "lower.0.norm", conv2d(batch, weights["lower.0.conv.weight"], padding=1)).clamp(min=0)
    features = block(weights, "lower.1.0", features, 1)
    features = block(weights, "lower.2.0", features, 2)
    branch = norm(weights, "branch.group_norm", block(weights, "branch.group.0", features, 1))
    branch = norm(weights, "branch.norm", conv2d(branch, weights["branch.conv.weight"])).clamp(min=0)
    before = norm(weights, "branch.map_norm", conv2d(branch, weights["branch.map_conv.weight"], padding=1))
    attention = 1 / (1 + (-before).exp())
    branch_logits = conv2d(branch, weights["branch.logits_conv.weight"]).mean((2, 3))
    attended = features * attention + (features if bypass else 0)
    last = block(weights, "last.0", attended, 2).mean((2, 3))
    return last @ weights["linear.weight"].T + weights["linear.bias"], branch_logits, attention[:, 0]


@pytest.mark.parametrize(("name", "bypass"), [("abn-resnet8", False), ("abn-resnet8-bypass", True)])
def test_an_abn_is_its_description(name, bypass):
    """Logits, branch logits and map of the whole network, in float64 with statistics that are not at rest."""
    model = network(name, classes=7).double()
    with torch.no_grad():
        for _ in range(3):
            model(images(8, dtype=torch.float64) * 2 + 1)
        output = observe(model.eval(), images(dtype=torch.float64))
        plain = plain_abn8(model.state_dict(), images(dtype=torch.float64), bypass=bypass)
    for given, expected in zip(output, plain, strict=True):
        torch.testing.assert_close(given, expected, **TOLERANCE)


@pytest.mark.parametrize(("name", "side", "cells"), [("abn-resnet8", 32, 16), ("abn-resnet18", 224, 14)])
def test_the_map_is_the_branchs_own(name, side, cells):
    """One channel between 0 and 1 with the side of the trunk's features."""
    with torch.no_grad():
        attention = observe(network(name, image_size=side), images(2, side=side)).map
    assert attention.shape == (2, cells, cells)
    assert attention.min() > 0
    assert attention.max() < 1


@pytest.mark.parametrize("name", ["abn-resnet8", "abn-resnet18"])
def test_the_branch_is_the_last_group_once_more(name):
    """With its own weights, and stride 1 where the last group halves the side."""
    model = network(name)
    branch, last = model.branch.group.state_dict(), model.last.state_dict()
    weights = {key: value.shape for key, value in last.items()}
    extra = {key for key in branch if "downsample" in key} - last.keys()
    assert {key: value.shape for key, value in branch.items() if key not in extra} == weights
    strides = [
        [module.stride[0] for module in part.modules() if isinstance(module, torch.nn.Conv2d)]
        for part in (model.branch.group, model.last)
    ]
    assert set(strides[0]) == {1}
    assert set(strides[1]) == {1, 2}


def test_without_the_bypass_a_dark_map_hides_everything():
    """Features times zero: the logits no longer depend on the image. With it, they pass."""
    for name, hidden in (("abn-resnet8", True), ("abn-resnet8-bypass", False)):
        model = network(name).eval()
        torch.nn.init.constant_(model.branch.map_norm.bias, -1e4)
        with torch.no_grad():
            one, other = model(images())[:2]
        assert torch.equal(one, other) == hidden
