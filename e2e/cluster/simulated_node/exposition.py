"""The text that Prometheus reads from a trainer, and the ports that answer with it.

One server answers for all pods; at which address it was asked tells for which one.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Self

from aiohttp import web
from prometheus_client.utils import floatToGoString

from e2e.cluster.simulated_node.faults import ForeignScore
from graphtrial.contract import TrialSpec, metric_names

_TRIES = 50


def exposition(
    spec: TrialSpec, rungs: Mapping[int, float], *, steps: int, evaluations: int, foreign: Iterable[ForeignScore]
) -> str:
    """What a trial shows.

    Args:
        spec: Whose.
        rungs: Scores by evaluation.
        steps: Updates done.
        evaluations: Evaluations done.
        foreign: Rungs of other trials.
    """
    whose = (spec.search_uid, spec.trial_uid, str(spec.attempt))
    scores = [(*whose, str(rung), _number(score)) for rung, score in rungs.items()]
    scores += [(f.search_uid, f.trial_uid, str(f.attempt), str(f.rung), _number(f.score)) for f in foreign]
    lines = [f"# TYPE {metric_names.RUNG_SCORE} gauge"]
    lines += [_sample(metric_names.RUNG_SCORE, metric_names.RUNG_LABELS, row) for row in scores]
    for name, value in ((metric_names.STEPS, steps), (metric_names.EVALUATIONS, evaluations)):
        lines += [f"# TYPE {name} counter", _sample(name, metric_names.TRIAL_LABELS, (*whose, str(value)))]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


def _sample(name: str, labels: tuple[str, ...], row: tuple[str, ...]) -> str:
    pairs = ",".join(f'{label}="{value}"' for label, value in zip(labels, row, strict=False))
    return f"{name}{{{pairs}}} {row[-1]}"


class Addresses:
    """The addresses of a node's pods, and what each shows."""

    def __init__(self, network: str) -> None:
        """Give out addresses of ``network``, such as ``127.77.0.0/16``; its first is the node's own."""
        self._network = ipaddress.ip_network(network)
        self.host = str(self._network[1])
        self._taken: set[str] = set()
        self._next = self._cycle()
        self._shown: dict[str, Callable[[], str]] = {}
        self._sites: dict[str, web.TCPSite] = {}

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_get("/metrics", self._answer)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def take(self) -> str:
        """An address that no other pod has; nothing answers there yet."""
        address = next(address for address in self._next if address not in self._taken)
        self._taken.add(address)
        return address

    async def open(self, port: int, show: Callable[[], str]) -> str:
        """Take an address at which ``/metrics`` shows that.

        Raises:
            OSError: If another program listens on this port at every address.
        """
        for _ in range(_TRIES):
            address = self.take()
            site = web.TCPSite(self._runner, address, port, reuse_address=True)
            try:
                await site.start()
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                # Another node's process may share the network; its addresses are passed over.
                continue
            self._sites[address], self._shown[address] = site, show
            return address
        raise OSError(errno.EADDRINUSE, f"port {port} is taken in {self._network}: end what listens on 0.0.0.0:{port}")

    async def close(self, address: str) -> None:
        """Nothing answers there any more."""
        self._shown.pop(address, None)
        if site := self._sites.pop(address, None):
            await site.stop()
        self._taken.discard(address)

    def _cycle(self) -> Iterator[str]:
        while True:
            for address in self._network.hosts():
                if str(address) != self.host:
                    yield str(address)

    async def _answer(self, request: web.Request) -> web.Response:
        transport = request.transport
        assert transport is not None
        show = self._shown.get(transport.get_extra_info("sockname")[0])
        if show is None:
            # A connection from before the pod's end: its process would have taken it along.
            with contextlib.suppress(AttributeError):
                transport.abort()
            raise web.HTTPServiceUnavailable
        return web.Response(text=show(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
