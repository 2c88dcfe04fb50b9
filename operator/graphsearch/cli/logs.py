"""``graphsearch logs``: what the trainers of a search say, each line with its attempt in front, or as JSON.

Pods are read as long as they are there; of trials that are over the last lines lie with their results in the bucket.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from graphsearch.api import names as n
from graphsearch.api.wire import Object, search_from_object
from graphsearch.cli.cluster import Session, on_cluster, patiently
from graphsearch.cli.exits import Exit
from graphsearch.cli.search import facts_of, root_uri

_LOOK_SECONDS = 2.0
_OF_ITS_NODE = frozenset({500, 502, 504})
"""The API server's answers where the kubelet gives it none; one that is away itself says 429, 503 or nothing."""


def run(options: argparse.Namespace) -> Exit:
    """Print the logs of a search's pods, or of one trial's."""
    on_cluster(options, lambda session: _logs(session, options))
    return Exit.OK


async def _logs(session: Session, options: argparse.Namespace) -> None:
    from graphsearch.cluster.client import PODS, SEARCHES

    obj = await session.get(SEARCHES, options.search)
    selector = f"{n.SEARCH_UID_LABEL}={obj['metadata']['uid']}"
    if options.trial is not None:
        selector += f",{n.TRIAL_LABEL}={options.search}-t{options.trial}"
    readers: dict[str, asyncio.Task[None]] = {}
    ended_too = options.trial is not None
    while True:
        pods, _ = await patiently(lambda: session.client.list(PODS, session.namespace, labels=selector))
        for pod in sorted(pods, key=_label):
            if pod["metadata"]["uid"] not in readers and is_wanted(pod, ended=ended_too):
                reader = asyncio.create_task(
                    print_log(session, pod, follow=options.follow, as_json=options.output == "json")
                )
                readers[pod["metadata"]["uid"]] = reader
                if not options.follow:
                    await reader
        if not options.follow or facts_of(obj).ended_at is not None:
            break
        ended_too = True  # a pod may come and go between two looks
        await asyncio.sleep(_LOOK_SECONDS)
        for reader in readers.values():
            if reader.done():
                reader.result()
        obj = await patiently(lambda: session.get(SEARCHES, options.search))
    await asyncio.gather(*readers.values())
    if not readers:
        print(_where_else(obj, options.trial), file=sys.stderr)


def is_wanted(pod: Object, *, ended: bool) -> bool:
    """Whether a pod has something to say: it runs, or it ran and such are wanted as well."""
    phase = pod.get("status", {}).get("phase")
    return phase == "Running" or (ended and phase in ("Succeeded", "Failed"))


async def print_log(session: Session, pod: Object, *, follow: bool, as_json: bool) -> None:
    """Print what a pod says, each line once, also where the API server goes away meanwhile.

    Raises:
        ApiError: If the log cannot be read.
    """
    from graphsearch.cluster.client import NotFoundError, UnavailableError

    name, label = pod["metadata"]["name"], _label(pod)
    labels = pod["metadata"]["labels"]
    whose = {"trial": labels[n.TRIAL_LABEL], "attempt": int(labels[n.ATTEMPT_LABEL]), "pod": name}
    printed = 0

    async def rest() -> None:
        """What was not printed before the API server went away: a log is read from its beginning."""
        nonlocal printed
        number = 0
        async for line in session.client.logs(session.namespace, name, container=n.CONTAINER, follow=follow):
            number += 1
            if number > printed:
                print(json.dumps(whose | {"line": line}) if as_json else f"{label} | {line}", flush=True)
                printed = number

    async def rest_or_why() -> str:
        """Why there is nothing to be had of this pod; an API server that is away is waited for."""
        try:
            await rest()
        except NotFoundError:
            return "its pod is gone"
        except UnavailableError as error:
            if error.status not in _OF_ITS_NODE:
                raise
            return f"its node does not let it be read: {error}"
        return ""

    if why := await patiently(rest_or_why):
        print(f"{label} | ({why})", file=sys.stderr)


def _label(pod: Object) -> str:
    labels = pod["metadata"]["labels"]
    return f"{labels[n.TRIAL_LABEL]}-a{labels[n.ATTEMPT_LABEL]}"


def _where_else(obj: Object, trial: int | None) -> str:
    whose = obj["metadata"]["name"] if trial is None else f"{obj['metadata']['name']}-t{trial}"
    root = root_uri(search_from_object(obj), facts_of(obj))
    lie = f"lie below {root}/trials/{'INDEX' if trial is None else trial}/reports/" if root else "are stored nowhere"
    return f"{whose} has no pod to be read; the last lines of each attempt that is over {lie}"
