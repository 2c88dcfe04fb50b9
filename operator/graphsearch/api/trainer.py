"""The pods that train, where they save and where their scores are read: what a manifest says of a cluster.

Pods are described by typed fields: there is no hostPath and no security context, because who may create a search
must not thereby own the node it runs on. Only what Kubernetes itself validates deeply is passed on as it is.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from graphtrial.contract import Length, Model, Violation, refuse

_Text = Annotated[str, Field(max_length=1024)]
_Label = Annotated[str, Field(max_length=317)]
"""A prefix of 253 characters, a slash and a name of 63."""
_SECONDS = 2**31 - 1
_Fragment = dict[str, Any]


def _whole(quantity: object) -> object:
    """A pod's manifest may have a broken number here; an int-or-string of a definition may not."""
    if isinstance(quantity, float):
        raise ValueError(f'must be a string or a whole number: write "{quantity:g}" in quotes')
    return quantity


_Quantity = Annotated[Annotated[str, Field(max_length=64)] | int, BeforeValidator(_whole)]
_Quantities = Annotated[dict[_Label, _Quantity], Field(max_length=16)]


class CacheVolume(Model):
    """Where decoded images are kept on a cluster."""

    claim_name: _Text
    """A PersistentVolumeClaim of the same namespace that many pods may write."""


class LocalReference(Model):
    """Another object of the same namespace."""

    name: _Text
    """Its name."""


class Resources(Model):
    """Of a trainer pod, as Kubernetes quantities."""

    limits: _Quantities = Field(default_factory=dict)
    """At most; with ``nvidia.com/gpu`` a trial trains on a GPU."""
    requests: _Quantities = Field(default_factory=dict)
    """At least, for the scheduler."""


class Toleration(Model):
    """As Kubernetes has it."""

    key: _Text = ""
    """Of the taint; empty with Exists: any."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """How the taint's value is compared."""
    value: _Text = ""
    """Of the taint, with Equal."""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    """Of the taint; empty: any."""
    toleration_seconds: int | None = None
    """NoExecute: how long it is tolerated; left out: for ever."""


class EnvironmentVariable(Model):
    """A value, or where it comes from."""

    name: _Text
    """Of the variable."""
    value: _Text = ""
    """The text itself."""
    value_from: _Fragment | None = None
    """Where the text comes from, as in a pod: configMapKeyRef, secretKeyRef, fieldRef."""


class Volume(Model):
    """Exactly one source beside the name."""

    name: _Text
    """What mounts call it."""
    persistent_volume_claim: _Fragment | None = None
    """As in a pod."""
    empty_dir: _Fragment | None = None
    """As in a pod."""
    config_map: _Fragment | None = None
    """As in a pod."""
    secret: _Fragment | None = None
    """As in a pod."""
    ephemeral: _Fragment | None = None
    """As in a pod."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for name, value in self if name != "name") != 1:
            right = "persistentVolumeClaim, emptyDir, configMap, secret, ephemeral"
            refuse("Volume", [Violation((), f"give exactly one of {right}")])
        return self


class VolumeMount(Model):
    """Where a volume appears in the container."""

    name: _Text
    """Of the volume."""
    mount_path: _Text
    """Where, as an absolute path."""
    sub_path: _Text = ""
    """Only this folder of the volume."""
    read_only: bool = False
    """Whether it cannot be written there."""


class Trainer(Model):
    """The pods that train, on a cluster."""

    image: _Text = ""
    """Left out: what the installation names."""
    resources: Resources = Resources()
    """Of every trainer pod."""
    queue_name: _Text = ""
    """Of Kueue: the LocalQueue that admits trials."""
    cache_volume: CacheVolume | None = None
    node_selector: Annotated[dict[_Label, _Text], Field(max_length=32)] = Field(default_factory=dict)
    """Labels that a node must have."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=32)] = ()
    """Taints that do not keep trials off a node."""
    affinity: _Fragment = Field(default_factory=dict)
    """As in a pod."""
    priority_class_name: _Text = ""
    """As in a pod."""
    runtime_class_name: _Text = ""
    """As in a pod."""
    image_pull_secrets: Annotated[tuple[LocalReference, ...], Field(max_length=16)] = ()
    """Secrets of the same namespace with which the image is pulled."""
    env: Annotated[tuple[EnvironmentVariable, ...], Field(max_length=64)] = ()
    """Further variables of the trainer's environment."""
    volumes: Annotated[tuple[Volume, ...], Field(max_length=32)] = ()
    """Further volumes of the pod."""
    volume_mounts: Annotated[tuple[VolumeMount, ...], Field(max_length=32)] = ()
    """Where they appear in the trainer."""
    service_account_name: _Text = ""
    """Whose rights the pod has in storage; it gets no token of the API server."""
    start_deadline_seconds: Annotated[int, Field(ge=1, le=_SECONDS)] = 3600
    """After which an attempt that cannot start ends."""


class CheckpointChoice(Model):
    """Where checkpoints lie; locally the search's folder, whatever stands here."""

    uri: _Text = ""
    """Below which everything lies: ``s3://bucket/prefix``."""
    endpoint: _Text = ""
    """Of an S3 server that is not AWS."""
    region: _Text = ""
    """Of the bucket."""
    path_style: bool = False
    """Whether the bucket stands in the path and not in the host's name."""
    credentials_secret_ref: LocalReference | None = None
    """A Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; left out: the pod's identity."""
    every: Length = Length(epochs=1)
    """Between two checkpoints; rungs and the end are always saved."""


class MetricsSource(StrEnum):
    """Where rung scores are read."""

    PROMETHEUS = "Prometheus"
    DIRECT = "Direct"


class Fallback(StrEnum):
    """What is read while Prometheus does not answer."""

    DIRECT = "Direct"
    NONE = "None"


class Metrics(Model):
    """Where rung scores are read on a cluster; locally always from the trial itself."""

    source: MetricsSource = MetricsSource.PROMETHEUS
    """Where rung scores are read."""
    fallback: Fallback = Fallback.DIRECT
    """What is read while the source does not answer."""
