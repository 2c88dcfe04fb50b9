"""A Kubernetes control plane on this machine: etcd, API server, controller manager and scheduler, without root.

It has no node; ``simulated_node`` plays one. Users are known by token: ``admin``, who may do everything, the two
components, and those that ``users`` adds. On loopback only this machine reaches it; give the machine's own address
where pods shall.
"""

from __future__ import annotations

import base64
import http.client
import json
import secrets
import ssl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from e2e.cluster.binaries import binary
from e2e.cluster.processes import LOOPBACK, ClusterError, Server, free_ports

SERVICE_NETWORK = "10.0.0.0/24"
QUICK_NODE_LOSS = {"kube-controller-manager": ("--node-monitor-grace-period=8s", "--node-monitor-period=1s")}
"""Flags with which a silent node is unready after seconds instead of most of a minute."""

_USERS: Mapping[str, Sequence[str]] = {
    "admin": ("system:masters",),
    "system:kube-controller-manager": (),
    "system:kube-scheduler": (),
}


class ControlPlane:
    """A running control plane.

    Attributes:
        url: Of the API server.
        etcd_url: Of etcd's client API.
        kubeconfig: The admin's.
        folder: Where data, keys and logs lie.
        flags: Flags beyond the harness's own, by component: to print beside a benchmark.
        servers: The processes, by component, in the order of their start.
    """

    def __init__(
        self, folder: Path, *, address: str, users: Mapping[str, Sequence[str]], flags: Mapping[str, Sequence[str]]
    ) -> None:
        """Lay out folder, ports, tokens and commands; nothing runs yet."""
        self.folder, self.flags = folder, flags
        self._address = address
        self._ports = dict(zip(("etcd", "peers", "api", "controllers", "scheduler"), free_ports(5), strict=True))
        self.url = f"https://{address}:{self._ports['api']}"
        self.etcd_url = f"http://{LOOPBACK}:{self._ports['etcd']}"
        self._tokens = {user: secrets.token_hex(16) for user in (*_USERS, *users)}
        self._write_secrets({**_USERS, **users})
        self.kubeconfig = folder / "admin.kubeconfig"
        self._scheduler_may_lag = False
        self.servers = {
            name: Server(name, [binary(name), *own, *flags.get(name, ())], folder)
            for name, own in {
                "etcd": self._etcd_flags(),
                "kube-apiserver": self._api_server_flags(),
                "kube-controller-manager": self._controller_manager_flags(),
                "kube-scheduler": self._scheduler_flags(),
            }.items()
        }

    def start(self) -> None:
        """Start all components and wait until each says that it is ready.

        Raises:
            ClusterError: With the log's tail, if one is not.
        """
        self.servers["etcd"].start()
        self.start_api_server()
        for user in self._tokens:
            self.kubeconfig_for(user)
        clients = {"kube-controller-manager": "controllers", "kube-scheduler": "scheduler"}
        for name in clients:
            self.servers[name].start()
        for name, port in clients.items():
            url = f"https://{LOOPBACK}:{self._ports[port]}"
            self.servers[name].wait_until_ready(partial(_answers, url, "/healthz"))

    def stop(self) -> None:
        """End all components."""
        for server in reversed(self.servers.values()):
            server.kill()

    def stop_api_server(self) -> None:
        """End it as a crash would; etcd keeps what it held."""
        # A graceful end holds the port for a minute and more.
        self.servers["kube-apiserver"].kill()

    def start_api_server(self) -> None:
        """Start it where it was, and wait until it is ready."""
        server = self.servers["kube-apiserver"]
        server.start()
        server.wait_until_ready(lambda: _answers(self.url, "/readyz", self._tokens["admin"]))
        self._scheduler_may_lag = True

    def restart_api_server(self) -> None:
        """Both, one after the other."""
        self.stop_api_server()
        self.start_api_server()

    def wait_for_scheduler(self) -> None:
        """Wait until the scheduler has heard of every node that is there or gone by now.

        After a restart of the API server it tries again with growing pauses, and binds pods to nodes of long ago.
        What it hears of nodes comes in order: once it knows a new one, it knows all that happened before.
        """
        if not self._scheduler_may_lag:
            return
        name = f"last-of-all-{secrets.token_hex(4)}"
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {name: ""}}}
        container = {"name": "none", "image": "none"}
        spec = {"nodeSelector": {name: ""}, "tolerations": [{"operator": "Exists"}], "containers": [container]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        self.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=60s")
        self.kubectl("create", "-f", "-", input=json.dumps(node))
        self.kubectl(
            *("patch", "node", name, "--subresource=status", "--type=merge"),
            *("-p", json.dumps({"status": {"allocatable": {"pods": "1"}, "capacity": {"pods": "1"}}})),
        )
        self.kubectl("create", "-f", "-", input=json.dumps(pod))
        self.kubectl("wait", f"pod/{name}", "--for=condition=PodScheduled", "--timeout=120s")
        self.kubectl("delete", "pod", name, "--force", "--grace-period=0")
        self.kubectl("delete", "node", name)
        self._scheduler_may_lag = False

    def kubectl(
        self, *arguments: str, input: str | None = None, check: bool = True, kubeconfig: Path | None = None
    ) -> str:
        """Run kubectl, as admin unless another kubeconfig is given; what it printed.

        Args:
            arguments: Such as ``"apply", "-f", "-"``.
            input: What it reads.
            check: Whether a failure is an error of the harness; if not, what it complained of comes back as well.
            kubeconfig: Whose rights it has.

        Raises:
            ClusterError: With its complaint, if ``check`` and it fails.
        """
        # Its cache of what a server offers is by address, and another run's server may have had this one.
        general = [f"--kubeconfig={kubeconfig or self.kubeconfig}", f"--cache-dir={self.folder / 'kubectl'}"]
        command = [str(binary("kubectl")), *general, *arguments]
        told = subprocess.run(command, input=input, capture_output=True, text=True, check=False)  # noqa: S603
        if told.returncode and check:
            raise ClusterError(f"kubectl {' '.join(arguments)}: {told.stderr.strip()}")
        return told.stdout + told.stderr if told.returncode else told.stdout

    def kubeconfig_for(self, user: str, *, namespace: str = "default") -> Path:
        """A kubeconfig for a user of the token file, or for a service account.

        Args:
            user: A user's name, or ``system:serviceaccount:<namespace>:<name>``, which gets a token of 24 hours.
            namespace: The one that applies where none is named.
        """
        token = self._tokens.get(user) or self._service_account_token(user)
        path = self.folder / f"{user.replace(':', '-')}.kubeconfig"
        authority = base64.b64encode((self.folder / "pki/apiserver.crt").read_bytes()).decode()
        content: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": {"server": self.url, "certificate-authority-data": authority}}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": user, "namespace": namespace}}],
            "current-context": "it",
        }
        path.write_text(yaml.safe_dump(content))
        return path

    def _service_account_token(self, user: str) -> str:
        kind, _, rest = user.partition("serviceaccount:")
        namespace, _, name = rest.partition(":")
        if kind != "system:" or not name:
            known = ", ".join(self._tokens)
            raise ClusterError(f"user {user!r}: name one of {known}, or system:serviceaccount:<namespace>:<name>")
        return self.kubectl("create", "token", name, "-n", namespace, "--duration=24h").strip()

    def _write_secrets(self, users: Mapping[str, Sequence[str]]) -> None:
        lines = [f'{token},{user},{user},"{",".join(users[user])}"' for user, token in self._tokens.items()]
        (self.folder / "tokens.csv").write_text("\n".join(lines) + "\n")
        (self.folder / "tokens.csv").chmod(0o600)
        command = ["openssl", "genrsa", "-out", str(self.folder / "service-accounts.key"), "2048"]
        told = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if told.returncode:
            raise ClusterError(f"openssl made no key: {told.stderr}")

    def _etcd_flags(self) -> list[str]:
        here, peers = (f"http://{LOOPBACK}:{self._ports[port]}" for port in ("etcd", "peers"))
        return [
            *("--name=it", f"--data-dir={self.folder / 'etcd'}", "--log-level=warn", "--unsafe-no-fsync"),
            *(f"--listen-client-urls={here}", f"--advertise-client-urls={here}"),
            *(f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}", f"--initial-cluster=it={peers}"),
            # Benchmarks write more than the default 2 GiB between two compactions.
            f"--quota-backend-bytes={8 << 30}",
        ]

    def _api_server_flags(self) -> list[str]:
        bound = self._address if self._address == LOOPBACK else "0.0.0.0"  # noqa: S104  pods are to reach it
        key = self.folder / "service-accounts.key"
        return [
            *(f"--bind-address={bound}", f"--advertise-address={self._address}"),
            *(f"--secure-port={self._ports['api']}", f"--cert-dir={self.folder / 'pki'}"),
            *(
                f"--etcd-servers=http://{LOOPBACK}:{self._ports['etcd']}",
                f"--service-cluster-ip-range={SERVICE_NETWORK}",
            ),
            *(f"--token-auth-file={self.folder / 'tokens.csv'}", "--authorization-mode=Node,RBAC"),
            *(f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}"),
            *("--service-account-issuer=https://kubernetes.default.svc", "--allow-privileged=true"),
        ]

    def _controller_manager_flags(self) -> list[str]:
        return [
            *self._client_flags("kube-controller-manager", "controllers"),
            f"--service-account-private-key-file={self.folder / 'service-accounts.key'}",
            f"--root-ca-file={self.folder / 'pki/apiserver.crt'}",
            "--use-service-account-credentials=true",
        ]

    def _scheduler_flags(self) -> list[str]:
        return self._client_flags("kube-scheduler", "scheduler")

    def _client_flags(self, component: str, port: str) -> list[str]:
        kubeconfig = self.folder / f"system-{component}.kubeconfig"
        files = [f"--{prefix}kubeconfig={kubeconfig}" for prefix in ("", "authentication-", "authorization-")]
        ours = [f"--bind-address={LOOPBACK}", f"--secure-port={self._ports[port]}", "--leader-elect=false"]
        return [*files, *ours, f"--cert-dir={self.folder / component}"]


