"""What needs a CUDA device: ``make gpu``, and not part of ``make test``."""

import os

import pytest
import torch

# Read by the first matrix product of the process; trials in deterministic mode ask for it.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def pytest_sessionstart() -> None:
    """One message instead of a failure of each test."""
    if not torch.cuda.is_available():
        pytest.exit("torch sees no CUDA device here", returncode=1)


@pytest.fixture(autouse=True)
def as_it_was():
    """Trials in this process set torch up for themselves."""
    yield
    torch.set_deterministic_debug_mode("default")
    torch.backends.cudnn.deterministic = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = True
