"""One installation for all tests. What cannot be had or started fails them; nothing is skipped."""

from __future__ import annotations

import time
import uuid
from contextlib import ExitStack

import pytest

from e2e.installation import SYSTEM, given_cluster, is_given, own_cluster

_OWN = "own_machines"
_LAST_LINES = 60
"""Of pods and events with a failure."""


def pytest_configure(config):
    """Name the marker."""
    config.addinivalue_line("markers", f"{_OWN}: kills containers or stops servers: only on a cluster of our own")


def pytest_collection_modifyitems(config, items):
    """On a given cluster, leave out by name what needs a hand on its machines."""
    if is_given() and (left_out := [item for item in items if item.get_closest_marker(_OWN)]):
        print("left out on a given cluster:", *(item.nodeid for item in left_out), sep="\n  ")
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """With a failure, what the cluster says of its pods: nobody can look at it afterwards."""
    report = yield
    if report.failed and (found := getattr(item, "funcargs", {}).get("cluster")):
        for what in (("pods", "-o=wide"), ("events", "--sort-by=.metadata.creationTimestamp")):
            lines = found.kubectl("get", *what, "--all-namespaces", check=False).splitlines()
            report.sections.append((f"kubectl get {what[0]}", "\n".join([*lines[:1], *lines[1:][-_LAST_LINES:]])))
    return report


@pytest.fixture(scope="session")
def cluster(request, tmp_path_factory):
    """The cluster with the chart installed. Pytest looks away while it starts, which takes minutes the first time."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with ExitStack() as at_end:
        with capture.global_and_fixture_disabled():
            own = own_cluster(tmp_path_factory.mktemp("cluster"))
            found = given_cluster() if is_given() else at_end.enter_context(own)
            found.make_namespace(SYSTEM)
            found.install()
        yield found
        if is_given():
            found.helm("uninstall", "graphsearch", "--namespace", SYSTEM)
            found.kubectl("delete", "namespace", SYSTEM)


@pytest.fixture
def namespace(cluster):
    """A fresh one, as a user of searches has it."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    cluster.make_namespace(name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(autouse=True)
def _how_long(capsys):
    """Said at once, as a test takes minutes."""
    started = time.monotonic()
    yield
    with capsys.disabled():
        print(f" {time.monotonic() - started:.0f} s")
