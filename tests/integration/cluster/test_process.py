"""The operator's process against a real API server: what reaches it, who works, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from e2e.cluster.processes import free_ports
from tests.integration.cluster.installation import wait_for
from tests.searches import a_search

from graphsearch.api import names as n

ROOT = Path(__file__).parents[3]
MANIFEST = {"apiVersion": f"{n.GROUP}/{n.VERSION}", "kind": "GraphSearch", "spec": a_search().spec}


@pytest.fixture(scope="module", autouse=True)
def _kinds(control_plane):
    control_plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    control_plane.kubectl("wait", "--for=condition=Established", "-f", str(ROOT / "crds"))


class Process:
    """One echoing operator."""

    def __init__(self, kubeconfig, folder, name, *flags):
        (self.port,) = free_ports(1)
        self.said, self.log = folder / f"{name}.jsonl", folder / f"{name}.log"
        command = [sys.executable, "-m", "tests.integration.cluster.echoing_operator", "--identity", name]
        command += ["--kubeconfig", str(kubeconfig), "--probe-port", str(self.port), *flags]
        with self.said.open("wb") as said, self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=said, stderr=log, cwd=ROOT, start_new_session=True)

    @property
    def lines(self):
        """What it has said."""
        return [json.loads(line) for line in self.said.read_text().splitlines()]

    def told(self, **what):
        """How often it has said that."""
        return sum(what.items() <= line.items() for line in self.lines)

    def wait(self, **what):
        """Until it has said that."""
        wait_for(lambda: self.told(**what) or self.process.poll() is not None, self.describe)
        assert self.told(**what), self.describe()
        return self

    def wait_ready(self, word="working"):
        """Until /readyz says that."""
        wait_for(lambda: self.probe("readyz") == (200, f"{word}\n"), self.describe)
        return self

    def probe(self, path):
        """Status and text; 0 while nobody answers."""
        assert self.process.poll() is None, self.describe()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name):
        """A number of its exposition."""
        _, text = self.probe("metrics")
        return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    def end(self, number=signal.SIGTERM):
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.code()

    def code(self):
        """Wait for its end; the exit code."""
        return self.process.wait(120)

    def describe(self):
        """For a failed test."""
        said = self.log.read_text()[-4000:] + self.said.read_text()[-2000:]
        return f"exit code {self.process.poll()}\n{said}"


@pytest.fixture
def start(control_plane, namespace, tmp_path):
    """Starts operators that watch the namespace, and kills what is left of them."""
    started = []

    def start(name="one", *flags, kubeconfig=None):
        own = ("--namespaces", namespace, "--lease-namespace", namespace)
        started.append(Process(kubeconfig or control_plane.kubeconfig, tmp_path, name, *own, *flags))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            os.killpg(each.process.pid, signal.SIGKILL)
            each.process.wait()


@pytest.fixture
def apply(control_plane, namespace):
    """Applies an object in the namespace; its uid."""

    def apply(obj, *, annotations=None, **metadata):
        whole = obj | {"metadata": {"namespace": namespace, "annotations": annotations or {}, **metadata}}
        answer = control_plane.kubectl("apply", "-f", "-", "-o", "json", input=json.dumps(whole))
        return json.loads(answer)["metadata"]["uid"]

    return apply


def pod_of(uid):
    """A pod that nobody runs, with a search's label."""
    spec = {"containers": [{"name": "trainer", "image": "trainer:1"}], "nodeSelector": {"no": "node"}}
    return {"apiVersion": "v1", "kind": "Pod", "spec": spec}, ({n.SEARCH_UID_LABEL: uid} if uid else {})


