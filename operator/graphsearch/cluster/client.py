"""The API server as the operator and the commands speak with it: raw JSON objects over one session.

It must not know what the objects mean, nor retry. Decided against: typed models (a LIST of 200 Jobs costs 79 ms of
CPU instead of 13), and informers or watches of our own (Kopf watches).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp

from graphsearch.api import names as n
from graphsearch.api.wire import Object
from graphsearch.cluster.connection import REQUEST_SECONDS, ClusterConfigError, Connection
from graphsearch.cluster.errors import (
    ApiError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    NotFoundError,
    UnavailableError,
    error_of,
    no_answer,
)

__all__ = [
    "CONFIG_MAPS",
    "EVENTS",
    "JOBS",
    "LEASES",
    "NAMESPACES",
    "PODS",
    "SEARCHES",
    "TRIALS",
    "ApiError",
    "Client",
    "ClusterConfigError",
    "ConflictError",
    "ForbiddenError",
    "GoneError",
    "InvalidError",
    "Kind",
    "NotFoundError",
    "Observer",
    "UnavailableError",
    "kind_of",
]

Objects = list[Object]


@dataclass(frozen=True)
class Kind:
    """A kind of objects, as the API server's paths name it."""

    group_version: str
    plural: str
    kind: str
    is_namespaced: bool = True

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """Of one object, or of all in a namespace, or of all."""
        root = "/apis/" if "/" in self.group_version else "/api/"
        scope = f"/namespaces/{_quoted(namespace)}" if namespace and self.is_namespaced else ""
        tail = "".join(f"/{_quoted(part)}" for part in (name, subresource) if part)
        return f"{root}{self.group_version}{scope}/{self.plural}{tail}"


SEARCHES = Kind(f"{n.GROUP}/{n.VERSION}", n.SEARCHES, "GraphSearch")
TRIALS = Kind(f"{n.GROUP}/{n.VERSION}", n.TRIALS, "GraphTrial")
JOBS = Kind("batch/v1", "jobs", "Job")
PODS = Kind("v1", "pods", "Pod")
CONFIG_MAPS = Kind("v1", "configmaps", "ConfigMap")
EVENTS = Kind("v1", "events", "Event")
LEASES = Kind("coordination.k8s.io/v1", "leases", "Lease")
NAMESPACES = Kind("v1", "namespaces", "Namespace", is_namespaced=False)

_KINDS = {
    (kind.group_version, kind.kind): kind
    for kind in (SEARCHES, TRIALS, JOBS, PODS, CONFIG_MAPS, EVENTS, LEASES, NAMESPACES)
}


Observer = Callable[[str, str, int], None]
"""Called after each request with its verb, the kind's plural and the HTTP status, 0 where there was no answer."""


