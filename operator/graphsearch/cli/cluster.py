"""The way to the user's cluster: connection, namespace, and what the API server says as an exit code.

Everything here works with the user's own rights. It must not know what is done with the answers. The client library
is imported when a command first needs it: a laptop without the operator extra has all local commands.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from graphsearch.cli.exits import CommandError, Exit
from graphsearch.cli.folders import not_here

if TYPE_CHECKING:
    from graphsearch.api.wire import Object
    from graphsearch.cluster.client import ApiError, Client, Kind

_T = TypeVar("_T")

_PATIENCE_SECONDS = 120.0
_AGAIN_SECONDS = 2.0


@dataclass(frozen=True)
class Session:
    """A connection, and the namespace that is meant."""

    client: Client
    namespace: str
    not_here: str = ""
    """How a message begins that nothing was found, if a folder was looked for first."""

    async def get(self, kind: Kind, name: str) -> Object:
        """An object by name.

        Raises:
            CommandError: If there is none, or the cluster does not know the kind.
        """
        from graphsearch.cluster.client import NotFoundError

        try:
            return await self.client.get(kind, self.namespace, name)
        except NotFoundError as error:
            message = _unknown(error) or f"no {kind.kind} {name} in namespace {self.namespace}"
            raise CommandError(Exit.NOT_FOUND, self.not_here + message) from None


def on_cluster(options: argparse.Namespace, action: Callable[[Session], Awaitable[_T]]) -> _T:
    """Connect as the options say, and do something there.

    Args:
        options: With ``kubeconfig``, ``context`` and ``namespace``, each None where it was not given.
        action: What is to be done.

    Raises:
        CommandError: If there is no cluster, or it refuses.
    """

    async def connected() -> _T:
        from graphsearch.cluster.client import Client

        async with Client.connect(options.kubeconfig, options.context) as client:
            return await action(Session(client, options.namespace or client.namespace, not_here(options)))

    with _cluster_errors(not_here(options)):
        return asyncio.run(connected())


async def patiently(look: Callable[[], Awaitable[_T]]) -> _T:
    """Look, again and again if need be: an API server that is away for a moment ends nobody's waiting.

    Raises:
        UnavailableError: If it has not answered for two minutes.
    """
    from graphsearch.cluster.client import UnavailableError

    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return await look()
        except UnavailableError as error:
            if time.monotonic() >= deadline:
                raise
            print(f"the cluster does not answer: {error}; trying again", file=sys.stderr, flush=True)
            await asyncio.sleep(_AGAIN_SECONDS)


@contextmanager
def _cluster_errors(before: str) -> Iterator[None]:
    from graphsearch.cluster.client import ApiError, ClusterConfigError, ForbiddenError, NotFoundError, UnavailableError

    try:
        yield
    except ClusterConfigError as error:
        raise CommandError(Exit.UNREACHABLE, f"{before}{error}; --kubeconfig and --context name a cluster") from None
    except UnavailableError as error:
        message = f"the cluster does not answer: {error}; check --kubeconfig, --context and the network"
        raise CommandError(Exit.UNREACHABLE, message) from None
    except ForbiddenError as error:
        raise CommandError(Exit.FORBIDDEN, f"the cluster does not let you do that: {_said(error)}") from None
    except NotFoundError as error:
        raise CommandError(Exit.NOT_FOUND, _unknown(error) or _said(error)) from None
    except ApiError as error:
        raise CommandError(Exit.REFUSED, f"the API server refuses: {_said(error)}") from None


def _said(error: ApiError) -> str:
    """The API server's own words, without the request that they answer."""
    return str(error).partition(f"{error.reason}: ")[2] or str(error)


def _unknown(error: ApiError) -> str:
    """What to say if the kind itself is unknown, which is no answer about any object."""
    if "could not find the requested resource" in str(error) or "page not found" in str(error):
        return "the cluster knows no GraphSearch; install graphsearch there first"
    return ""
