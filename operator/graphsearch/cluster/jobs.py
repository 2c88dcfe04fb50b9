"""One attempt as a Job: what a trainer's pod gets from its search and from the installation (design 4).

A Job never tries again by itself, for attempts are the planner's. The first rule of its failure policy keeps a
disrupted pod from being replaced within the attempt (``Ignore`` would start a second one), the second leaves a
durable reason for the exit codes that are never retried. ``suspend`` is Kueue's alone and never written.

Everything here is a pure function of its arguments, so that making an object twice makes it once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from graphsearch.api import GraphTrial, SearchFacts, Trainer
from graphsearch.api import names as n
from graphsearch.api.wire import Object
from graphsearch.cluster.install import Install
from graphsearch.search.settled import Settled
from graphsearch.search.specs import Place
from graphtrial.contract import SPEC_VARIABLE, Device, ExitCode, TrialSpec

_GPU_VENDOR = "nvidia.com/"
"""Of GPUs, whole, shared or sliced (``nvidia.com/gpu``, ``nvidia.com/mig-1g.10gb``)."""
_MOST_THREADS = 1024
_UNREACHABLE_SECONDS = 30
"""After which a pod on a node that is not heard of is given up."""
_GROUP_ID = 65532
"""Of the trainer image's user; volumes that are mounted belong to it."""

_TERMINATION_LOG = "/dev/termination-log"
_TERMINATION_LOG_VARIABLE = "GRAPHTRIAL_TERMINATION_LOG"
_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""Variables that boto3 reads, and the keys of the Secret that holds them."""
_OWN_VARIABLES = (SPEC_VARIABLE, _TERMINATION_LOG_VARIABLE, "POD_NAME", "POD_UID")

_CACHE = "/cache"
FACTS = "/facts"
"""Where a Report Job finds the recorded facts."""
FACTS_VOLUME = "facts"
_OWN_VOLUMES = ("tmp", "shm", "cache", FACTS_VOLUME)
_OWN_PATHS = ("/tmp", "/dev/shm", _TERMINATION_LOG, _CACHE, FACTS)  # noqa: S108  a path in the container


def attempt_job(
    settled: Settled,
    trial: GraphTrial,
    spec: TrialSpec,
    *,
    namespace: str,
    labels: Mapping[str, str],
    owner: Object,
    install: Install,
) -> Object:
    """The Job of a trial's latest attempt.

    Args:
        settled: The search.
        trial: With the attempt, which is intended and not started.
        spec: What the trainer is told.
        namespace: Of the search and all its children.
        labels: As ``labels_of``; on the Job and on its pod.
        owner: The ownerReference of the trial's object.
        install: What holds for every pod.
    """
    told = json.dumps(spec.to_json(), separators=(",", ":"))
    container: Object = {
        "env": [{"name": SPEC_VARIABLE, "value": told}],
        "ports": [{"name": n.METRICS_PORT_NAME, "containerPort": spec.metrics_port}],
        "resources": _resources(settled.spec.trainer, gpu=True),
    }
    made = job(settled, trial, container, namespace=namespace, labels=labels, owner=owner, install=install)
    if install.scrape_annotations:
        made["spec"]["template"]["metadata"]["annotations"] = {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(spec.metrics_port),
            "prometheus.io/path": "/metrics",
        }
    return made


def job(
    settled: Settled,
    trial: GraphTrial,
    container: Object,
    *,
    namespace: str,
    labels: Mapping[str, str],
    owner: Object,
    install: Install,
    volumes: Sequence[tuple[Object, Object]] = (),
) -> Object:
    """A Job with one container of the trainer image.

    Args:
        settled: The search.
        trial: Whose latest attempt it is.
        container: What is particular: command, arguments, variables, ports, resources.
        namespace: Of the search and all its children.
        labels: On the Job and on its pod.
        owner: The ownerReference of the trial's object.
        install: What holds for every pod.
        volumes: Beside those of every pod: (volume, mount).
    """
    assert trial.attempt is not None
    trainer = settled.spec.trainer
    all_volumes = [*_volumes(trainer), *volumes]
    whole = _container(settled, install) | container
    whole["env"] = [*whole["env"], *_variables(settled)]
    whole["volumeMounts"] = [mount for _, mount in all_volumes] + [mount.to_json() for mount in trainer.volume_mounts]
    pod = _pod(trainer, install) | {
        "containers": [whole],
        "volumes": [volume for volume, _ in all_volumes] + [volume.to_json() for volume in trainer.volumes],
    }
    queue = {n.QUEUE_LABEL: trainer.queue_name} if trainer.queue_name else {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": n.attempt_name(trial.name, trial.attempt.number),
            "namespace": namespace,
            "labels": {**labels, **queue},
            "ownerReferences": [owner],
        },
        "spec": {
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _failure_rules()},
            "template": {"metadata": {"labels": dict(labels)}, "spec": pod},
        },
    }


def labels_of(settled: Settled, facts: SearchFacts, trial: GraphTrial) -> dict[str, str]:
    """What a trial, its Job and its pod are found by; the attempt's number once there is one."""
    attempt = {n.ATTEMPT_LABEL: str(trial.attempt.number)} if trial.attempt else {}
    return {
        "app.kubernetes.io/name": "graphsearch",
        "app.kubernetes.io/component": "trainer",
        n.SEARCH_LABEL: settled.name,
        n.SEARCH_UID_LABEL: facts.uid,
        n.TRIAL_LABEL: trial.name,
        n.PURPOSE_LABEL: trial.spec.purpose.value,
        **attempt,
    }


