"""Networks of torchvision, timm and the user: which are had, what they are checked for, how wrong ones are told."""

from __future__ import annotations

import itertools
import socket
import sys

import pytest
import torch
from tests.unit.models.networks import images, network

from graphtrial.models import ModelError, Output, build, check_training, is_observed, observe

NUMBERS = itertools.count()


@pytest.fixture
def importable(tmp_path, monkeypatch):
    """A function that writes a module of the user's own and gives its name, another one each time."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(source):
        name = f"mylab{next(NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(f"import torch\nfrom torch import nn\n{source}")
        return name

    return write


SMALL = """
class Small(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.linear = nn.Linear(channels, classes)

    def forward(self, images):
        return self.linear(self.norm(images).mean((2, 3)))
"""


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("mobilenet_v3_small", 32),
        ("shufflenet_v2_x0_5", 32),
        ("squeezenet1_1", 32),
        ("regnet_y_400mf", 32),
        ("googlenet", 32),
        ("inception_v3", 80),
    ],
)
def test_torchvisions_classifiers_give_logits(name, side):
    """With a head for the data's classes, in training mode too, also where torchvision's have auxiliary outputs."""
    model = network(f"torchvision:{name}", classes=7, image_size=side)
    assert model.training
    output = observe(model, images(2, side=side))
    assert (output.logits.shape, output.branch, output.map) == ((2, 7), None, None)


@pytest.mark.parametrize("name", ["torchvision:vit_b_32", "torchvision:maxvit_t"])
def test_transformers_are_made_for_the_images_that_there_are(name):
    """Their size is part of the architecture; on the meta device, where only shapes are computed."""
    with torch.device("meta"):
        model = build(name, classes=7, channels=3, image_size=224)
        assert model(torch.empty(1, 3, 224, 224)).shape == (1, 7)


@pytest.mark.parametrize("name", ["torchvision:mobilenet_v3_small", "torchvision:resnet18", "resnet18", "abn-resnet18"])
def test_grey_images_have_a_first_convolution_of_their_own(name):
    """One channel in, and as many out as for three."""
    grey, colour = network(name, channels=1), network(name)
    first, other = (
        next(each for each in model.modules() if isinstance(each, torch.nn.Conv2d)) for model in (grey, colour)
    )
    assert first.weight.shape == (other.weight.shape[0], 1, *other.weight.shape[2:])
    assert (first.stride, first.padding, first.bias) == (other.stride, other.padding, other.bias)
    assert grey(images(2, channels=1, side=32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnet17", r"torchvision has no classifier 'resnet17'; it has alexnet, .*, wide_resnet50_2"),
        ("torchvision:fcn_resnet50", "torchvision has no classifier 'fcn_resnet50'"),
        ("torchvision:alexnet", "torchvision:alexnet cannot take images of 3 channels and 32 pixels: RuntimeError"),
        ("torchvision:maxvit_t", "torchvision:maxvit_t cannot be made for 32 pixels: ValueError"),
        ("mylab.nowhere:Net", "mylab.nowhere:Net cannot be imported: ModuleNotFoundError: No module named 'mylab'"),
        ("json:Net", "json:Net: the module json has no class or function Net"),
        ("json:__name__", "json:__name__: the module json has no class or function __name__"),
        ("json:dumps", "json:dumps cannot be made for 32 pixels: TypeError"),
        ("tests.unit.models.networks:images", "networks:images cannot be made for 32 pixels: TypeError"),
    ],
)
def test_what_cannot_be_had_is_told(name, message):
    """The message names the model and what is wrong with it."""
    with pytest.raises(ModelError, match=message):
        build(name, classes=10, channels=3, image_size=32)


def test_a_model_of_the_users_own_is_built_by_import_path(importable):
    """It is given classes and channels, and draws its weights from torch's generator."""
    name = f"{importable(SMALL)}:Small"
    one, same = (network(name, classes=7, channels=1) for _ in range(2))
    assert torch.equal(one.linear.weight, same.linear.weight)
    assert not is_observed(one)
    assert one.training
    assert torch.equal(one.norm.running_mean, torch.zeros(1))
    assert one(images(3, channels=1)).shape == (3, 7)


@pytest.mark.parametrize("signature", ["classes, channels, image_size", "**settings"])
def test_a_function_that_asks_for_the_image_size_is_told_it(importable, signature):
    """By name, or among whatever there is."""
    size = "settings['image_size']" if "**" in signature else "image_size"
    source = f"def make({signature}):\n    return nn.Sequential(nn.Flatten(), nn.Linear(3 * {size} ** 2, 10))\n"
    assert network(f"{importable(source)}:make")(images(2, side=32)).shape == (2, 10)


def test_a_function_of_the_users_own_gives_a_module(importable):
    """Not what it likes."""
    name = importable("def make(classes, channels):\n    return {}\n")
    with pytest.raises(ModelError, match=f"{name}:make gives a dict; it should give a torch.nn.Module"):
        network(f"{name}:make")


HOLDING = """
    import threading
    made = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, classes))
    made.lock = threading.Lock()
    return made
"""
OBSERVED = """
from graphtrial.models import Output

class Mine(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.lower = nn.Conv2d(channels, 4, 3, padding=1)
        self.linear = nn.Linear(4, classes)

    def upper(self, features):
        logits = self.linear(features.mean((2, 3)))
        return {output}

    def forward(self, images):
        return self.upper(self.lower(images))[0]
"""


def test_a_model_of_the_users_own_may_have_a_map(importable):
    """By offering lower and upper."""
    name = importable(OBSERVED.format(output="Output(logits, map=features.square().mean(1))"))
    output = observe(network(f"{name}:Mine"), images(2))
    assert (output.logits.shape, output.map.shape) == ((2, 10), (2, 16, 16))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("(logits, None)", "upper gives a tuple; it should give a graphtrial.models.Output"),
        ("Output(logits, logits[:, :3])", r"upper gives branch \[2, 3\]; they should be \[2, 10\]"),
        (
            "Output(logits, map=features)",
            r"upper gives a map \[2, 4, 32, 32\] for two images; it should be",
        ),
        ("Output(logits[:, :3])", r"gives \[2, 3\] for two images; it should give logits \[2, 10\]"),
        ("[{}]", "gives dict for two images; it should give logits"),
        ("1 / 0", "cannot take images of 3 channels and 32 pixels: ZeroDivisionError: division by zero"),
    ],
)
def test_what_a_model_of_the_users_own_gives_is_checked(importable, output, message):
    """Before anything is trained."""
    name = importable(OBSERVED.replace("{output}", output))
    with pytest.raises(ModelError, match=f"^{name}:Mine:? {message}"):
        network(f"{name}:Mine")


