"""Weights that torchvision publishes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, hub

from graphtrial.contract import architecture
from graphtrial.models.errors import ModelError


def torchvision_weights(model: str, name: str) -> Mapping[str, Tensor]:
    """Weights of a model of torchvision, or of the ResNet in a model of ours, by torchvision's names.

    They are fetched once into torch's hub folder; a file that lies there already is used as it is.

    Raises:
        ModelError: If there are none of that name, or they cannot be fetched.
    """
    from torchvision.models import get_model_weights

    shape = architecture(model)
    theirs = f"resnet{shape.depth}" if shape else model.removeprefix("torchvision:")
    choices = get_model_weights(theirs)
    if name not in choices.__members__:
        raise ModelError(f"torchvision has no weights {name!r} of {theirs}; it has {', '.join(choices.__members__)}")
    chosen = choices[name]
    try:
        return chosen.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError) as error:
        file, folder = chosen.url.rpartition("/")[2], f"{hub.get_dir()}/checkpoints"
        message = f"{chosen.url} cannot be fetched ({error}); put {file} into {folder}, or name a copy in weights.uri"
        raise ModelError(message) from error
