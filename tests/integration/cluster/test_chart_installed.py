"""The chart installed on a real API server: what its account may do, and whether pod security lets its pods in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from e2e.cluster.binaries import binary, source
from e2e.cluster.commands import run
from e2e.cluster.control_plane import running_control_plane
from e2e.cluster.processes import ClusterError
from e2e.cluster.simulated_node.faults import Fault
from tests.integration.cluster.installation import Operator, apply, assert_sound, wait_for
from tests.integration.cluster.stage import events, quick, wait_until_running

ROOT = Path(__file__).parents[3]

NEEDED = [
    *(f"{verb} graphsearches.graphsearch.io" for verb in ("get", "list", "watch", "patch", "delete")),
    "patch graphsearches.graphsearch.io/status",
    *(f"{verb} graphtrials.graphsearch.io" for verb in ("get", "list", "watch", "create")),
    "patch graphtrials.graphsearch.io/status",
    *(f"{verb} jobs.batch" for verb in ("get", "list", "watch", "create", "delete")),
    *(f"{verb} pods" for verb in ("get", "list", "watch", "delete")),
    *(f"{verb} configmaps" for verb in ("get", "create")),
    *(f"{verb} events" for verb in ("list", "create", "patch")),
]
FORBIDDEN = [
    *(f"{verb} secrets" for verb in ("get", "list", "watch", "create", "patch", "delete")),
    *(f"{verb} pods" for verb in ("create", "update", "patch", "deletecollection")),
    "create pods/exec",
    "create pods/attach",
    "create pods/portforward",
    "get pods/log",
    "create pods/eviction",
    "update pods/ephemeralcontainers",
    *(f"{verb} graphsearches.graphsearch.io" for verb in ("create", "update", "deletecollection")),
    *(f"{verb} graphtrials.graphsearch.io" for verb in ("update", "patch", "delete", "deletecollection")),
    *(f"{verb} jobs.batch" for verb in ("update", "patch", "deletecollection")),
    *(f"{verb} configmaps" for verb in ("list", "watch", "update", "patch", "delete", "deletecollection")),
    *(f"{verb} nodes" for verb in ("get", "patch", "update", "delete")),
    "create serviceaccounts/token",
    "impersonate users",
    "create deployments.apps",
    "create roles.rbac.authorization.k8s.io",
    "create rolebindings.rbac.authorization.k8s.io",
    "create clusterrolebindings.rbac.authorization.k8s.io",
    "patch customresourcedefinitions.apiextensions.k8s.io",
    "create persistentvolumeclaims",
    *(f"{verb} leases.coordination.k8s.io" for verb in ("get", "list", "create", "patch", "delete")),
    "delete namespaces",
]


@pytest.fixture
def install(control_plane, namespace):
    """Installs the chart into a fresh namespace that enforces restricted pod security; the kinds are there."""
    control_plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    control_plane.kubectl("wait", "--for=condition=Established", "-f", str(ROOT / "crds"))
    control_plane.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    helm = [binary("helm"), "--kubeconfig", control_plane.kubeconfig, "--namespace", namespace]

    def installed(*flags: str) -> str:
        run([*helm, "upgrade", "--install", "gs", ROOT / "charts/graphsearch", "--set", "crds.enabled=false", *flags])
        return f"system:serviceaccount:{namespace}:gs-graphsearch"

    yield installed
    run([*helm, "uninstall", "gs"])


def allowed(control_plane, account: str, what: str, namespace: str) -> bool:
    """What `kubectl auth can-i` answers for an account."""
    verb, resource, *name = what.split()
    resource, _, subresource = resource.partition("/")
    question = ["auth", "can-i", verb, "/".join((resource, *name)), f"--as={account}", "--namespace", namespace]
    if subresource:
        question.append(f"--subresource={subresource}")
    return "yes" in control_plane.kubectl(*question, check=False).split()


def rights(control_plane, account: str, namespace: str) -> set[str]:
    """Those of both tables that an account has."""
    return {what for what in (*NEEDED, *FORBIDDEN) if allowed(control_plane, account, what, namespace)}


def test_a_cluster_wide_account_can_do_what_it_needs_and_no_more(control_plane, namespace, install):
    """In any namespace; its Lease lies in its own."""
    account = install()
    wait_for(lambda: allowed(control_plane, account, "list pods", "default"))
    assert sorted(rights(control_plane, account, "default")) == sorted(NEEDED)
    own = ("create leases.coordination.k8s.io", "get leases.coordination.k8s.io graphsearch-default")
    for what in (*own, "patch leases.coordination.k8s.io graphsearch-default"):
        assert allowed(control_plane, account, what, namespace)
    assert not allowed(control_plane, account, "patch leases.coordination.k8s.io another", namespace)


def test_a_namespaced_account_can_do_nothing_elsewhere(control_plane, namespace, install):
    """The same rights in its namespaces, none in others."""
    account = install("--set", "rbac.aggregate=false,namespaced.enabled=true")
    wait_for(lambda: allowed(control_plane, account, "list pods", namespace))
    leases = {"create leases.coordination.k8s.io"}
    assert sorted(rights(control_plane, account, namespace) - leases) == sorted(NEEDED)
    assert rights(control_plane, account, "default") == set()


def test_pod_security_admits_the_operator_and_the_test_pod(control_plane, namespace, install):
    """In a namespace that enforces the restricted standard."""
    install()

    def pods() -> list[dict]:
        return json.loads(control_plane.kubectl("get", "pods", "-n", namespace, "-o", "json"))["items"]

    wait_for(pods, lambda: control_plane.kubectl("get", "events", "-n", namespace))
    hooks = run([binary("helm"), "--kubeconfig", control_plane.kubeconfig, "-n", namespace, "get", "hooks", "gs"])
    (pod,) = [obj for obj in yaml.safe_load_all(hooks) if obj and obj["kind"] == "Pod"]
    control_plane.kubectl(
        *("-n", namespace, "create", "serviceaccount", pod["spec"]["serviceAccountName"]),
    )
    control_plane.kubectl("apply", "--dry-run=server", "-f", "-", input=yaml.safe_dump(pod))


def test_a_namespace_admin_installs_what_the_platform_has_prepared(kinds, namespace):
    """As the chart's README has it; without that the rights are not his to give."""
    scope = "crds.enabled=false,namespaced.enabled=true"
    shown = ("--show-only", "templates/rbac.yaml", "--show-only", "templates/aggregate.yaml")
    place = ("gs", ROOT / "charts/graphsearch", "--namespace", namespace, "--set")
    prepared = run([binary("helm"), "template", *place, scope, *shown])
    lead, account = (f"system:serviceaccount:{namespace}:{name}" for name in ("lead", "gs-graphsearch"))
    kinds.kubectl("create", "serviceaccount", "lead", "-n", namespace)
    admin = ("--clusterrole=admin", f"--serviceaccount={namespace}:lead")
    kinds.kubectl("create", "rolebinding", "lead", *admin, "-n", namespace)
    helm = [binary("helm"), "--kubeconfig", kinds.kubeconfig_for(lead, namespace=namespace)]
    with pytest.raises(ClusterError, match="forbidden"):
        run([*helm, "install", *place, scope])
    kinds.kubectl("apply", "-f", "-", input=prepared)
    try:
        given = "rbac.create=false,rbac.aggregate=false,serviceAccount.create=false,serviceAccount.name=gs-graphsearch"
        run([*helm, "install", *place, f"{scope},{given}"])
        assert sorted(rights(kinds, account, namespace) - {"create leases.coordination.k8s.io"}) == sorted(NEEDED)
        wait_for(lambda: allowed(kinds, lead, "create graphsearches.graphsearch.io", namespace))
        run([*helm, "uninstall", "gs", "--namespace", namespace])
    finally:
        kinds.kubectl("delete", "-f", "-", input=prepared)