def place(settled: Settled, facts: SearchFacts, namespace: str, install: Install) -> Place:
    """Where the trials of a search run and save (design 8)."""
    trainer, uri = settled.spec.trainer, settled.spec.checkpoint.uri.rstrip("/")
    limits, requests = trainer.resources.limits, trainer.resources.requests
    cores = _cores(limits.get("cpu", requests.get("cpu", 1)))
    has_gpu = any(name.startswith(_GPU_VENDOR) and str(count) != "0" for name, count in limits.items())
    return Place(
        root=f"{uri}/{namespace}/{settled.name}-{facts.uid[:8]}",
        teachers=f"{uri}/{namespace}/teachers",
        threads=min(_MOST_THREADS, max(1, int(cores))),
        device=Device.CUDA if has_gpu else Device.CPU,
        metrics_port=install.metrics_port,
        cache=f"{_CACHE}/graphsearch" if trainer.cache_volume else "",
    )


def problems(settled: Settled, install: Install) -> list[str]:
    """What keeps a valid manifest from running on this installation, one line each; none if it can."""
    trainer = settled.spec.trainer
    found = [] if trainer.image or install.default_image else ["spec.trainer.image: is required; there is no default"]
    return [*found, *_of_checkpoint(settled), *_of_resources(trainer), *_of_variables(settled), *_of_volumes(trainer)]


def _of_checkpoint(settled: Settled) -> Iterator[str]:
    field, uri = "spec.checkpoint.uri", settled.spec.checkpoint.uri
    parts = urlsplit(uri)
    if not uri:
        yield f"{field}: is required on a cluster; name a bucket, such as s3://searches"
    elif parts.scheme == "s3":
        if not parts.netloc:
            yield f"{field}: names no bucket; write s3://BUCKET or s3://BUCKET/PREFIX"
    elif parts.scheme != "file":
        yield f"{field}: {uri} is not s3://; name a bucket, such as s3://searches"
    elif not any(_contains(mount.mount_path, parts.path) for mount in settled.spec.trainer.volume_mounts):
        yield f"{field}: {uri} lies on no volume of spec.trainer.volumeMounts; it would go with the pod"


def _of_resources(trainer: Trainer) -> Iterator[str]:
    resources = trainer.resources
    for name, quantities in (("limits", resources.limits), ("requests", resources.requests)):
        if "cpu" in quantities:
            try:
                _cores(quantities["cpu"])
            except ValueError:
                field = f"spec.trainer.resources.{name}.cpu"
                yield f"{field}: {quantities['cpu']!r} is no quantity of cores; write 2 or 500m"
    for name in resources.requests:
        if name.startswith(_GPU_VENDOR) and name not in resources.limits:
            yield f"spec.trainer.resources.requests.{name}: a GPU is asked for under limits"


def _of_variables(settled: Settled) -> Iterator[str]:
    credentials = _CREDENTIALS if settled.spec.checkpoint.credentials_secret_ref else ()
    for position, variable in enumerate(settled.spec.trainer.env):
        field = f"spec.trainer.env[{position}].name"
        if variable.name in _OWN_VARIABLES:
            yield f"{field}: {variable.name} is set by the operator; use another name"
        elif variable.name in credentials:
            yield f"{field}: {variable.name} comes from spec.checkpoint.credentialsSecretRef; give one of the two"