def test_whatever_moves_gives_its_search_a_turn(start, apply, control_plane, namespace):
    """Searches, trials and pods are heard of; what is finished or nobody's is not even sent."""
    uid = apply(MANIFEST, name="before")
    trial = {
        "apiVersion": MANIFEST["apiVersion"],
        "kind": "GraphTrial",
        "spec": {"index": 0, "purpose": "Search", "searchRef": "before", "graph": graph()},
    }
    apply(trial, name="before-t0", labels={n.SEARCH_UID_LABEL: uid})
    over = json.dumps({"status": {"outcome": "Stopped"}})
    patch = ("patch", "gt", "before-t0", "--subresource=status", "--type=merge", "-p", over)
    control_plane.kubectl("-n", namespace, *patch)
    operator = start().wait_ready().wait(turned="before")
    assert operator.told(filled=["before"]) == 1

    apply(MANIFEST, name="after")
    operator.wait(turned="after")

    turns = operator.told(turn="before")
    pod, labels = pod_of(uid)
    apply(pod, name="stranger")
    apply(trial, name="before-t1", labels={n.SEARCH_UID_LABEL: uid})
    operator.wait(seen="GraphTrial", name="before-t1")
    apply(pod, name="ours", labels=labels)
    operator.wait(seen="Pod", name="ours")
    wait_for(lambda: operator.told(turn="before") > turns, operator.describe)

    assert not operator.told(name="stranger")
    assert not operator.told(name="before-t0")

    control_plane.kubectl("-n", namespace, "delete", "gs", "after")
    operator.wait(seen="GraphSearch", event="DELETED", name="after")
    assert operator.end() == 0, operator.describe()


def graph():
    """One node that learns from labels."""
    edge = {"source": "Label", "destination": "1", "loss": {"type": "CrossEntropy"}}
    return {"nodes": [{"name": "1", "model": "resnet8"}], "edges": [edge]}


def test_nothing_is_left_on_an_object_that_was_only_watched(start, apply, control_plane, namespace):
    """No annotation, finalizer, Event or status of the watcher."""
    apply(MANIFEST, name="clean")
    start().wait(turned="clean").end()

    found = json.loads(control_plane.kubectl("-n", namespace, "get", "gs", "clean", "-o", "json"))
    events = json.loads(control_plane.kubectl("-n", namespace, "get", "events", "-o", "json"))
    annotations = {name for name in found["metadata"].get("annotations", {}) if "last-applied" not in name}
    assert (annotations, found["metadata"].get("finalizers"), found.get("status")) == (set(), None, None)
    assert events["items"] == []


def test_a_turn_that_fails_is_retried_and_hurts_no_other(start, apply):
    """It shows as a metric, and the process is as alive as before."""
    apply(MANIFEST, name="broken", annotations={"turn": "fail"})
    apply(MANIFEST, name="sound")
    operator = start().wait_ready().wait(turned="sound")

    wait_for(lambda: operator.told(turn="broken") >= 3, operator.describe)

    assert operator.metric('graphsearch_operator_turns_total{result="error"}') >= 2
    assert operator.probe("healthz") == (200, "ok\n")
    assert operator.metric("graphsearch_operator_lease_held") == 1
    assert operator.metric('graphsearch_operator_api_requests_total{code="200",kind="graphsearches",verb="GET"}') >= 1
    assert operator.end() == 0


def test_a_turn_in_hand_is_finished_before_the_end(start, apply, control_plane, namespace):
    """SIGTERM cuts nothing off, and hands the Lease back."""
    apply(MANIFEST, name="slow", annotations={"turn": "hang"})
    operator = start().wait(turn="slow")

    assert operator.end() == 0, operator.describe()

    assert operator.told(turned="slow") == operator.told(turn="slow")
    lease = json.loads(control_plane.kubectl("-n", namespace, "get", "lease", "graphsearch-default", "-o", "json"))
    assert lease["spec"]["holderIdentity"] == ""


def test_a_second_operator_stands_by_and_takes_over(start, apply):
    """It is ready meanwhile, does nothing, and goes on as soon as the first has ended."""
    apply(MANIFEST, name="shared")
    first = start("first").wait(turned="shared")
    second = start("second").wait_ready("standing by")
    assert second.lines == []
    assert second.metric("graphsearch_operator_lease_held") == 0

    assert first.end() == 0

    second.wait_ready().wait(turned="shared")
    assert second.end() == 0


def test_a_standby_ends_when_it_is_asked_to(start):
    """It need not become the holder first, and takes nothing from it."""
    first = start("first").wait_ready()
    second = start("second").wait_ready("standing by")

    assert second.end() == 0
    assert first.metric("graphsearch_operator_lease_held") == 1
    assert first.end() == 0