TRAINED = """
class Mine(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.norm, self.drop, self.seen = nn.BatchNorm2d(channels), nn.Dropout(), 0
        self.linear = nn.Linear(channels, classes)

    def forward(self, images):
        self.seen += self.training
        logits = self.linear(self.drop(self.norm(images).mean((2, 3))))
        return {output} if self.training else logits
"""


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("(logits, logits)", r"gives tuple for two images; it should give logits \[2, 10\]"),
        ("logits[:, :3]", r"gives \[2, 3\] for two images; it should give logits \[2, 10\]"),
        ("logits[5]", "cannot take images of 3 channels and 32 pixels: IndexError"),
    ],
)
def test_what_a_model_gives_in_training_mode_is_checked(importable, output, message):
    """It may be something else than in evaluation mode."""
    name = f"{importable(TRAINED.replace('{output}', output))}:Mine"
    with pytest.raises(ModelError, match=f"^{name} in training mode {message}"):
        check_training(name, network(name), classes=10, channels=3, image_size=32)


def test_a_check_in_training_mode_changes_nothing(importable):
    """Neither statistics nor what else a pass leaves in a module."""
    name = f"{importable(TRAINED.replace('{output}', 'logits'))}:Mine"
    model = network(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    check_training(name, model, classes=10, channels=3, image_size=32)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert (model.seen, model.training) == (0, True)


def test_a_model_that_cannot_be_copied_is_told(importable):
    """One that holds something of the system's."""
    name = f"{importable('def make(classes, channels):' + HOLDING)}:make"
    with pytest.raises(ModelError, match=f"^{name} cannot be copied: TypeError"):
        check_training(name, network(name), classes=10, channels=3, image_size=32)


def test_the_output_of_the_rooms_own_networks_is_the_type_that_users_import():
    """The docs name graphtrial.models.Output."""
    assert isinstance(observe(network("resnet8"), images(1)), Output)


def test_timm_is_asked_for_where_it_is_not_installed(monkeypatch):
    """The message names the extra."""
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match=r"timm:vit needs timm, .*pip install graphsearch\[timm\]"):
        network("timm:vit")


@pytest.fixture
def offline(monkeypatch):
    """Whoever asks for a host fails."""

    def resolve(host, *_, **__):
        raise AssertionError(f"{host} is asked for")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["test_resnet", "vit_tiny_patch16_224", "test_convnext", "mobilenetv3_small_050"])
def test_timms_classifiers_give_logits(offline, name, channels):
    """With a head for the data's classes and random weights, of which none are fetched; the size where it is fixed."""
    model = network(f"timm:{name}", classes=7, channels=channels)
    assert model.training
    output = observe(model, images(3, channels=channels, side=32))
    assert (output.logits.shape, output.branch, output.map) == ((3, 7), None, None)
    output.logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    same = network(f"timm:{name}", classes=7, channels=channels)
    assert all(map(torch.equal, model.parameters(), same.parameters()))


def test_timm_says_which_models_it_has():
    """A name of torchvision's or a misspelt one is none of timm's."""
    with pytest.raises(ModelError, match=r"timm has no model 'resnet9'; timm.list_models\(\) names them"):
        network("timm:resnet9")
