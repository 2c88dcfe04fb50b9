"""A real Prometheus, and how it finds pods: by annotations, as the chart's documentation recommends."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from e2e.cluster.binaries import binary
from e2e.cluster.processes import LOOPBACK, Server, free_ports

_ANNOTATION = "__meta_kubernetes_pod_annotation_prometheus_io_"


class PrometheusServer:
    """A running Prometheus.

    Attributes:
        url: Of its HTTP API, without ``/api/v1``.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], flags: Sequence[str], address: str) -> None:
        """Lay out folder and port; nothing runs yet."""
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(dict(config)))
        [port] = free_ports(1)
        self.url = f"http://{address}:{port}"
        own = [
            *(f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"),
            *(f"--web.listen-address={address}:{port}", "--web.enable-lifecycle"),
            # A pod is a target at once instead of within five seconds.
            "--scrape.discovery-reload-interval=500ms",
        ]
        self._server = Server("prometheus", [binary("prometheus"), *own, *flags], folder)

    @property
    def pid(self) -> int | None:
        """Of the process, while it runs."""
        return self._server.pid

    def start(self) -> None:
        """Start it with the samples it has, and wait until it is ready.

        Raises:
            ClusterError: With the log's tail, if it is not.
        """
        self._server.start()
        self._server.wait_until_ready(self._ready)

    def stop(self) -> None:
        """End it as a crash would; its samples stay."""
        self._server.kill()

    def _ready(self) -> bool:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=1)
        try:
            connection.request("GET", "/-/ready")
            return connection.getresponse().status == http.HTTPStatus.OK
        finally:
            connection.close()


@contextmanager
def running_prometheus(
    folder: Path, config: Mapping[str, Any], *, flags: Sequence[str] = (), address: str = LOOPBACK
) -> Iterator[PrometheusServer]:
    """A Prometheus that is ready, and gone at the end.

    Args:
        folder: Empty; keeps configuration, samples and log.
        config: Its configuration file, such as from ``scrape_config``.
        flags: Further flags.
        address: At which it listens; the machine's own where pods are to reach it.

    Raises:
        ClusterError: If the program cannot be had or does not start.
    """
    server = PrometheusServer(folder, config, flags, address)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def scrape_config(
    kubeconfig: Path, *, namespaces: Sequence[str] = (), interval: str = "1s", job: str = "pods"
) -> dict[str, Any]:
    """A configuration that scrapes every running pod annotated ``prometheus.io/scrape: "true"``.

    The address is the pod's with the port of ``prometheus.io/port``, the path that of ``prometheus.io/path`` or
    ``/metrics``. Samples get the labels ``namespace``, ``pod`` and ``instance`` (the address), which win over labels of
    these names that a pod exposes.

    Args:
        kubeconfig: Whose pods, and with whose rights they are listed.
        namespaces: Which ones; none: all.
        interval: From scrape to scrape.
        job: The label ``job``.
    """
    discovery: dict[str, Any] = {"role": "pod", "kubeconfig_file": str(kubeconfig)}
    if namespaces:
        discovery["namespaces"] = {"names": list(namespaces)}
    relabelling = [
        {"source_labels": [f"{_ANNOTATION}scrape"], "regex": "true", "action": "keep"},
        # A pod that has ended keeps its address in its status while another may already have it.
        {"source_labels": ["__meta_kubernetes_pod_phase"], "regex": "Succeeded|Failed", "action": "drop"},
        {"source_labels": [f"{_ANNOTATION}path"], "regex": "(.+)", "target_label": "__metrics_path__"},
        {
            "source_labels": ["__meta_kubernetes_pod_ip", f"{_ANNOTATION}port"],
            "separator": ";",
            "regex": r"(\d+\.\d+\.\d+\.\d+);(\d+)",
            "replacement": "$1:$2",
            "target_label": "__address__",
        },
        {
            "source_labels": ["__meta_kubernetes_pod_ip", f"{_ANNOTATION}port"],
            "separator": ";",
            "regex": r"(.*:.*);(\d+)",
            "replacement": "[$1]:$2",
            "target_label": "__address__",
        },
        {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
        {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
    ]
    scrape = {
        "job_name": job,
        "honor_labels": False,
        "kubernetes_sd_configs": [discovery],
        "relabel_configs": relabelling,
    }
    return {"global": {"scrape_interval": interval, "scrape_timeout": interval}, "scrape_configs": [scrape]}
