"""What is in the project's images, as a pod finds it."""

from __future__ import annotations

import json

from tests.integration.cluster.installation import wait_for

_LOOK = """
import importlib.util, json, pathlib, sys
files = [path for path in pathlib.Path("/opt/graphsearch").rglob("*") if path.is_file() and not path.is_symlink()]
names = ("torch", "torchvision", "boto3", "altair", "vl_convert", "sklearn", "pip")
print(json.dumps({
    "bytes": sum(path.stat().st_size for path in files),
    "there": [name for name in names if importlib.util.find_spec(name)],
}))
"""
_MOST_BYTES = 250_000_000


def looked_into(cluster, namespace, image):
    """How much lies over the base of an image, and which of some packages are there."""
    container = {
        "name": "look",
        "image": image,
        "command": ["/opt/graphsearch/bin/python", "-c", _LOOK],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    restricted = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"restartPolicy": "Never", "containers": [container], "securityContext": restricted}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "look"}, "spec": spec}
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(pod))
    phase = ("get", "pod", "look", "-n", namespace, "-o", "jsonpath={.status.phase}")
    wait_for(lambda: cluster.kubectl(*phase) in ("Succeeded", "Failed"))
    return json.loads(cluster.kubectl("logs", "look", "-n", namespace))


def test_the_operator_image_is_small_and_has_nothing_of_the_trainer(cluster, namespace):
    """Under 250 MB over its base; no torch, no S3, no plotting, and no pip."""
    found = looked_into(cluster, namespace, cluster.images["operator"])
    print(f"the operator's image: {found['bytes'] / 1e6:.0f} MB over its base")
    assert found["there"] == []
    assert found["bytes"] < _MOST_BYTES


def test_the_trainer_image_has_both_packages(cluster, namespace):
    """It trains, saves to S3 and builds reports."""
    found = looked_into(cluster, namespace, cluster.images["trainer"])
    print(f"the trainer's image: {found['bytes'] / 1e6:.0f} MB over its base")
    assert found["there"] == ["torch", "torchvision", "boto3", "altair", "vl_convert", "sklearn"]