@contextmanager
def running_control_plane(
    folder: Path,
    *,
    address: str = LOOPBACK,
    users: Mapping[str, Sequence[str]] | None = None,
    flags: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[ControlPlane]:
    """A control plane that is ready, and gone at the end.

    Args:
        folder: Empty; keeps data, keys and one log for each component.
        address: At which the API server is reached; another than loopback makes it listen on all of the machine's.
        users: Further users, each with its groups: ``{"system:node:a": ["system:nodes"]}``.
        flags: Further flags by component, such as ``{"kube-scheduler": ["--kube-api-qps=500"]}``.

    Raises:
        ClusterError: If a program cannot be had or a component does not start.
    """
    plane = ControlPlane(folder, address=address, users=users or {}, flags=flags or {})
    with ExitStack() as at_end:
        at_end.callback(plane.stop)
        plane.start()
        yield plane


def _answers(url: str, path: str, token: str = "") -> bool:
    """Whether a component says that it is well. Its certificate is its own, made a moment ago: nothing to check."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    place = urlsplit(url)
    connection = http.client.HTTPSConnection(place.hostname or "", place.port, timeout=5, context=context)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        return connection.getresponse().status == http.HTTPStatus.OK
    except http.client.HTTPException:
        return False
    finally:
        connection.close()