class Client:
    """Reads and writes objects. ``async with Client.connect() as client``; one for the life of the process."""

    def __init__(
        self,
        connection: Connection,
        *,
        guard: Callable[[], None] | None = None,
        observer: Observer | None = None,
    ) -> None:
        """Speak over a connection.

        Args:
            connection: May be shared.
            guard: Called before each write, so that it can refuse by raising.
            observer: Told of each request.
        """
        self._connection = connection
        self._guard = guard
        self._observer = observer

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, kubeconfig: str | None = None, context: str | None = None, *, observer: Observer | None = None
    ) -> AsyncIterator[Client]:
        """Open the one session.

        Args:
            kubeconfig: A file; without it $KUBECONFIG, then the pod's service account, then ~/.kube/config.
            context: Of the kubeconfig; without it the current one.
            observer: Told of each request.

        Raises:
            ClusterConfigError: If there is no way to a cluster.
        """
        connection = await Connection.open(kubeconfig, context)
        try:
            yield cls(connection, observer=observer)
        finally:
            await connection.close()

    def guarded(self, guard: Callable[[], None]) -> Client:
        """The same, with a guard that is called before each write and may refuse it by raising."""
        return Client(self._connection, guard=guard, observer=self._observer)

    @property
    def connection(self) -> Connection:
        """What it speaks over."""
        return self._connection

    @property
    def namespace(self) -> str:
        """Of the kubeconfig's context or the pod; ``default`` where neither names one."""
        return self._connection.namespace

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object:
        """One object.

        Raises:
            ApiError: As graphsearch.cluster.errors says.
        """
        return await self._request("GET", kind, kind.path(namespace, name))

    async def list(
        self,
        kind: Kind,
        namespace: str | None,
        *,
        labels: str = "",
        fields: str = "",
        limit: int = 500,
        keep: Callable[[Object], Object] = lambda obj: obj,
    ) -> tuple[Objects, str]:
        """All objects that match, and the resourceVersion of the last page.

        Args:
            kind: Of the objects.
            namespace: None: all.
            labels: A label selector.
            fields: A field selector.
            limit: Of objects per request.
            keep: What to keep of each object.

        Raises:
            ApiError: As graphsearch.cluster.errors says.
        """
        found: Objects = []
        version = ""
        async for page, seen in self._pages(kind, namespace, labels, fields, limit):
            found += map(keep, page)
            version = seen
        return found, version

    async def pages(
        self, kind: Kind, namespace: str | None, *, labels: str = "", fields: str = "", limit: int = 500
    ) -> AsyncIterator[Objects]:
        """The same, page by page, so that no more than one is in memory.

        Raises:
            ApiError: As graphsearch.cluster.errors says.
        """
        async for page, _ in self._pages(kind, namespace, labels, fields, limit):
            yield page

    async def apply(self, obj: Object) -> Object:
        """Server-side apply under the operator's name, by force: for children, never for recorded facts.

        Raises:
            ApiError: As graphsearch.cluster.errors says.
        """
        kind, metadata = kind_of(obj), obj["metadata"]
        path = kind.path(metadata.get("namespace"), metadata["name"])
        query = {"fieldManager": n.FIELD_OWNER, "force": "true", "fieldValidation": "Strict"}
        return await self._request("PATCH", kind, path, query, obj, "application/apply-patch+yaml")

    async def create(self, obj: Object) -> Object:
        """Make an object that must not be there yet.

        Raises:
            ConflictError: If one of that name is there.
            ApiError: As graphsearch.cluster.errors says.
        """
        kind = kind_of(obj)
        query = {"fieldManager": n.FIELD_OWNER, "fieldValidation": "Strict"}
        return await self._request("POST", kind, kind.path(obj["metadata"].get("namespace")), query, obj)

    async def patch(
        self, kind: Kind, namespace: str | None, name: str, patch: Object, *, subresource: str = ""
    ) -> Object:
        """Merge patch; with ``metadata.resourceVersion`` in it only onto that version.

        Raises:
            ConflictError: If the object has another resourceVersion.
            ApiError: As graphsearch.cluster.errors says.
        """
        query = {"fieldManager": n.FIELD_OWNER, "fieldValidation": "Strict"}
        path = kind.path(namespace, name, subresource)
        return await self._request("PATCH", kind, path, query, patch, "application/merge-patch+json")

    async def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        uid: str = "",
        propagation: str = "Background",
        grace_seconds: int | None = None,
    ) -> None:
        """Have an object go; one that is gone, or has been replaced by another of its name, is success.

        Args:
            kind: Of the object.
            namespace: Of the object.
            name: Of the object.
            uid: If given, only the object of this uid.
            propagation: Background, Foreground or Orphan.
            grace_seconds: Of a pod, instead of its own.

        Raises:
            ApiError: As graphsearch.cluster.errors says.
        """
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        with suppress(NotFoundError):
            try:
                await self._request("DELETE", kind, kind.path(namespace, name), body=options)
            except ConflictError:
                there = await self.get(kind, namespace, name)
                if not uid or there["metadata"]["uid"] == uid:
                    raise

    async def logs(
        self, namespace: str, pod: str, *, container: str = n.CONTAINER, follow: bool = False, tail: int | None = None
    ) -> AsyncIterator[str]:
        """The lines of a container's log.

        Args:
            namespace: Of the pod.
            pod: Its name.
            container: Of the pod.
            follow: Wait for more until the container ends.
            tail: Only that many last lines to begin with.

        Raises:
            ApiError: As graphsearch.cluster.errors says.
        """
        query = {"container": container, "follow": str(follow).lower()}
        if tail is not None:
            query["tailLines"] = str(tail)
        timeout = aiohttp.ClientTimeout(sock_connect=REQUEST_SECONDS, sock_read=None if follow else REQUEST_SECONDS)
        path = PODS.path(namespace, pod, "log")
        with no_answer(f"GET {path}"):
            response = await self._connection.send("GET", path, query, timeout=timeout)
            async with response:
                if response.status >= 300:
                    raise error_of(response.status, await response.read(), f"GET {path}")
                rest = b""
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield line.decode(errors="replace")
                if rest:
                    yield rest.decode(errors="replace")

    async def _pages(
        self, kind: Kind, namespace: str | None, labels: str, fields: str, limit: int
    ) -> AsyncIterator[tuple[Objects, str]]:
        query = {"limit": str(limit)}
        query |= {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
        while True:
            page = await self._request("GET", kind, kind.path(namespace), query)
            items = page.get("items") or []
            for item in items:
                # Lists of built-in kinds leave out what every item is.
                item.setdefault("apiVersion", kind.group_version)
                item.setdefault("kind", kind.kind)
            yield items, page["metadata"].get("resourceVersion", "")
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return

    async def _request(
        self,
        verb: str,
        kind: Kind,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        if verb != "GET" and self._guard is not None:
            self._guard()
        status = 0
        try:
            with no_answer(f"{verb} {path}"):
                response = await self._connection.send(verb, path, query, body, content_type)
                async with response:
                    status, said = response.status, await response.read()
        finally:
            if self._observer is not None:
                self._observer(verb, kind.plural, status)
        if status >= 300:
            raise error_of(status, said, f"{verb} {path}")
        try:
            answer = json.loads(said)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or "kind" not in answer:
            raise UnavailableError(status, "NoAnswer", f"{verb} {path}: what came is no object: {said[:80]!r}")
        return answer


def _quoted(part: str) -> str:
    # A user may name anything, and a path ends at a question mark.
    return quote(part, safe="")


def kind_of(obj: Object) -> Kind:
    """Of an object that is to be written.

    Raises:
        ValueError: If it is of a kind that nobody here writes.
    """
    try:
        return _KINDS[obj["apiVersion"], obj["kind"]]
    except KeyError:
        raise ValueError(f"cannot write {obj.get('apiVersion')} {obj.get('kind')}: not a known kind") from None
