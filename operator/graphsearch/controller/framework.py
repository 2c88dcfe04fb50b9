"""Kopf, without the client library's synchronous part, which it takes along where it finds it (45 MiB)."""

from __future__ import annotations

import sys

_SYNCHRONOUS = "kubernetes.client"
# None in this place is the interpreter's word for a module that is not there.
_is_hidden = sys.modules.setdefault(_SYNCHRONOUS, None) is None  # type: ignore[arg-type]

import kopf  # noqa: E402
from kopf._cogs.structs.references import Insights  # noqa: E402  an argument of its public functions, without a public name

if _is_hidden:
    del sys.modules[_SYNCHRONOUS]

__all__ = ["Insights", "kopf"]
