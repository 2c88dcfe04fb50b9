"""Reads rung scores from the pods themselves, as Prometheus would: where it is not there or does not answer.

No answer means unknown, never bad. It must not know which pods are to be read, nor what a score is worth.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from graphsearch.cluster.pods import LivePod
from graphsearch.cluster.prometheus import Series
from graphtrial.contract import metric_names

_POD_SECONDS = 1.0
_ALL_SECONDS = 2.0
"""After which pods that have not answered are left out."""
_AT_A_TIME = 64
_LONGEST_ANSWER = 1 << 20
"""Bytes; a trainer exposes a few kilobytes, and whatever else answers is not read to its end."""
_WANTED = frozenset({metric_names.RUNG_SCORE, metric_names.EVALUATIONS})


def open_session() -> aiohttp.ClientSession:
    """For reading pods; to be closed by whoever opened it."""
    timeout = aiohttp.ClientTimeout(total=_POD_SECONDS)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_AT_A_TIME), timeout=timeout)


async def read_pods(session: aiohttp.ClientSession, namespace: str, pods: Iterable[LivePod]) -> list[Series]:
    """What pods expose now, labelled as Prometheus would label it; those that do not answer in time are left out."""
    found: list[Series] = []

    async def read(pod: LivePod) -> None:
        try:
            text = await read_pod(session, pod.address)
            found.extend(parse(text, {"namespace": namespace, "pod": pod.name, "instance": pod.address}))
        except (aiohttp.ClientError, OSError, ValueError):
            return

    reading = [asyncio.create_task(read(pod)) for pod in pods]
    if not reading:
        return []
    try:
        _, late = await asyncio.wait(reading, timeout=_ALL_SECONDS)
    except asyncio.CancelledError:
        late = set(reading)
        raise
    finally:
        for task in late:
            task.cancel()
    return found


async def read_pod(session: aiohttp.ClientSession, address: str) -> str:
    """The exposition of one pod.

    Raises:
        aiohttp.ClientError: If it does not answer, or not with an exposition.
        OSError: Likewise; TimeoutError is one.
        ValueError: If it is too long, or no text.
    """
    async with session.get(f"http://{address}/metrics", allow_redirects=False, raise_for_status=True) as answer:
        body = bytearray()
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > _LONGEST_ANSWER:
                raise ValueError(f"{address} answers with more than {_LONGEST_ANSWER} bytes")
        return body.decode()


def parse(text: str, target: dict[str, str]) -> list[Series]:
    """The series of an exposition that the operator reads, with the labels of the target, which win.

    Raises:
        ValueError: If it is no exposition.
    """
    return [
        Series({**sample.labels, **target, "__name__": sample.name}, (sample.value,))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name in _WANTED
    ]