@pytest.mark.parametrize(("controller", "left"), [("", ["other"]), ("vision", ["s"])])
def test_the_notes_delete_the_searches_of_the_install_only(kinds, namespace, install, controller, left):
    """Those of its controllerName, or those without one."""
    for name, its in (("s", ""), ("other", "vision")):
        apply(kinds, namespace, quick().having(controllerName=its), name)
    install("--set", f"controllerName={controller},namespaced.enabled=true")
    notes = run([binary("helm"), "--kubeconfig", kinds.kubeconfig, "-n", namespace, "get", "notes", "gs"])
    for line in notes.splitlines():
        if line.startswith("  kubectl delete graph"):
            kinds.kubectl(*line.partition("#")[0].split()[1:])
    found = kinds.kubectl("get", "graphsearches", "-n", namespace, "-o", "name").split()
    assert found == [f"graphsearch.graphsearch.io/{name}" for name in left]
    assert ("add it to the example" in notes) == bool(controller)


@pytest.fixture
def prometheus_operator_kinds(control_plane):
    """PodMonitor and PrometheusRule as a release of the Prometheus Operator defines them; gone afterwards."""
    folder = source("prometheus-operator", "github.com/prometheus-operator/prometheus-operator")
    definitions = folder / "example/prometheus-operator-crd"
    files = [
        f"--filename={definitions}/monitoring.coreos.com_{kind}.yaml" for kind in ("podmonitors", "prometheusrules")
    ]
    control_plane.kubectl("apply", "--server-side", *files)
    control_plane.kubectl("wait", "--for=condition=Established", *files)
    yield
    control_plane.kubectl("delete", *files)


