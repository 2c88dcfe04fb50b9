"""The API server's own word on the objects that attempts are made of: every field known, every pod restricted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

GOLDEN = sorted((Path(__file__).parents[2] / "unit/cluster/golden").glob("*.yaml"))


@pytest.fixture
def team(control_plane, namespace):
    """A namespace that takes restricted pods only, with what the golden files refer to."""
    control_plane.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    control_plane.kubectl("-n", namespace, "create", "serviceaccount", "trainer")
    classes = [
        {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "low"}, "value": -1},
        {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "nvidia"}, "handler": "nvidia"},
    ]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": classes})
    control_plane.kubectl("apply", "-f", "-", input=text)
    yield namespace
    control_plane.kubectl("delete", "-f", "-", input=text)


def would_create(control_plane, namespace, obj):
    """What the API server would make of an object; it refuses fields that it does not know."""
    flags = ("create", "--dry-run=server", "--validate=strict", "-o", "json", "-f", "-")
    return json.loads(control_plane.kubectl("-n", namespace, *flags, input=json.dumps(obj)))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_job_is_taken_as_it_is_written(control_plane, team, path):
    """And the pod that its controller will make is restricted, so nothing waits for an administrator."""
    job = yaml.safe_load(path.read_text())
    job["metadata"]["namespace"] = team
    made = would_create(control_plane, team, job)
    policy = made["spec"]["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in policy] == ["FailJob", "FailJob"]
    assert (made["spec"]["backoffLimit"], made["spec"].get("suspend")) == (0, False)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": job["spec"]["template"]["spec"]}
    running = would_create(control_plane, team, pod)["spec"]
    assert [volume["name"] for volume in running["volumes"]] == [volume["name"] for volume in pod["spec"]["volumes"]]