def _of_volumes(trainer: Trainer) -> Iterator[str]:
    names: set[str] = set()
    for position, volume in enumerate(trainer.volumes):
        field = f"spec.trainer.volumes[{position}].name"
        if volume.name in _OWN_VOLUMES:
            yield f"{field}: {volume.name} is the operator's own; use another name"
        elif volume.name in names:
            yield f"{field}: {volume.name} is used twice"
        names.add(volume.name)
    paths: set[str] = set()
    for position, mount in enumerate(trainer.volume_mounts):
        field = f"spec.trainer.volumeMounts[{position}]"
        if mount.name not in names:
            yield f"{field}.name: there is no volume {mount.name} in spec.trainer.volumes"
        if not mount.mount_path.startswith("/"):
            yield f"{field}.mountPath: {mount.mount_path} is not absolute; begin it with /"
        elif hidden := [path for path in _OWN_PATHS if _contains(mount.mount_path, path)]:
            yield f"{field}.mountPath: {mount.mount_path} would hide {hidden[0]}, which trainers need; mount elsewhere"
        elif mount.mount_path in paths:
            yield f"{field}.mountPath: {mount.mount_path} is used twice"
        paths.add(mount.mount_path)


def _contains(folder: str, path: str) -> bool:
    return PurePosixPath(path).is_relative_to(PurePosixPath(folder))


def _cores(quantity: str | int) -> float:
    """A quantity of CPU in cores.

    Raises:
        ValueError: If it is none.
    """
    text = str(quantity)
    cores = float(text[:-1]) / 1000 if text.endswith("m") else float(text)
    if not 0 <= cores < float("inf"):
        raise ValueError(f"{quantity} is no number of cores")
    return cores


def _resources(trainer: Trainer, *, gpu: bool) -> Object:
    """As the user writes them; without devices for what needs none."""
    found = {"limits": trainer.resources.limits, "requests": trainer.resources.requests}
    return {
        kind: {name: str(count) for name, count in quantities.items() if gpu or not name.startswith(_GPU_VENDOR)}
        for kind, quantities in found.items()
        if quantities
    }


def report_resources(trainer: Trainer) -> Object:
    """Of a container that trains nothing."""
    return _resources(trainer, gpu=False)


def _failure_rules() -> list[Object]:
    final = [int(code) for code in (ExitCode.BAD_SPEC, ExitCode.BAD_DATA, ExitCode.DIVERGED)]
    return [
        {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"containerName": n.CONTAINER, "operator": "In", "values": final}},
    ]


def _pod(trainer: Trainer, install: Install) -> Object:
    """The pod's own fields; what the user left out stays out."""
    chosen: Object = {
        "nodeSelector": dict(trainer.node_selector),
        "affinity": dict(trainer.affinity),
        "priorityClassName": trainer.priority_class_name,
        "runtimeClassName": trainer.runtime_class_name,
        "imagePullSecrets": [reference.to_json() for reference in trainer.image_pull_secrets],
        "serviceAccountName": trainer.service_account_name,
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": install.termination_grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "fsGroup": _GROUP_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "tolerations": [
            *(
                {
                    "key": f"node.kubernetes.io/{taint}",
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": _UNREACHABLE_SECONDS,
                }
                for taint in ("unreachable", "not-ready")
            ),
            *(toleration.to_json() for toleration in trainer.tolerations),
        ],
        **{name: value for name, value in chosen.items() if value},
    }


def _container(settled: Settled, install: Install) -> Object:
    image = settled.spec.trainer.image
    pull = {} if image or not install.image_pull_policy else {"imagePullPolicy": install.image_pull_policy}
    return {
        "name": n.CONTAINER,
        "image": image or install.default_image,
        **pull,
        "terminationMessagePath": _TERMINATION_LOG,
        # Whoever crashes without a message has its last lines on the log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "env": [],
    }


def _variables(settled: Settled) -> list[Object]:
    """Of every container: our own first, then the user's, which may refer to them."""
    secret = settled.spec.checkpoint.credentials_secret_ref
    credentials = [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": secret.name, "key": key}}}
        for key in _CREDENTIALS
        if secret is not None
    ]
    fields = (("POD_NAME", "metadata.name"), ("POD_UID", "metadata.uid"))
    return [
        {"name": _TERMINATION_LOG_VARIABLE, "value": _TERMINATION_LOG},
        *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields),
        *credentials,
        *(variable.to_json() for variable in settled.spec.trainer.env),
    ]


def _volumes(trainer: Trainer) -> list[tuple[Object, Object]]:
    """Of every pod: the root is read-only, and shared memory of 64 MiB is too little."""
    cache = trainer.cache_volume
    found: list[tuple[Object, Object]] = [
        ({"name": "tmp", "emptyDir": {}}, {"name": "tmp", "mountPath": "/tmp"}),  # noqa: S108
        ({"name": "shm", "emptyDir": {"medium": "Memory"}}, {"name": "shm", "mountPath": "/dev/shm"}),  # noqa: S108
    ]
    if cache is not None:
        claim = {"claimName": cache.claim_name}
        found.append(({"name": "cache", "persistentVolumeClaim": claim}, {"name": "cache", "mountPath": _CACHE}))
    return found
