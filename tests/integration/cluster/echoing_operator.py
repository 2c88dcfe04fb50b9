"""The operator's process with worlds that only tell what reaches them, one line of JSON each, on standard output.

``python -m tests.integration.cluster.echoing_operator [flags of graphsearch operator]``. A search's annotation
``turn`` says what its turns do: ``fail``, ``hang``, or ``write`` (its own label, again and again).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from contextlib import asynccontextmanager

from graphsearch.api import names as n
from graphsearch.cli.exits import CommandError
from graphsearch.cli.operator import ended_well
from graphsearch.cluster.client import SEARCHES
from graphsearch.controller.process import run
from graphsearch.controller.settings import add_flags, read


def say(**what):
    """One line."""
    print(json.dumps({"at": time.monotonic(), **what}), flush=True)


class Echo:
    """Every search is a key."""

    def __init__(self, client, namespace):
        self._client, self._namespace = client, namespace
        self._searches = {}
        self.left_out = {}

    @property
    def keys(self):
        return list(self._searches)

    async def let_in(self):
        return []

    async def fill(self):
        found, _ = await self._client.list(SEARCHES, self._namespace)
        self._searches = {obj["metadata"]["uid"]: obj for obj in found}
        say(filled=sorted(obj["metadata"]["name"] for obj in found))

    def seen(self, kind, event, obj):
        metadata = obj["metadata"]
        say(seen=kind, event=event, name=metadata["name"], namespace=metadata["namespace"])
        if kind != "GraphSearch":
            return metadata.get("labels", {}).get(n.SEARCH_UID_LABEL)
        if event == "DELETED":
            self._searches.pop(metadata["uid"], None)
        else:
            self._searches[metadata["uid"]] = obj
        return metadata["uid"]

    async def turn(self, key):
        if key not in self._searches:
            return None
        metadata = self._searches[key]["metadata"]
        name, does = metadata["name"], metadata.get("annotations", {}).get("turn")
        say(turn=name)
        match does:
            case "fail":
                raise KeyError(name)
            case "hang":
                await asyncio.sleep(2)
            case "write":
                patch = {"metadata": {"labels": {"written": str(time.monotonic_ns())}}}
                await self._client.patch(SEARCHES, metadata["namespace"], name, patch)
        say(turned=name)
        return 0.3 if does == "write" else None


@asynccontextmanager
async def build(client, telemetry, announcer):
    """Worlds of the one namespace that is watched."""
    yield Echo(client, SETTINGS.namespaces[0] if SETTINGS.namespaces else None)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    parser = argparse.ArgumentParser()
    add_flags(parser)
    SETTINGS = read(vars(parser.parse_args()), {})
    try:
        ended_well(run(SETTINGS, build))
    except CommandError as error:
        sys.exit(f"graphsearch: {error}")
