"""The built-in networks, by the names of the catalogue.

A network is a function from images to logits; this room must not know what it learns from or from whom. Sizes and
costs are stated, without torch, by ``graphtrial.contract.model_size``.

Decided against: torchvision's ResNets, whose stem is made for 224 pixels, and hooks for attention maps before a loss
reads them.
"""

from graphtrial.models.build import UnknownModel, build
from graphtrial.models.output import Observed, Output, observe

__all__ = ["Observed", "Output", "UnknownModel", "build", "observe"]
