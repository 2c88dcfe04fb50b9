"""All recorded facts of one search as a few small byte strings, for a process that may not ask the API server.

A search's report is built by a pod without an API token; its facts reach it in ConfigMaps, none of which may grow
with the search. The parts are one gzip stream that was cut: ``cat facts-*.gz | gunzip`` shows the manifest, the
search's facts and one trial per line, each as JSON. It must not know what carries the parts.

Decided against: one part per trial (a thousand mounts), and a stream of its own in each part (an end that is missing
would go unseen).
"""

from __future__ import annotations

import gzip
import io
import itertools
import zlib
from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from graphsearch.api import GraphSearch, GraphTrial, SearchFacts
from graphtrial.contract import Model, problems

PARTS = "facts-*.gz"
"""Matches the names of all parts; they sort in the order in which the parts follow one another."""


class ArchiveError(ValueError):
    """The parts are incomplete, damaged, or hold what another version wrote."""


def part_name(number: int) -> str:
    """Of the part of this number, from 0: a ConfigMap's key and a file's name."""
    return f"facts-{number:03}.gz"


def pack(manifest: GraphSearch, facts: SearchFacts, trials: Iterable[GraphTrial], limit: int) -> list[bytes]:
    """The facts as parts of at most ``limit`` bytes; the same facts give the same bytes.

    One trial at a time is in memory, for there may be tens of thousands.
    """
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as stream:
        stream.write(_line(manifest))
        for each in itertools.chain((facts,), trials):
            stream.write(b"\n" + _line(each))
    whole = packed.getvalue()
    return [whole[start : start + limit] for start in range(0, len(whole), limit)]


def _line(each: Model) -> bytes:
    return each.model_dump_json(by_alias=True, exclude_defaults=True).encode()


def unpack(parts: Sequence[bytes]) -> tuple[GraphSearch, SearchFacts, list[GraphTrial]]:
    """The facts in all parts, in their order.

    Raises:
        ArchiveError: If a part is missing or damaged, or a line is no such object.
    """
    try:
        lines = gzip.decompress(b"".join(parts)).decode().split("\n")
    except (EOFError, OSError, zlib.error, UnicodeDecodeError) as error:
        raise ArchiveError(f"the {len(parts)} parts are not the whole of what was packed: {error}") from None
    if len(lines) < 2:
        raise ArchiveError("the parts are empty; give all parts, in the order of their names")
    try:
        return (
            GraphSearch.model_validate_json(lines[0]),
            SearchFacts.model_validate_json(lines[1]),
            [GraphTrial.model_validate_json(line) for line in lines[2:]],
        )
    except ValidationError as error:
        found = "; ".join(problems(error, error.title))
        raise ArchiveError(f"{found}; operator and trainer image must be of one version") from None