def test_what_the_prometheus_operator_is_told_fits_its_kinds(control_plane, namespace, prometheus_operator_kinds):
    """With every value set: no field is unknown, none is of another type."""
    values = Path(__file__).parent / "chart/everything.values.yaml"
    monitoring = ("--api-versions", "monitoring.coreos.com/v1", "--show-only", "templates/monitoring.yaml")
    flags = ("--namespace", namespace, "--values", values, *monitoring)
    text = run([binary("helm"), "template", "gs", ROOT / "charts/graphsearch", *flags])
    kinds = [obj["kind"] for obj in yaml.safe_load_all(text) if obj]
    assert sorted(kinds) == ["PodMonitor", "PodMonitor", "PrometheusRule"]
    control_plane.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", input=text)


def test_users_get_the_kinds_with_the_roles_they_have(control_plane, namespace, install):
    """Who may view sees searches, who may edit runs them; nobody else does either."""
    install()
    for role in ("view", "edit"):
        control_plane.kubectl(
            "create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}er", "-n", namespace
        )
    kinds = ("graphsearches.graphsearch.io", "graphtrials.graphsearch.io")
    wait_for(lambda: allowed(control_plane, "viewer", f"list {kinds[0]}", namespace))
    wait_for(lambda: allowed(control_plane, "editer", f"create {kinds[0]}", namespace))
    can = {
        user: {
            verb
            for verb in ("get", "create", "delete")
            if all(allowed(control_plane, user, f"{verb} {kind}", namespace) for kind in kinds)
        }
        for user in ("viewer", "editer", "stranger")
    }
    assert can == {"viewer": {"get"}, "editer": {"get", "create", "delete"}, "stranger": set()}


def as_installed(control_plane, namespace: str, folder: Path) -> Operator:
    """The operator as the chart's Deployment has it, with its flags and its account's rights, outside of a pod."""
    found = control_plane.kubectl("get", "deployment", "gs-graphsearch", "-n", namespace, "-o", "json")
    [container] = json.loads(found)["spec"]["template"]["spec"]["containers"]
    account = f"system:serviceaccount:{namespace}:gs-graphsearch"
    kubeconfig = control_plane.kubeconfig_for(account, namespace=namespace)
    # The last of two equal flags counts.
    own = ("--kubeconfig", str(kubeconfig), "--identity", "ours")
    return Operator(control_plane, folder, *container["args"][1:], *own)


