"""Weights by name into networks of other classes, channels and makers."""

from __future__ import annotations

import pytest
import torch
from tests.unit.models.networks import images, network
from torchvision.models import get_model

from graphtrial.models import ModelError, fit

EVERY_KIND = ("resnet8", "wrn-10-1", "abn-resnet8", "torchvision:shufflenet_v2_x0_5", "timm:test_resnet")


def weights_of(model):
    """Copies, each changed a little, so that they differ from any first weights."""
    return {key: value + 1 if value.is_floating_point() else value for key, value in model.state_dict().items()}


def same(model, weights, but=()):
    """Whether a network has these weights, but for some names."""
    return all(torch.equal(value, weights[key]) for key, value in model.state_dict().items() if key not in but)


@pytest.mark.parametrize("name", EVERY_KIND)
def test_weights_of_the_same_network_fit_whole(name):
    """Nothing keeps its first weights."""
    model, weights = network(name), weights_of(network(name))
    assert fit(model, weights, classes=10, new_head=False) == []
    assert same(model, weights)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet8", {"linear.weight", "linear.bias"}),
        ("torchvision:shufflenet_v2_x0_5", {"fc.weight", "fc.bias"}),
        ("timm:test_resnet", {"fc.weight", "fc.bias"}),
        ("timm:test_vit", {"head.weight", "head.bias"}),
        ("torchvision:squeezenet1_1", {"classifier.1.weight", "classifier.1.bias"}),
        (
            "abn-resnet8",
            {
                "linear.weight",
                "linear.bias",
                "branch.conv.weight",
                *(f"branch.norm.{part}" for part in ("weight", "bias", "running_mean", "running_var")),
                "branch.map_conv.weight",
                "branch.logits_conv.weight",
            },
        ),
    ],
)
def test_layers_of_other_classes_start_anew(name, head):
    """Everything else is loaded; of an ABN the layers inside its branch that have a channel for each class."""
    model, weights = network(name, classes=7), weights_of(network(name, classes=10))
    first = {key: value.clone() for key, value in model.state_dict().items()}
    assert fit(model, weights, classes=7, new_head=True) == ["layers for 10 classes start anew for 7"]
    assert same(model, weights, but=head)
    assert all(torch.equal(model.state_dict()[key], first[key]) for key in head)


def test_a_head_is_not_replaced_unasked():
    """A teacher of other classes is a mistake, and nothing of it is loaded."""
    model = network("resnet8", classes=7)
    first = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ModelError, match="they are for 10 classes, and there are 7"):
        fit(model, weights_of(network("resnet8")), classes=7, new_head=False)
    assert same(model, first)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("linear.bias"), "there is no linear.bias among them"),
        (lambda weights: [weights.pop(key) for key in list(weights)[:3]], r"there is no .* \(and 2 more\) among them"),
        (lambda weights: weights.update(other=torch.zeros(3)), "the model has no other"),
        (
            lambda weights: weights.update({"linear.weight": torch.zeros(10, 63)}),
            r"linear.weight is \[10, 63\] there and \[10, 64\] in the model",
        ),
        (
            lambda weights: weights.update({"linear.weight": torch.zeros(12, 64), "linear.bias": torch.zeros(11)}),
            r"linear.bias is \[11\] there and \[10\] in the model",
        ),
        (
            lambda weights: weights.update({"linear.bias": torch.zeros(1, 10)}),
            r"linear.bias is \[1, 10\] there and \[10\] in the model",
        ),
    ],
)
def test_what_does_not_fit_is_told(change, message):
    """Tensors that are missing, too many, or of another shape than other classes explain."""
    weights = weights_of(network("resnet8"))
    change(weights)
    with pytest.raises(ModelError, match=message):
        fit(network("resnet8"), weights, classes=10, new_head=True)


def test_counters_of_batches_may_be_missing():
    """Old weights have none."""
    weights = {key: value for key, value in weights_of(network("resnet8")).items() if "num_batches" not in key}
    assert fit(network("resnet8"), weights, classes=10, new_head=False) == []


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_weights_of_torchvisions_resnets_fit_ours(name):
    """Under torchvision's names: the logits are the same."""
    theirs = get_model(name, weights=None, num_classes=10).eval()
    ours = network(name, image_size=64).eval()
    assert fit(ours, theirs.state_dict(), classes=10, new_head=False) == []
    with torch.no_grad():
        torch.testing.assert_close(ours(images(2, side=64)), theirs(images(2, side=64)), rtol=1e-4, atol=1e-4)


def test_weights_of_a_resnet_fit_below_an_attention_branch():
    """The branch keeps its first weights, as in the authors' code."""
    theirs, ours = get_model("resnet18", weights=None, num_classes=1000), network("abn-resnet18")
    branch = {key: value.clone() for key, value in ours.state_dict().items() if key.startswith("branch.")}
    assert fit(ours, theirs.state_dict(), classes=10, new_head=True) == [
        "the attention branch starts from random weights",
        "layers for 1000 classes start anew for 10",
    ]
    assert same(ours.lower.layer3, theirs.layer3.state_dict())
    assert same(ours.last, theirs.layer4.state_dict())
    assert all(torch.equal(ours.state_dict()[key], value) for key, value in branch.items())


@pytest.mark.parametrize("name", ["torchvision:shufflenet_v2_x0_5", "resnet8"])
def test_weights_for_colour_see_grey_images_as_colour_without_colour(name):
    """The first convolution's channels are added up: the same as showing the grey image three times."""
    colour, grey = network(name).eval(), network(name, channels=1).eval()
    assert fit(grey, colour.state_dict(), classes=10, new_head=False) == []
    batch = images(2, channels=1, side=32)
    with torch.no_grad():
        torch.testing.assert_close(grey(batch), colour(batch.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)


def test_weights_for_grey_images_do_not_fit_coloured_ones():
    """There is no way to tell what they make of colour."""
    with pytest.raises(ModelError, match=r"lower.0.conv.weight is \[16, 1, 3, 3\] there and \["):
        fit(network("resnet8"), network("resnet8", channels=1).state_dict(), classes=10, new_head=True)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_of_torchvision_are_left_out(name):
    """Its published weights have them, and the networks here do not."""
    ours = network(f"torchvision:{name}", image_size=80)
    heads = ("aux1", "aux2") if name == "googlenet" else ("AuxLogits",)
    weights = ours.state_dict() | {f"{head}.fc.weight": torch.zeros(10, 3) for head in heads}
    assert fit(ours, weights, classes=10, new_head=False) == []
