"""Image files of any size and mode, decoded to squares of one size.

The shorter side is scaled to the size asked for, with antialiasing, and the middle is kept (spec 7.2). What lies
beyond the middle square is never seen: squares of one size are one array, which devices index without a table of
sizes, and no training crop shows what no evaluation could.

Colours are those that torchvision's loader gives: a palette is looked up, grey is repeated, transparency is dropped;
of 16 bits the upper 8 are kept. EXIF rotation is not applied, as in the published results. What of this is a guess is
refused in a user's own set (``kinds``) and done in the published ones, whose few such images the published results
have read like that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from graphtrial.data.files import Files
from graphtrial.data.images import DataError
from graphtrial.data.kinds import Kinds, UnfitError, check_kind

_DEEP = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_AHEAD = 4
"""Images per thread that wait while one is written."""


def decoded(
    files: Files, places: Mapping[str, int], side: int, *, own: bool = False, sized: bool = True
) -> Iterator[tuple[int, np.ndarray]]:
    """The named images with their places, on as many threads as torch has.

    Args:
        files: Where they lie.
        places: The place of each name.
        side: Of the square, in pixels.
        own: Whether the set is a user's own, in which nothing is guessed.
        sized: Whether ``side`` is what a user asked for or the set's own, and no default.

    Yields:
        Place and uint8 [side, side, 3].

    Raises:
        DataError: If one is damaged or no image; of a user's own set, if one cannot be read without a guess, or not
            all are of one size where none was asked for.
    """
    threads, kinds = torch.get_num_threads(), Kinds(side, sized=sized)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[str, Future[_Decoded]]] = deque()

        def first() -> tuple[int, np.ndarray]:
            name, future = waiting.popleft()
            try:
                pixels, mode, size = _result(files, name, future)
                kinds.add(files.where(name), mode, size)
            except DataError:
                for _, other in waiting:
                    other.cancel()
                raise
            return places[name], pixels

        for name, source in files.each(places):
            waiting.append((name, pool.submit(_fitted_file, source, side, own)))
            if len(waiting) > _AHEAD * threads:
                yield first()
        while waiting:
            yield first()
    kinds.log()


def _result(files: Files, name: str, future: Future[_Decoded]) -> _Decoded:
    try:
        return future.result()
    except UnfitError as error:
        message = f"{files.where(name)} cannot be used: {error}"
        raise DataError(message) from error
    except Exception as error:  # a damaged image raises nearly anything
        reason = "Pillow knows no such format" if isinstance(error, UnidentifiedImageError) else error
        message = f"{files.where(name)} is damaged or no image ({reason}); replace or remove it"
        raise DataError(message) from error


_Decoded = tuple[np.ndarray, str, tuple[int, int]]
"""Pixels, and the mode and size that the file has."""


def _fitted_file(source: Path | IO[bytes], side: int, own: bool) -> _Decoded:
    with Image.open(source) as image:
        mode, size = image.mode, image.size
        if own:
            check_kind(image)
        # A JPEG can be decoded at half, a quarter or an eighth of its size, never below twice what is needed.
        image.draft(None, (2 * side, 2 * side))
        return fitted(image, side), mode, size


def fitted(image: Image.Image, side: int) -> np.ndarray:
    """uint8 [side, side, 3].

    Raises:
        UnfitError: If its pixels have no known range.
    """
    return np.asarray(ImageOps.fit(_rgb(image), (side, side), Image.Resampling.BILINEAR))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP:
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in {"I", "F"}:
        message = f"its pixels, of mode {image.mode}, have no known range; store it with 8 bits a channel"
        raise UnfitError(message)
    # Pillow warns where a palette has degrees of transparency and is asked for RGB at once.
    return (image.convert("RGBA") if "transparency" in image.info else image).convert("RGB")
