"""The chart as Helm renders it and as a real API server takes it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from e2e.cluster.binaries import binary
from e2e.cluster.commands import run
from e2e.cluster.processes import ClusterError

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts/graphsearch"
AGREED = Path(__file__).parent / "chart"


def rendered(*flags: object) -> list[dict]:
    """The objects that `helm template` makes of the chart."""
    return [obj for obj in yaml.safe_load_all(template(*flags)) if obj]


def template(*flags: object) -> str:
    return run([binary("helm"), "template", "gs", CHART, "--namespace", "graphsearch", *flags])


def refusal(*flags: object) -> str:
    """What Helm says of values that it refuses."""
    with pytest.raises(ClusterError) as refused:
        template(*flags)
    return str(refused.value)


def texts(obj: object, key: str = "") -> list[object]:
    """What stands where Kubernetes takes only strings: names, labels, annotations, arguments."""
    if isinstance(obj, dict):
        whole = key.lower().endswith(("labels", "annotations"))
        return [*obj.values()] if whole else [text for each, value in obj.items() for text in texts(value, each)]
    if isinstance(obj, list):
        return [text for value in obj for text in texts(value, key)]
    named = key.lower().endswith(("name", "namespace", "names", "class"))
    return [obj] if named or key in ("args", "command", "image", "namespaces") else []


def test_the_chart_is_well_formed():
    """Helm's own linter has nothing to say."""
    assert "0 chart(s) failed" in run([binary("helm"), "lint", "--strict", CHART])


@pytest.mark.parametrize("name", ["defaults", "namespaced", "everything"])
def test_objects_are_those_agreed_upon(name):
    """Every change of what an install makes is seen in review.

    To agree to one: helm template gs charts/graphsearch --namespace graphsearch --api-versions
    monitoring.coreos.com/v1 --values tests/integration/cluster/chart/NAME.values.yaml, into NAME.yaml beside it.
    """
    text = template("--api-versions", "monitoring.coreos.com/v1", "--values", AGREED / f"{name}.values.yaml")
    assert text == (AGREED / f"{name}.yaml").read_text()


@pytest.mark.parametrize("word", ["123", "on"])
@pytest.mark.parametrize("values", ["defaults", "namespaced", "everything"])
def test_names_that_yaml_takes_for_something_else_stay_strings(word, values):
    """Whatever release, namespace and accounts are called."""
    named = (
        "fullnameOverride",
        "controllerName",
        "serviceAccount.name",
        "priorityClassName",
        "prometheus.ca.configMapName",
    )
    own = [f"{name}={word}" for name in named]
    watched = [] if values != "namespaced" else [f"namespaced.namespaces={{{word},b}}"]
    flags = ("--set-string", ",".join((*own, *watched)), "--set", "crds.enabled=true,grafanaDashboards.enabled=true")
    place = ("--namespace", word, "--api-versions", "monitoring.coreos.com/v1")
    command = [binary("helm"), "template", word, CHART, *place, "--values", AGREED / f"{values}.values.yaml", *flags]
    objects = [obj for obj in yaml.safe_load_all(run(command)) if obj]
    found = [text for obj in objects if obj["kind"] != "CustomResourceDefinition" for text in texts(obj)]
    found += [text for obj in objects for text in texts(obj["metadata"], "metadata")]
    assert word in found
    assert [text for text in found if not isinstance(text, str)] == []


@pytest.mark.parametrize("keep", [True, False])
def test_kinds_are_installed_as_generated(keep):
    """What crds/ says, labelled, and kept on uninstall if so wished."""
    installed = rendered("--set", f"crds.keep={json.dumps(keep)}", "--show-only", "templates/crds.yaml")
    for crd in installed:
        assert crd["metadata"].pop("labels")["app.kubernetes.io/part-of"] == "graphsearch"
        annotations = crd["metadata"].get("annotations", {})
        assert annotations.pop("helm.sh/resource-policy", None) == ("keep" if keep else None)
        if not annotations:
            crd["metadata"].pop("annotations", None)
    generated = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    assert len(generated) == 2
    assert sorted(installed, key=lambda crd: crd["metadata"]["name"]) == generated


def test_two_releases_never_share_a_cluster_wide_name():
    """However release and namespace are put together."""
    made = []
    for release, namespace in (("c", "a-b"), ("b-c", "a"), ("c-view", "a-b")):
        place = (release, CHART, "--namespace", namespace, "--set", "crds.enabled=false")
        objects = yaml.safe_load_all(run([binary("helm"), "template", *place]))
        made += [(obj["kind"], obj["metadata"]["name"]) for obj in objects if obj and "Cluster" in obj["kind"]]
    assert len(set(made)) == len(made) == 12


def test_a_second_install_leaves_the_trainers_to_the_first():
    """Its operator is still scraped, as that of an install of other namespaces is with its trainers."""
    given = ("--set", "metrics.discovery=PodMonitor", "--show-only", "templates/monitoring.yaml")
    second = rendered(*given, "--set", "metrics.podMonitor.trainers=false")
    assert [obj["metadata"]["name"] for obj in second] == ["gs-graphsearch-operator"]
    trainers, _ = rendered(*given, "--set", "namespaced.enabled=true,namespaced.namespaces={a,b}")
    assert trainers["spec"]["namespaceSelector"] == {"matchNames": ["a", "b"]}