@pytest.mark.parametrize("scope", ["cluster", "namespace"])
def test_a_search_runs_with_the_rights_of_the_account(kinds, namespace, install, simulated_node, tmp_path, scope):
    """From its trials to its report and its own deletion; a trial that is deleted meanwhile is made again."""
    # The Deployment's own pod fits on no node; the name keeps this operator from the searches of other tests.
    own = f"controllerName={namespace},nodeSelector.none=none"
    install("--set", own, *([] if scope == "cluster" else ["--set", "namespaced.enabled=true"]))
    node = simulated_node(gpus=2, pace=0.2)
    node.fail(Fault(pods="s-t0-a1-*", holds_at=2))
    manifest = quick().having(controllerName=namespace)
    with as_installed(kinds, namespace, tmp_path).running() as operator:
        search = apply(kinds, namespace, manifest)
        wait_until_running(search, 1)
        search.kubectl("delete", "graphtrial", "s-t0")
        search.wait()
        assert search.state == "Completed", search.describe()
        assert_sound(search)
        announced = ("Normal", "Completed", "2 of 2 trials have ended")
        wait_for(lambda: announced in events(search), search.describe)
        search.patch(ttlSecondsAfterFinished=0)
        wait_for(lambda: search.kubectl("get", "graphsearches", "-o", "name") == "")
        assert "forbidden" not in operator.log.read_text()


def test_a_namespace_that_is_gone_keeps_no_other_one_waiting(kinds, namespace, install, simulated_node, tmp_path):
    """Of two namespaces one is deleted with its roles: the operator begins without it, and sees it once it is back."""
    other = f"{namespace}-other"
    kinds.kubectl("create", "namespace", other)
    scope = f"namespaced.enabled=true,namespaced.namespaces={{{namespace},{other}}}"
    install("--set", f"{scope},controllerName={namespace},nodeSelector.none=none")
    kinds.kubectl("delete", "namespace", other)
    simulated_node(gpus=2, pace=0.2)
    operator = as_installed(kinds, namespace, tmp_path)
    with operator.running():
        search = apply(kinds, namespace, quick().having(controllerName=namespace)).wait()
        assert search.state == "Completed", search.describe()
        assert "graphsearch_operator_namespaces_left_out 1.0" in operator.metrics()
        assert f"namespace {other} is left out until this account is let in" in operator.log.read_text()
        kinds.kubectl("create", "namespace", other)
        install("--set", f"{scope},controllerName={namespace},nodeSelector.none=none")
        wait_for(lambda: not operator.runs, operator.log.read_text)
    assert f"namespace {other} is not left out any more" in operator.log.read_text()
    kinds.kubectl("delete", "namespace", other, "--wait=false")


@pytest.mark.usefixtures("_programs")
def test_uninstalling_keeps_searches_and_nothing_else(tmp_path):
    """Through upgrade and rollback too; the next install takes the kinds that were kept for its own."""
    with running_control_plane(tmp_path) as cluster:
        helm = [binary("helm"), "--kubeconfig", cluster.kubeconfig, "--namespace", "graphsearch"]
        run([*helm, "install", "gs", ROOT / "charts/graphsearch", "--create-namespace"])
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        cluster.kubectl("apply", "-f", str(ROOT / "examples/cluster/digits.yaml"))
        operator = as_installed(cluster, "graphsearch", tmp_path)
        with operator.running():
            run([*helm, "upgrade", "gs", ROOT / "charts/graphsearch", "--set", "resources.limits.memory=1Gi"])
        run([*helm, "upgrade", "gs", ROOT / "charts/graphsearch", "--set", "namespaced.enabled=true"])
        run([*helm, "rollback", "gs", "1"])
        [lease] = json.loads(cluster.kubectl("get", "leases", "-n", "graphsearch", "-o", "json"))["items"]
        assert lease["spec"]["holderIdentity"] == "ours"
        with operator.running():
            run([*helm, "uninstall", "gs"])
            # It has no rights any more, so it cannot make its Lease again.
            wait_for(lambda: not operator.runs, operator.log.read_text)
        # What the Deployment owned is taken away by the garbage collector, in its own time.
        left = "all,cm,sa,roles,rolebindings,networkpolicies,leases,secrets"
        part_of = ("-l", "app.kubernetes.io/part-of=graphsearch", "-o", "name")
        wait_for(lambda: cluster.kubectl("get", left, "-n", "graphsearch", *part_of) == "")
        assert cluster.kubectl("get", "leases", "-n", "graphsearch", "-o", "name") == ""
        assert cluster.kubectl("get", "clusterroles,clusterrolebindings", *part_of) == ""
        assert cluster.kubectl("get", "graphsearches", "-A", "-o", "name").split() == [
            "graphsearch.graphsearch.io/digits"
        ]
        run([*helm, "install", "gs", ROOT / "charts/graphsearch"])
