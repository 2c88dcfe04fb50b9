"""The program called as a shell calls it, against a real API server; the operator's part is written by hand."""

from __future__ import annotations

import pytest

from graphsearch.cli.main import main


@pytest.fixture
def cluster(kinds):
    """Seen as its user sees it."""
    return kinds


@pytest.fixture
def namespace(namespace, cluster, monkeypatch):
    """A fresh one, which the current kubeconfig does not name."""
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    return namespace


@pytest.fixture
def graphsearch(capsys, namespace):
    """Calls the program in that namespace: exit code, standard output, standard error."""

    def call(*arguments):
        code = main([*map(str, arguments), "--namespace", namespace])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call