@pytest.mark.parametrize("values", ["metrics.podMonitor", "prometheusRule", "grafanaDashboards"])
def test_labels_of_the_user_win_over_those_of_the_chart(values):
    """A Prometheus or a sidecar may select by one that the chart sets as well."""
    given = {"metrics.podMonitor": "metrics.discovery=PodMonitor"}.get(values, f"{values}.enabled=true")
    label = f"{values}.labels.app\\.kubernetes\\.io/part-of=monitoring"
    shown = "dashboards" if values == "grafanaDashboards" else "monitoring"
    api = ("--api-versions", "monitoring.coreos.com/v1", "--show-only", f"templates/{shown}.yaml")
    for made in rendered("--set", f"{given},{label}", *api):
        assert made["metadata"]["labels"]["app.kubernetes.io/part-of"] == "monitoring"
        assert made["metadata"]["labels"]["app.kubernetes.io/name"] == "graphsearch"


def test_the_test_pod_fits_where_the_operator_fits():
    """Under a quota of limits, of whichever resource."""
    limits = "resources.limits.cpu=1,resources.limits.ephemeral-storage=1Gi"
    of = {}
    for template in ("deployment", "tests/installed"):
        *_, made = rendered("--set", limits, "--show-only", f"templates/{template}.yaml")
        pod = made["spec"]["template"]["spec"] if template == "deployment" else made["spec"]
        of[template] = pod["containers"][0]["resources"]
    assert of["tests/installed"] == of["deployment"]
    assert set(of["deployment"]["limits"]) == {"cpu", "memory", "ephemeral-storage"}


def test_dashboards_reach_grafana_whole():
    """One ConfigMap each, under the label that the sidecar looks for."""
    found = {}
    for made in rendered("--show-only", "templates/dashboards.yaml", "--set", "grafanaDashboards.annotations.a=b"):
        assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert made["metadata"]["annotations"] == {"a": "b"}
        found |= {name: json.loads(text) for name, text in made["data"].items()}
    files = sorted((CHART / "dashboards").glob("*.json"))
    assert found == {f"graphsearch-{path.name}": json.loads(path.read_text()) for path in files}


def test_alert_rules_are_left_out_where_nobody_reads_them():
    """An install on a cluster without the Prometheus Operator does not fail for them."""
    kinds = {obj["kind"] for obj in rendered("--set", "prometheusRule.enabled=true")}
    assert "PrometheusRule" not in kinds
    assert "Deployment" in kinds


REFUSED = [
    ("metrics.discovery=ServiceMonitor", "/metrics/discovery"),
    ("prometheus.url=prometheus:9090", "/prometheus/url"),
    ("prometheus.scrapeInterval=0", "/prometheus/scrapeInterval"),
    ("image.digest=sha256:12", "/image/digest"),
    ("fullnameOverride=My_Op", "/fullnameOverride"),
    ("fullnameOverride=a-", "/fullnameOverride"),
    ("promethues.url=http://p", "promethues"),
    ("namespaced.namespaces=a", "/namespaced/namespaces"),
    ("namespaced.namespaces={a}", "set namespaced.enabled=true or give no namespaces"),
    ("networkPolicy.egressPorts={70000}", "/networkPolicy/egressPorts/0"),
    ("prometheus.tokenSecret.name=a,prometheus.basicAuthSecret.name=b", "give the one that your Prometheus asks for"),
]


@pytest.mark.parametrize(("values", "told"), REFUSED)
def test_wrong_values_are_refused_by_name(values, told):
    """Before anything is installed."""
    assert told in refusal("--set", values)


@pytest.mark.parametrize(("ports", "opened"), [([], []), ([6443], [[6443]]), ([443, 9090], [[443, 9090]])])
def test_a_network_policy_opens_what_is_named_and_no_more(ports, opened):
    """Besides names and the trainers; no rule is empty, which would open everything."""
    given = f"networkPolicy={json.dumps({'enabled': True, 'egressPorts': ports})}"
    (policy,) = rendered("--set-json", given, "--show-only", "templates/networkpolicy.yaml")
    named, *others, trainers = policy["spec"]["egress"]
    assert [port["port"] for port in named["ports"]] == [53, 53]
    assert [[port["port"] for port in rule["ports"]] for rule in others] == opened
    assert [port["port"] for port in trainers["ports"]] == [8000]


def test_alerts_sound_when_they_should(tmp_path):
    """Prometheus' own rule test, of the rules that a release gets."""
    rules = ("--set", "prometheusRule.enabled=true", "--show-only", "templates/monitoring.yaml")
    (rule,) = rendered("--api-versions", "monitoring.coreos.com/v1", *rules)
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump(rule["spec"]))
    played = shutil.copy(Path(__file__).parent / "alerts.test.yaml", tmp_path)
    assert "SUCCESS" in run([binary("promtool"), "test", "rules", played])
