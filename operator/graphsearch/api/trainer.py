"""The pods that train, where they save and where their scores are read: what a manifest says of a cluster.

Pods are described by typed fields: there is no hostPath and no security context, because who may create a search
must not thereby own the node it runs on. Only what Kubernetes itself validates deeply is passed on as it is.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from graphtrial.contract import Length, Model, Violation, refuse

_Text = Annotated[str, Field(max_length=1024)]
_Fragment = dict[str, Any]
_Quantities = dict[str, str | int | float]


class CacheVolume(Model):
    """Where decoded images are kept on a cluster."""

    claim_name: _Text


class LocalReference(Model):
    """Another object of the same namespace."""

    name: _Text


class Resources(Model):
    """Of a trainer pod, as Kubernetes quantities."""

    limits: _Quantities = Field(default_factory=dict)
    requests: _Quantities = Field(default_factory=dict)


class Toleration(Model):
    """As Kubernetes has it."""

    key: _Text = ""
    operator: Literal["Exists", "Equal"] = "Equal"
    value: _Text = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    toleration_seconds: int | None = None


class EnvironmentVariable(Model):
    """A value, or where it comes from."""

    name: _Text
    value: _Text = ""
    value_from: _Fragment | None = None


class Volume(Model):
    """Exactly one source beside the name."""

    name: _Text
    persistent_volume_claim: _Fragment | None = None
    empty_dir: _Fragment | None = None
    config_map: _Fragment | None = None
    secret: _Fragment | None = None
    ephemeral: _Fragment | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for name, value in self if name != "name") != 1:
            right = "persistentVolumeClaim, emptyDir, configMap, secret, ephemeral"
            refuse("Volume", [Violation((), f"give exactly one of {right}")])
        return self


class VolumeMount(Model):
    """Where a volume appears in the container."""

    name: _Text
    mount_path: _Text
    sub_path: _Text = ""
    read_only: bool = False


class Trainer(Model):
    """The pods that train, on a cluster."""

    image: _Text = ""
    resources: Resources = Resources()
    queue_name: _Text = ""
    """Of Kueue."""
    cache_volume: CacheVolume | None = None
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=32)] = ()
    affinity: _Fragment = Field(default_factory=dict)
    priority_class_name: _Text = ""
    runtime_class_name: _Text = ""
    image_pull_secrets: Annotated[tuple[LocalReference, ...], Field(max_length=16)] = ()
    env: Annotated[tuple[EnvironmentVariable, ...], Field(max_length=64)] = ()
    volumes: Annotated[tuple[Volume, ...], Field(max_length=32)] = ()
    volume_mounts: Annotated[tuple[VolumeMount, ...], Field(max_length=32)] = ()
    service_account_name: _Text = ""
    start_deadline_seconds: Annotated[int, Field(ge=1)] = 3600
    """After which an attempt that cannot start ends."""


class CheckpointChoice(Model):
    """Where checkpoints lie; locally the search's folder, whatever stands here."""

    uri: _Text = ""
    endpoint: _Text = ""
    region: _Text = ""
    path_style: bool = False
    credentials_secret_ref: LocalReference | None = None
    every: Length = Length(epochs=1)


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
    fallback: Fallback = Fallback.DIRECT