def test_a_killed_operator_is_followed_by_its_next_process_at_once(start, apply):
    """The same identity need not wait for the Lease to expire."""
    apply(MANIFEST, name="shared")
    start("same").wait(turned="shared").end(signal.SIGKILL)

    assert start("same").wait_ready().wait(turned="shared").end() == 0


def test_an_operator_whose_lease_is_taken_ends_with_a_message(start, apply, control_plane, namespace):
    """The exit code is not zero, and the log says who took it."""
    apply(MANIFEST, name="busy", annotations={"turn": "write"})
    operator = start().wait_ready().wait(turned="busy")

    taken = {"spec": {"holderIdentity": "thief", "leaseTransitions": 7}}
    lease = ("lease", "graphsearch-default", "--type=merge", "-p", json.dumps(taken))
    control_plane.kubectl("-n", namespace, "patch", *lease)

    assert operator.code() == 1
    assert "was taken by thief" in operator.describe()


def test_an_operator_that_was_held_up_writes_nothing_once_another_has_taken_over(start, apply):
    """A process that wakes up after its Lease has expired must not carry out what it was about to."""
    apply(MANIFEST, name="busy", annotations={"turn": "write"})
    first = start("first").wait_ready().wait(turned="busy")
    second = start("second").wait_ready("standing by")

    first.process.send_signal(signal.SIGSTOP)
    second.wait(turned="busy")
    begun = first.told(turn="busy")
    first.process.send_signal(signal.SIGCONT)

    assert first.code() == 1
    assert "another operator may have taken over" in first.describe()
    assert first.told(turned="busy") <= begun
    assert second.end() == 0


def test_a_watch_that_is_refused_ends_the_process_with_a_message(start, apply, control_plane, namespace):
    """An operator that hears nothing is worse than none: the kubelet shows the restarts, the log the reason."""
    rules = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "rules": [
            {"apiGroups": ["graphsearch.io"], "resources": ["*"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]},
            {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "watch"]},
        ],
    }
    apply(rules, name="deaf")
    account = f"--serviceaccount={namespace}:default"
    control_plane.kubectl("-n", namespace, "create", "rolebinding", "deaf", "--role=deaf", account)
    kubeconfig = control_plane.kubeconfig_for(f"system:serviceaccount:{namespace}:default", namespace=namespace)

    operator = start(kubeconfig=kubeconfig)

    assert operator.code() == 1
    assert "the watch has ended" in operator.describe()
    assert "pods is forbidden" in operator.describe()


def test_an_operator_lives_through_a_restart_of_the_api_server(start, apply, control_plane):
    """Watches are taken up again and what comes after is heard; if the outage outlasts the Lease, by the next."""
    apply(MANIFEST, name="early")
    operator = start().wait_ready().wait(turned="early")

    control_plane.restart_api_server()

    apply(MANIFEST, name="late")
    wait_for(lambda: operator.told(turned="late") or operator.process.poll() is not None, operator.describe)
    if operator.process.poll() is not None:
        assert operator.code() == 1
        assert "another operator may have taken over" in operator.describe()
        operator = start().wait(turned="late")
    assert operator.end() == 0, operator.describe()


def test_a_port_that_is_taken_is_named(start):
    """One message, and the end."""
    first = start("first").wait_ready()

    second = start("second", "--probe-port", str(first.port))

    assert second.code() == 1
    assert f"{first.port}" in second.describe().splitlines()[-1]


def test_a_cluster_wide_operator_hears_every_namespace(control_plane, namespace, apply, tmp_path):
    """Without rights to list namespaces or kinds at the cluster's scope beyond its own objects."""
    apply(MANIFEST, name="anywhere")
    operator = Process(control_plane.kubeconfig, tmp_path, "wide", "--lease-namespace", namespace)
    try:
        operator.wait(seen="GraphSearch", name="anywhere", namespace=namespace).wait(turned="anywhere")
        assert operator.end() == 0
    finally:
        if operator.process.poll() is None:
            operator.end(signal.SIGKILL)
