"""A whole installation: a cluster, S3, Prometheus, images and the chart; our own on this machine, or a given one.

Our own is chosen unless ``GRAPHSEARCH_E2E_OPERATOR_IMAGE`` is set; then the cluster is the one that ``KUBECONFIG``
names, nothing is started, and tests that need a hand on the machines are left out by name. This room starts things and
asserts nothing.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from e2e.cluster.binaries import binary
from e2e.cluster.commands import run
from e2e.cluster.control_plane import ControlPlane, running_control_plane
from e2e.cluster.images import project_image
from e2e.cluster.node import Node, kubelet_client, running_node
from e2e.cluster.object_store import BUCKET, KEYS, ObjectStore, running_object_store
from e2e.cluster.processes import ClusterError
from e2e.cluster.prometheus_server import PrometheusServer, running_prometheus, scrape_config
from e2e.cluster.registry import Registry, running_registry

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts/graphsearch"
SYSTEM = "graphsearch-system"
"""The namespace of the chart's release."""
RELEASE = "graphsearch"
_GIVEN = "GRAPHSEARCH_E2E_"
_PATIENCE_SECONDS = 600
"""With kubectl and Helm; what they wait for themselves takes less."""


@dataclass(frozen=True)
class Machines:
    """What only our own cluster lets the tests do: kill containers, stop servers, bring further images."""

    plane: ControlPlane
    node: Node
    store: ObjectStore
    prometheus: PrometheusServer
    registry: Registry


@dataclass(frozen=True)
class Cluster:
    """A cluster on which the chart can be installed, and what searches on it need.

    Attributes:
        kubeconfig: With an administrator's rights.
        images: By target of the Dockerfile.
        endpoint: Of the S3 server, as pods and this machine reach it; empty: Amazon's.
        bucket: Which is there.
        keys: Of S3, as environment variables.
        prometheus_url: As the operator's pod reaches it; empty: scores are read from the pods.
        machines: None on a given cluster.
    """

    kubeconfig: Path
    images: Mapping[str, str]
    endpoint: str
    bucket: str
    keys: Mapping[str, str]
    prometheus_url: str
    machines: Machines | None = None

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True) -> str:
        """Run kubectl; what it printed."""
        cache = f"--cache-dir={self.kubeconfig.parent / 'kubectl'}"
        command = [binary("kubectl"), f"--kubeconfig={self.kubeconfig}", cache, *arguments]
        return run(command, input=input, check=check, seconds=_PATIENCE_SECONDS)

    def helm(self, *arguments: object) -> str:
        """Run Helm; what it printed."""
        return run([binary("helm"), f"--kubeconfig={self.kubeconfig}", *arguments], seconds=_PATIENCE_SECONDS)

    def graphsearch(self, *arguments: str) -> str:
        """Run the program as a user of the cluster would."""
        environment = {"KUBECONFIG": str(self.kubeconfig), **self.keys}
        return run([sys.executable, "-m", "graphsearch.cli", *arguments], environment=environment)

    def s3_client(self) -> Any:
        """boto3 itself, to look at what lies in the bucket."""
        keys = {name.lower(): value for name, value in self.keys.items()}
        return boto3.client("s3", endpoint_url=self.endpoint or None, region_name="us-east-1", **keys)

    def install(self, *flags: str) -> None:
        """Install or upgrade the chart, and wait until the operator is ready."""
        values = [f"--set={name}={value}" for name, value in self._values().items()]
        place = ("--namespace", SYSTEM, "--wait", "--timeout=5m")
        self.helm("upgrade", "--install", RELEASE, CHART, *place, *values, *flags)

    def operator_pods(self) -> dict[str, dict[str, Any]]:
        """Of the release, by uid."""
        selector = f"--selector=app.kubernetes.io/instance={RELEASE}"
        found = json.loads(self.kubectl("get", "pods", "-n", SYSTEM, selector, "-o", "json"))["items"]
        return {pod["metadata"]["uid"]: pod for pod in found}

    def _values(self) -> dict[str, object]:
        images = {"image": self.images["operator"], "trainer.image": self.images["trainer"]}
        named = {}
        for field, reference in images.items():
            named[f"{field}.repository"], _, named[f"{field}.tag"] = reference.rpartition(":")
        return {**named, "prometheus.url": self.prometheus_url, "prometheus.scrapeInterval": 1}

    def make_namespace(self, name: str) -> None:
        """One that enforces restricted pod security and has the keys of S3 in the Secret ``s3``."""
        self.kubectl("create", "namespace", name)
        self.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        literals = [f"--from-literal={key}={value}" for key, value in self.keys.items()]
        self.kubectl("create", "secret", "generic", "s3", "-n", name, *literals)


def is_given() -> bool:
    """Whether a cluster is given."""
    return f"{_GIVEN}OPERATOR_IMAGE" in os.environ


def given_cluster() -> Cluster:
    """The cluster that KUBECONFIG names, with images that its nodes can pull.

    Raises:
        ClusterError: If a variable is missing.
    """
    needed = ("KUBECONFIG", f"{_GIVEN}TRAINER_IMAGE", f"{_GIVEN}S3_BUCKET", *KEYS)
    if missing := [name for name in needed if not os.environ.get(name)]:
        raise ClusterError(f"a cluster is given by {_GIVEN}OPERATOR_IMAGE; set {', '.join(missing)} as well")
    return Cluster(
        kubeconfig=Path(os.environ["KUBECONFIG"]),
        images={target: os.environ[f"{_GIVEN}{target.upper()}_IMAGE"] for target in ("operator", "trainer")},
        endpoint=os.environ.get(f"{_GIVEN}S3_ENDPOINT", ""),
        bucket=os.environ[f"{_GIVEN}S3_BUCKET"],
        keys={name: os.environ[name] for name in KEYS},
        prometheus_url=os.environ.get(f"{_GIVEN}PROMETHEUS_URL", ""),
    )


@contextmanager
def own_cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster on this machine, gone without a trace at the end; images alone stay, in the cache.

    Args:
        folder: Empty; keeps data and logs.

    Raises:
        ClusterError: If a part cannot be had or does not start.
    """
    address = _own_address()
    places = {part: folder / part for part in ("control-plane", "store", "prometheus")}
    for place in places.values():
        place.mkdir()
    with ExitStack() as at_end:
        enter = at_end.enter_context
        with _timed("images"):
            registry = enter(running_registry())
            images = {target: project_image(registry, ROOT, target) for target in ("operator", "trainer")}
        with _timed("control plane"):
            certificate, flags = kubelet_client(folder)
            flags_of = {"kube-apiserver": flags}
            plane = enter(running_control_plane(places["control-plane"], address=address, flags=flags_of))
        with _timed("node"):
            node = enter(running_node(folder / "node", plane, registry, client_certificate=certificate, gpus=2))
        with _timed("images on the node"):
            for image in images.values():
                node.pull(image)
        with _timed("S3 and Prometheus"):
            store = enter(running_object_store(places["store"], address=address))
            config = scrape_config(plane.kubeconfig, interval="1s")
            prometheus = enter(running_prometheus(places["prometheus"], config, address=address))
        machines = Machines(plane, node, store, prometheus, registry)
        cluster = Cluster(plane.kubeconfig, images, store.url, BUCKET, KEYS, prometheus.url, machines)
        cluster.s3_client().create_bucket(Bucket=BUCKET)
        yield cluster


def _own_address() -> str:
    """At which this machine reaches others, and pods reach it; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 1))
        except OSError:
            raise ClusterError("this machine has no route to other machines, so pods would not reach it") from None
        return str(probe.getsockname()[0])


@contextmanager
def _timed(what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
