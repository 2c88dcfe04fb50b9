"""An event loop whose time passes only when there is nothing left to do: hours of waiting take no time."""

from __future__ import annotations

import asyncio
import selectors


class _Selector(selectors.DefaultSelector):
    def __init__(self):
        super().__init__()
        self.now = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        assert ready or timeout is not None, "everybody waits, and nothing will ever happen"
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Its clock is the time that was slept."""

    def __init__(self):
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self):
        return self._virtual.now


def run(coroutine):
    """Run to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)


def now():
    """Seconds that have passed in the running loop."""
    return asyncio.get_running_loop().time()
