"""The report as a last Job: the operator knows the facts, the trainer image has storage and plotting (design 6).

The pod has no API token, so the recorded facts reach it in ConfigMaps. There are as many as the facts need, each far
below what the API server takes, so that no object grows with the search.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping

from graphsearch.api import API_VERSION, GraphSearch, GraphTrial, SearchFacts
from graphsearch.api.wire import Object
from graphsearch.cluster import jobs
from graphsearch.cluster.install import Install
from graphsearch.search.archive import pack, part_name
from graphsearch.search.settled import Settled
from graphtrial.contract import Purpose

_PART_BYTES = 45_000
"""Base64 makes 60,000 of them."""


def report_objects(
    settled: Settled,
    facts: SearchFacts,
    trials: Iterable[GraphTrial],
    trial: GraphTrial,
    *,
    namespace: str,
    labels: Mapping[str, str],
    owner: Object,
    install: Install,
) -> list[Object]:
    """ConfigMaps with the recorded facts, and last the Job that builds the report from them.

    Args:
        settled: The search.
        facts: Of the search, which has ended.
        trials: All of them; what is recorded of the Report trial itself is no part of the report.
        trial: The Report trial, with the attempt that is to be made.
        namespace: Of the search and all its children.
        labels: As ``jobs.labels_of``.
        owner: The ownerReference of the Report trial's object.
        install: What holds for every pod.
    """
    reported = (found for found in trials if found.spec.purpose is not Purpose.REPORT)
    parts = pack(manifest(settled, namespace), facts, reported, _PART_BYTES)
    # Parts of two packings, as of an operator that is killed between two of them, must not meet in one archive.
    prefix = f"{trial.name}-{hashlib.sha256(b''.join(parts)).hexdigest()[:10]}"
    maps = [_config_map(prefix, number, part, namespace, labels, owner) for number, part in enumerate(parts)]
    sources = [{"configMap": {"name": made["metadata"]["name"]}} for made in maps]
    volume = {"name": jobs.FACTS_VOLUME, "projected": {"sources": sources}}
    mount = {"name": jobs.FACTS_VOLUME, "mountPath": jobs.FACTS, "readOnly": True}
    container: Object = {
        "command": ["graphsearch"],
        "args": ["report", "build", f"--facts={jobs.FACTS}", *_store(settled, facts, namespace, install)],
        "env": [],
        "resources": jobs.report_resources(settled.spec.trainer),
    }
    made = jobs.job(
        settled,
        trial,
        container,
        namespace=namespace,
        labels=labels,
        owner=owner,
        install=install,
        volumes=[(volume, mount)],
    )
    return [*maps, made]


def manifest(settled: Settled, namespace: str) -> GraphSearch:
    """The manifest of a settled search."""
    head = {"apiVersion": API_VERSION, "kind": "GraphSearch"}
    metadata = {"name": settled.name, "namespace": namespace}
    return GraphSearch.model_validate(head | {"metadata": metadata, "spec": settled.spec})


def _store(settled: Settled, facts: SearchFacts, namespace: str, install: Install) -> list[str]:
    choice = settled.spec.checkpoint
    place = jobs.place(settled, facts, namespace, install)
    return [
        f"--store={place.root}",
        *([f"--endpoint={choice.endpoint}"] if choice.endpoint else []),
        *([f"--region={choice.region}"] if choice.region else []),
        *(["--path-style"] if choice.path_style else []),
    ]


def _config_map(
    prefix: str, number: int, part: bytes, namespace: str, labels: Mapping[str, str], owner: Object
) -> Object:
    """One part of the facts."""
    name = part_name(number)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"{prefix}-{name.removesuffix('.gz')}",
            "namespace": namespace,
            "labels": dict(labels),
            "ownerReferences": [owner],
        },
        "immutable": True,
        "binaryData": {name: base64.b64encode(part).decode()},
    }
