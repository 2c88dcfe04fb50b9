"""How a process ended, in words."""

from __future__ import annotations

import pytest

from graphtrial.contract import ended_by


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (1, "exit code 1"),
        (128, "exit code 128"),
        (137, "SIGKILL (exit code 137)"),
        (139, "SIGSEGV (exit code 139)"),
        (255, "exit code 255"),
        (-6, "SIGABRT"),
        (-200, "exit code -200"),
    ],
)
def test_a_signal_is_named_however_it_is_reported(code, said):
    """Negative by a parent process, 128 + n by a shell and a container."""
    assert ended_by(code) == said
