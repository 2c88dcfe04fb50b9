"""Sizes and modes of image files: which are told of in the log, which are refused.

Images of many sizes and of both grey and colour make a good data set, and are converted; one line of the log counts
them, so that nobody is surprised. Refused is, in a user's own set, what can only be guessed: what lies behind
transparent pixels, colours for printing, the range of more than 8 bits, and the side that networks see where images
of several sizes leave it open.

Decided against: guessing like torchvision and warning. Nobody reads the log of a search that ends well.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from PIL import Image

from graphtrial.data.images import DataError

_EXACT = frozenset({"1", "L", "P", "RGB", "LA", "PA", "RGBA", "YCbCr"})
"""Modes that become RGB of 8 bits without a guess, where nothing is transparent."""
_SHOWN = 3
"""Sizes that are counted one by one."""

_Kind = TypeVar("_Kind")
_log = logging.getLogger(__name__)


class UnfitError(Exception):
    """An image that is whole and cannot be used; says why, and what would be right."""


def check_kind(image: Image.Image) -> None:
    """That an image becomes RGB of 8 bits without a guess; decodes it where it may be transparent.

    Raises:
        UnfitError: If it does not.
    """
    if image.mode not in _EXACT:
        message = f"its mode is {image.mode}, which becomes RGB only by a guess; store it as RGB with 8 bits a channel"
        raise UnfitError(message)
    if _is_deep(image):
        message = "it has more than 8 bits a channel, whose range nobody knows; store it as RGB with 8 bits a channel"
        raise UnfitError(message)
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] != 255:
        message = "it is transparent in places, and nobody knows what lies behind; store it without transparency"
        raise UnfitError(message)


def _is_deep(image: Image.Image) -> bool:
    """Whether Pillow, whose RGB has 8 bits, will drop some: what it tells its decoders knows what the file has."""
    for tile in getattr(image, "tile", ()):
        kind, *more = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        if ";16" in str(kind) or (tile.codec_name.startswith("ppm") and max(more, default=0) > np.iinfo(np.uint8).max):
            return True
    return False


class Kinds:
    """Counts the sizes and modes of a set, image by image."""

    def __init__(self, side: int, *, sized: bool) -> None:
        """Of no image yet.

        Args:
            side: Of the squares that images become, in pixels.
            sized: Whether that was asked for, so that images may be of any size.
        """
        self._side, self._sized = side, sized
        self._sizes: Counter[tuple[int, int]] = Counter()
        self._modes: Counter[str] = Counter()
        self._other = ""

    def add(self, where: str, mode: str, size: tuple[int, int]) -> None:
        """One more image.

        Args:
            where: As a message names it.
            mode: Pillow's.
            size: Width and height, in pixels.

        Raises:
            DataError: If it is of another size than those before it and no side was asked for.
        """
        if not self._sized and self._sizes and size not in self._sizes:
            (width, height), *_ = self._sizes
            message = (
                f"data.imageSize: images are of several sizes ({where} has {size[0]}x{size[1]} pixels, those before it "
                f"{width}x{height}), so say the side at which networks see them"
            )
            raise DataError(message)
        if not self._other and (mode, size) != ("RGB", (self._side, self._side)):
            self._other = f"{where} ({mode}, {size[0]}x{size[1]})"
        self._sizes[size] += 1
        self._modes[mode] += 1

    def log(self) -> None:
        """One line on what was converted; none where nothing was."""
        if self._other:
            _log.info(
                "%s images, of modes %s and sizes %s, become RGB of %dx%d pixels, their shorter side scaled and the "
                "middle kept; the first that changes is %s",
                f"{self._sizes.total():,}",
                _counted(self._modes, str),
                _counted(self._sizes, lambda size: f"{size[0]}x{size[1]}"),
                self._side,
                self._side,
                self._other,
            )


def _counted(counts: Counter[_Kind], name: Callable[[_Kind], str]) -> str:
    shown = [f"{name(kind)} ({count:,})" for kind, count in counts.most_common(_SHOWN)]
    rest = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {rest:,} more" if rest else "")
