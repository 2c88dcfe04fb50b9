"""The chart upgraded, rolled back and uninstalled while trainers run: none of them notices."""

from __future__ import annotations

from tests.integration.cluster.installation import assert_sound, wait_for

from e2e.installation import RELEASE, SYSTEM
from e2e.searches import ENDLESS, SMALL, digits, running_pods, start, trained
from graphsearch.api import names as n

_KINDS = {f"customresourcedefinition.apiextensions.k8s.io/{plural}.{n.GROUP}" for plural in (n.SEARCHES, n.TRIALS)}


def test_helm_finds_the_installation_well(cluster):
    """`helm test`, as the chart's README has it."""
    assert "Phase:          Succeeded" in cluster.helm("test", RELEASE, "--namespace", SYSTEM)


def test_no_trainer_notices_upgrade_rollback_and_a_new_installation(cluster, namespace):
    """B22: the same two containers run on, each new operator takes the search over; only the kinds are left behind."""
    search = start(cluster, namespace, digits(cluster, "s", SMALL, ENDLESS))
    wait_for(lambda: len(running_pods(search)) == 2, search.describe)
    before = running_pods(search)
    operator = cluster.operator_pods().keys()
    cluster.install("--set=resources.requests.memory=200Mi")
    assert cluster.operator_pods().keys() != operator
    assert_heeded(search, 11)
    cluster.helm("rollback", RELEASE, "--namespace", SYSTEM, "--wait", "--timeout=5m")
    assert_heeded(search, 12)
    cluster.helm("uninstall", RELEASE, "--namespace", SYSTEM, "--wait", "--timeout=5m")
    try:
        wait_for(lambda: left_behind(cluster) == _KINDS, lambda: f"left behind: {left_behind(cluster)}")
    finally:
        cluster.install()
    assert_heeded(search, 13)
    assert running_pods(search) == before
    search.patch(desiredState="Cancelled")
    search.wait()
    assert_sound(search)
    assert [attempt.number for trial in trained(search) for attempt in trial.status.attempts] == [1, 1]


def assert_heeded(search, most_failed):
    """The operator that runs now takes notice of a change."""
    search.patch(budget={"maxFailedTrials": most_failed})
    wait_for(lambda: is_seen(search.object), search.describe)


def is_seen(obj):
    """Whether the status is of the specification that stands there."""
    return obj["status"]["observedGeneration"] == obj["metadata"]["generation"]


def left_behind(cluster):
    """Objects of the release, of every kind, anywhere; and Leases beside it, whoever made them."""
    kinds = cluster.kubectl("api-resources", "--verbs=list", "-o", "name").split()
    kinds = [kind for kind in kinds if not kind.startswith(("events", "bindings")) and "metrics.k8s.io" not in kind]
    selector = f"--selector=app.kubernetes.io/instance={RELEASE}"
    leases = cluster.kubectl("get", "leases", "-n", SYSTEM, "-o", "name").split()
    return {*leases, *cluster.kubectl("get", ",".join(kinds), "--all-namespaces", selector, "-o", "name").split()}
