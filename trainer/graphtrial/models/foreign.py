"""Networks of other origins: torchvision's and timm's classifiers by name, and the user's own by import path.

Each is built with random weights for the data's classes, channels and, where it asks for one, image size, and run once
on blank images, so that one that cannot take them is refused before anything is trained; one that is to be trained
once more as a copy, in training mode. torchvision's and timm's give logits only; the user's own module is ``Observed``
if it offers ``lower`` and ``upper``.
"""

from __future__ import annotations

import copy
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from graphtrial.models.errors import ModelError
from graphtrial.models.output import Output, is_observed
from graphtrial.models.sharing import blank_images

_WITH_AUXILIARY_LOGITS = ("googlenet", "inception_v3")


def foreign(name: str, *, classes: int, channels: int, image_size: int) -> nn.Module:
    """The network of a name that is not built in, checked to give logits [B, classes].

    Raises:
        ModelError: If it is not there, cannot be made, or gives something else.
    """
    origin, _, rest = name.partition(":")
    make = {"torchvision": _torchvision, "timm": _timm}.get(origin)
    try:
        if make is not None:
            network = make(rest, classes, channels, image_size)
        else:
            network = _own(name, classes, channels, image_size)
    except ModelError:
        raise
    except Exception as error:  # whatever a constructor of someone else's raises
        raise ModelError(f"{name} cannot be made for {image_size} pixels: {_told(error)}") from error
    _check(name, network, classes, channels, image_size)
    return network


def _torchvision(name: str, classes: int, channels: int, image_size: int) -> nn.Module:
    import torchvision.models

    if name not in (known := torchvision.models.list_models(module=torchvision.models)):
        raise ModelError(f"torchvision has no classifier {name!r}; it has {', '.join(known)}")
    settings: dict[str, Any] = {"weights": None, "num_classes": classes}
    if name in _WITH_AUXILIARY_LOGITS:
        settings |= {"aux_logits": False, "init_weights": True}
    if name.startswith("vit_"):
        settings["image_size"] = image_size
    if name.startswith("maxvit_"):
        settings["input_size"] = (image_size, image_size)
    network: nn.Module = torchvision.models.get_model(name, **settings)
    if channels != 3:
        _replace_first_convolution(network, channels)
    return network


def _replace_first_convolution(network: nn.Module, channels: int) -> None:
    """Put one of the same form for other channels in the place of the convolution that reads the images."""
    name, first = next((name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d))
    parent, _, attribute = name.rpartition(".")
    replacement = nn.Conv2d(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        stride=first.stride,  # type: ignore[arg-type]
        padding=first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    setattr(network.get_submodule(parent), attribute, replacement)


def _timm(name: str, classes: int, channels: int, image_size: int) -> nn.Module:
    try:
        timm = importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise ModelError(
            f"timm:{name} needs timm, which is not installed here; pip install graphsearch[timm]"
        ) from error
    if not timm.is_model(name):
        raise ModelError(f"timm has no model {name!r}; timm.list_models() names them")
    settings: dict[str, Any] = {"pretrained": False, "num_classes": classes, "in_chans": channels}
    description = timm.models.get_pretrained_cfg(name)
    if description is not None and description.fixed_input_size:
        settings["img_size"] = image_size
    network: nn.Module = timm.create_model(name, **settings)
    return network


def _own(name: str, classes: int, channels: int, image_size: int) -> nn.Module:
    make = _imported(name)
    settings = {"classes": classes, "channels": channels}
    if _accepts(make, "image_size"):
        settings["image_size"] = image_size
    network = make(**settings)
    if not isinstance(network, nn.Module):
        raise ModelError(f"{name} gives a {type(network).__name__}; it should give a torch.nn.Module")
    return network


def _imported(name: str) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module of the user's own may raise anything while it is imported
        raise ModelError(f"{name} cannot be imported: {_told(error)}") from error
    make: Callable[..., Any] | None = getattr(module, attribute, None)
    if not callable(make):
        raise ModelError(f"{name}: the module {module_name} has no class or function {attribute}")
    return make


def _accepts(make: Callable[..., Any], parameter: str) -> bool:
    parameters = inspect.signature(make).parameters
    return parameter in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def check_training(name: str, network: nn.Module, *, classes: int, channels: int, image_size: int) -> None:
    """That a network gives logits [B, classes] in training mode too, where some give their auxiliary ones as well.

    A copy is run, so that BatchNorm's statistics and whatever else changes with a pass stay as they are.

    Raises:
        ModelError: If it gives something else, or cannot be copied.
    """
    try:
        trained = copy.deepcopy(network).train()
    except Exception as error:  # whatever a module of someone else's holds
        raise ModelError(f"{name} cannot be copied: {_told(error)}") from error
    _check_answer(f"{name} in training mode", trained, classes, channels, image_size)


def _check(name: str, network: nn.Module, classes: int, channels: int, image_size: int) -> None:
    was_training = network.training
    _check_answer(name, network.eval(), classes, channels, image_size)
    network.train(was_training)


def _check_answer(name: str, network: nn.Module, classes: int, channels: int, image_size: int) -> None:
    images = blank_images(network, 2, channels, image_size)
    try:
        with torch.no_grad():
            logits = network(images)
            output = network.upper(network.lower(images)) if is_observed(network) else Output(logits)
    except Exception as error:  # whatever a layer raises that the images do not suit
        message = f"{name} cannot take images of {channels} channels and {image_size} pixels: {_told(error)}"
        raise ModelError(message) from error
    if _shape(logits) != [2, classes]:
        raise ModelError(f"{name} gives {_shape(logits)} for two images; it should give logits [2, {classes}]")
    _check_output(name, output, logits)


def _check_output(name: str, output: object, logits: Tensor) -> None:
    if not isinstance(output, Output):
        raise ModelError(f"{name}: upper gives a {type(output).__name__}; it should give a graphtrial.models.Output")
    for what, tensor in (("logits", output.logits), ("branch", output.branch)):
        if tensor is not None and _shape(tensor) != _shape(logits):
            raise ModelError(f"{name}: upper gives {what} {_shape(tensor)}; they should be {_shape(logits)}")
    if output.map is not None and (output.map.dim() != 3 or output.map.shape[1] != output.map.shape[2]):
        raise ModelError(f"{name}: upper gives a map {_shape(output.map)} for two images; it should be [2, S, S]")


def _shape(given: object) -> list[int] | str:
    return list(given.shape) if isinstance(given, Tensor) else type(given).__name__


def _told(error: Exception) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
