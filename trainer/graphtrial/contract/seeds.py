"""One way to derive random streams: a draw is a function of (seed, stream, counters) and of nothing else."""

from __future__ import annotations

import hashlib


def derive(seed: int, *stream: str | int) -> int:
    """A 63-bit seed for the named stream, such as ``derive(0, "order", epoch)``.

    Equal on every platform and Python version; streams with different names are independent. The parts of a name
    are told apart by their text and must not contain a slash.
    """
    text = "/".join([str(seed), *(str(part) for part in stream)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
