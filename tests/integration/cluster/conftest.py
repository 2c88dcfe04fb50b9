"""Real servers for the tests of this folder. What cannot be had or started fails the test; nothing is skipped."""

from __future__ import annotations

import itertools
import json
from contextlib import ExitStack

import pytest
from e2e.cluster.binaries import build
from e2e.cluster.control_plane import QUICK_NODE_LOSS, running_control_plane
from e2e.cluster.prometheus_server import running_prometheus, scrape_config
from e2e.cluster.simulated_node import Timing, running_simulated_node
from tests.integration.cluster.installation import ROOT, Operator, a_namespace, free_network

_PROGRAMS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    "helm",
    "prometheus",
    "promtool",
)


@pytest.fixture(scope="session")
def _programs(request):
    """Everything is built; pytest, which would keep the progress to itself until the end, looks away meanwhile."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        return build(_PROGRAMS)


@pytest.fixture(scope="session")
def control_plane(_programs, tmp_path_factory):
    """One for all tests; who stops its API server starts it again."""
    with running_control_plane(tmp_path_factory.mktemp("control-plane"), flags=QUICK_NODE_LOSS) as plane:
        yield plane


@pytest.fixture(scope="session")
def prometheus(control_plane, tmp_path_factory):
    """It scrapes every annotated pod each second; who stops it starts it again."""
    config = scrape_config(control_plane.kubeconfig, interval="1s")
    with running_prometheus(tmp_path_factory.mktemp("prometheus"), config) as server:
        yield server


@pytest.fixture
def namespace(control_plane):
    """A fresh one, with its service account."""
    with a_namespace(control_plane, "test") as name:
        yield name


@pytest.fixture(scope="session")
def kinds(control_plane):
    """GraphSearch and GraphTrial are known to the API server."""
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    control_plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    return control_plane


@pytest.fixture
def operator(kinds, namespace, tmp_path):
    """Starts operators of the test's namespace, ``operator("--prometheus-url", url)``; gone after the test.

    Two of them in one test have the names that they are given; a restarted one keeps its identity, so that it need
    not wait for its own Lease.
    """
    started = []

    def start(*flags, name="operator"):
        scope = ("--namespaces", namespace, "--lease-namespace", namespace, "--identity", name)
        started.append(Operator(kinds, tmp_path, *scope, "--fallback-after", "3", *flags, name=name))
        return started[-1].start().wait_until_ready()

    yield start
    for each in started:
        if each.runs:
            each.kill()


@pytest.fixture(scope="session")
def _node_numbers():
    return itertools.count(1)


@pytest.fixture
def simulated_node(control_plane, tmp_path, _node_numbers):
    """Starts nodes, ``simulated_node(gpus=8, pace=0.1)``, which share their checkpoints and are gone after the test."""
    control_plane.wait_for_scheduler()
    with ExitStack() as at_end:

        def start(*, gpus=8, **timing):
            number = next(_node_numbers)
            node = running_simulated_node(
                tmp_path,
                control_plane.kubeconfig,
                checkpoints=tmp_path / "checkpoints",
                name=f"node-{number}",
                gpus=gpus,
                network=free_network(),
                timing=Timing(**timing),
            )
            # Nobody else can end what is bound to it once it is gone.
            pods = ["delete", "pods", "-A", f"--field-selector=spec.nodeName=node-{number}", "--force", "--wait=false"]
            at_end.callback(control_plane.kubectl, *pods)
            at_end.callback(control_plane.kubectl, "delete", "node", f"node-{number}", "--ignore-not-found")
            return at_end.enter_context(node)

        yield start


@pytest.fixture
def kubectl(kinds, namespace):
    """Runs kubectl in the test's namespace; ``given`` is the object that it reads."""

    def run(*arguments, given=None, check=True):
        text = None if given is None else json.dumps(given)
        return kinds.kubectl("-n", namespace, *arguments, input=text, check=check)

    return run


@pytest.fixture
def apply(kubectl):
    """Applies an object as a user does; what kubectl says."""
    return lambda obj, check=True: kubectl("apply", "--server-side", "-f", "-", given=obj, check=check)


@pytest.fixture
def stored(kubectl):
    """The object as the API server has it."""
    return lambda kind, name: json.loads(kubectl("get", kind, name, "-o", "json"))


@pytest.fixture
def write_status(kubectl):
    """Writes a status as the operator does: a merge patch of the subresource."""

    def write(kind, name, status, check=True):
        patch = json.dumps({"status": status})
        return kubectl("patch", kind, name, "--subresource=status", "--type=merge", "-p", patch, check=check)

    return write


@pytest.fixture
def force_status(kubectl):
    """Writes a status as a clumsy tool does: a forced server-side apply under another name."""

    def write(kind, name, status):
        given = {"apiVersion": "graphsearch.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "status": status}
        options = ("--server-side", "--force-conflicts", "--field-manager=clumsy", "--subresource=status")
        return kubectl("apply", *options, "-f", "-", given=given, check=False)

    return write
