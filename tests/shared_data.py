"""Real data that lies beside the repository, where it does."""

from __future__ import annotations

import tarfile
from pathlib import Path

from tests.skipping import skip_or_fail

_FOLDER = Path(__file__).parents[2] / "shared" / "data"


def some_images(folder: Path, *, train: int, test: int) -> Path:
    """Real images of CIFAR-10 as a folder with classes, below ``folder``.

    Args:
        folder: Where to put it.
        train: So many of each of the ten classes, 80 at most.
        test: Likewise, 20 at most.
    """
    with tarfile.open(shared_data("cifar10-subset.tar")) as members:
        for member in members:
            _, *place = Path(member.name).parts
            if member.isfile() and int(Path(member.name).stem) < (train if place[0] == "train" else test):
                members.extract(member, folder, filter="data")
    return folder / "cifar10-subset"


def shared_data(name: str) -> Path:
    """The file, or a skip that names it; where nothing may skip, a failure."""
    path = _FOLDER / name
    if not path.exists():
        skip_or_fail(f"needs {name} in ../shared/data")
    return path
