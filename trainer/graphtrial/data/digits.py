"""scikit-learn's handwritten digits: 1,797 images of 8x8 pixels that come with the package.

The set has no official split, so one is fixed here once and for all: no seed of a trial or search reaches it.

The package's file is read without importing the package, which takes longer than a trial may take to start.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from graphtrial.contract import DATASETS, derive
from graphtrial.data.images import DataError, Part
from graphtrial.data.splitting import stratified

_BRIGHTEST = 16


def read_digits(*, train: bool) -> Part:
    """The 797 training or the 1,000 test images."""
    table = _table()
    labels = table[:, -1].astype(np.int64)
    count = DATASETS["digits"].test_images
    assert count is not None
    test_indices, train_indices = stratified(torch.from_numpy(labels), count, derive(0, "digits", "test"))
    indices = (train_indices if train else test_indices).numpy()
    pixels = np.round(table[indices, :-1] * (255 / _BRIGHTEST)).astype(np.uint8)
    return Part(pixels.reshape(-1, 8, 8, 1), labels[indices], classes=10)


def _table() -> np.ndarray:
    """float64 [1797, 65]: the pixels of each image row by row, 0 to 16, then its label."""
    package = find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        message = "data.dataset: digits comes with scikit-learn, which is not installed; install scikit-learn"
        raise DataError(message)
    path = Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    try:
        return np.loadtxt(path, delimiter=",")
    except (OSError, EOFError, ValueError) as error:
        message = f"{path} is missing or damaged ({error}); reinstall scikit-learn"
        raise DataError(message) from error
