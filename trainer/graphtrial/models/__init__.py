"""The networks, by the names of the catalogue and of other origins.

A network is a function from images to logits; this room must not know what it learns from or from whom. Sizes and
costs of the built-in ones are stated, without torch, by ``graphtrial.contract.model_size``.

Decided against: hooks for attention maps before a loss reads them, and layers of our own where torchvision has them.
"""

from graphtrial.models.build import build
from graphtrial.models.errors import ModelError
from graphtrial.models.fitting import fit, weights_of
from graphtrial.models.foreign import check_training
from graphtrial.models.output import Observed, Output, is_observed, observe
from graphtrial.models.pretrained import torchvision_weights
from graphtrial.models.sharing import map_side, share_trunk

__all__ = [
    "ModelError",
    "Observed",
    "Output",
    "build",
    "check_training",
    "fit",
    "is_observed",
    "map_side",
    "observe",
    "share_trunk",
    "torchvision_weights",
    "weights_of",
]
