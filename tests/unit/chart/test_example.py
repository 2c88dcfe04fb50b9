"""The example of the cluster is valid, and small enough for an afternoon."""

from __future__ import annotations

from pathlib import Path

from graphsearch.api import read_manifest
from graphsearch.search.settled import settle

EXAMPLE = Path(__file__).parents[3] / "examples/cluster/digits.yaml"


def test_the_example_is_valid_and_has_twelve_trials():
    """With checkpoints in S3 by a Secret's keys."""
    manifest = read_manifest(EXAMPLE)
    assert settle(manifest).spec.budget.max_trials == 12
    assert manifest.spec.checkpoint.uri.startswith("s3://")
    assert manifest.spec.checkpoint.credentials_secret_ref is not None
