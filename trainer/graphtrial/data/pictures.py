"""Image files of any size and mode, decoded to squares of one size.

The shorter side is scaled to the size asked for, with antialiasing, and the middle is kept (spec 7.2). What lies
beyond the middle square is never seen: squares of one size are one array, which devices index without a table of
sizes, and no training crop shows what no evaluation could.

Colours are those that torchvision's loader gives: a palette is looked up, grey is repeated, transparency is dropped;
of 16 bits the upper 8 are kept. EXIF rotation is not applied, as in the published results.
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

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
_DEEP = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_AHEAD = 4
"""Images per thread that wait while one is written."""


def decoded(files: Files, places: Mapping[str, int], side: int) -> Iterator[tuple[int, np.ndarray]]:
    """The named images with their places, on as many threads as torch has.

    Args:
        files: Where they lie.
        places: The place of each name.
        side: Of the square, in pixels.

    Yields:
        Place and uint8 [side, side, 3].

    Raises:
        DataError: If one is damaged or no image.
    """
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[str, Future[np.ndarray]]] = deque()
        for name, source in files.each(places):
            waiting.append((name, pool.submit(_fitted_file, source, side)))
            if len(waiting) > _AHEAD * threads:
                yield _next(waiting, files, places)
        while waiting:
            yield _next(waiting, files, places)


def _next(
    waiting: deque[tuple[str, Future[np.ndarray]]], files: Files, places: Mapping[str, int]
) -> tuple[int, np.ndarray]:
    name, future = waiting.popleft()
    try:
        return places[name], future.result()
    except Exception as error:  # a damaged image raises nearly anything
        for _, other in waiting:
            other.cancel()
        reason = "Pillow knows no such format" if isinstance(error, UnidentifiedImageError) else error
        message = f"{files.where(name)} is damaged or no image ({reason}); replace or remove it"
        raise DataError(message) from error


def _fitted_file(source: Path | IO[bytes], side: int) -> np.ndarray:
    with Image.open(source) as image:
        # A JPEG can be decoded at half, a quarter or an eighth of its size, never below twice what is needed.
        image.draft(None, (2 * side, 2 * side))
        return fitted(image, side)


def fitted(image: Image.Image, side: int) -> np.ndarray:
    """uint8 [side, side, 3].

    Raises:
        ValueError: If its pixels have no known range.
    """
    return np.asarray(ImageOps.fit(_rgb(image), (side, side), Image.Resampling.BILINEAR))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP:
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in {"I", "F"}:
        message = f"its pixels, of mode {image.mode}, have no known range: store it with 8 or 16 bits"
        raise ValueError(message)
    # Pillow warns where a palette has degrees of transparency and is asked for RGB at once.
    return (image.convert("RGBA") if "transparency" in image.info else image).convert("RGB")
