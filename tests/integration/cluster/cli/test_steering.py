"""What is wanted of a search on a real API server, and what is said where nothing can be had."""

from __future__ import annotations

import json
import threading

import pytest
from tests.integration.cluster.recorded_search import played, record
from tests.searches import HandPlayed, a_search

from graphsearch.cli.exits import Exit


@pytest.mark.parametrize(
    ("command", "wanted"),
    [("pause", "Paused"), ("resume", "Running"), ("finish", "Finishing"), ("cancel", "Cancelled")],
)
def test_each_command_sets_its_desired_state(graphsearch, cluster, namespace, command, wanted):
    """And nothing else of the specification."""
    recorded = record(cluster, a_search().obj(), namespace, "s")
    before = recorded.object["spec"]
    code, out, _ = graphsearch(command, "s", "-o", "json")
    assert code == Exit.OK
    assert json.loads(out)["desiredState"] == wanted
    after = json.loads(cluster.kubectl("get", "graphsearch/s", "-n", namespace, "-o", "json"))["spec"]
    assert after == before | {"desiredState": wanted}


@pytest.mark.parametrize("final", ["finish", "cancel"])
def test_a_final_state_is_not_left_again(graphsearch, cluster, namespace, final):
    """The API server refuses it, in its own words."""
    record(cluster, a_search().obj(), namespace, "s")
    assert graphsearch(final, "s")[0] == Exit.OK
    code, out, err = graphsearch("resume", "s")
    assert (code, out) == (Exit.REFUSED, "")
    assert "desiredState" in err
    assert err.count("\n") == 1


def test_wait_returns_when_the_condition_shows_it(graphsearch, cluster, namespace):
    """Not before the operator has taken note and nothing trains any more."""
    search = a_search().trials(2).evaluations(4)
    world = HandPlayed(search.settled()).look()
    recorded = record(cluster, search.obj(), namespace, "s").show(world.ledger)

    def operate() -> None:
        cluster.kubectl(
            "wait", "graphsearch/s", "-n", namespace, "--for=jsonpath={.spec.desiredState}=Paused", "--timeout=60s"
        )
        world.change(search.wanted("Paused")).end(0, 143)
        recorded.manifest = recorded.manifest.model_copy(update={"spec": search.wanted("Paused").obj().spec})
        recorded.object["metadata"]["generation"] += 1
        recorded.show(world.ledger)

    operator = threading.Thread(target=operate)
    operator.start()
    code, out, _ = graphsearch("pause", "s", "--wait")
    operator.join()
    assert (code, out) == (Exit.OK, "s: desiredState is Paused, state Paused\n")


def test_a_search_that_has_ended_keeps_nobody_waiting(graphsearch, cluster, namespace):
    """What was asked for will never show; that it has ended is said instead."""
    search = a_search().trials(2).evaluations(2)
    record(cluster, search.obj(), namespace, "s").show(played(search))
    code, out, _ = graphsearch("cancel", "s", "--wait")
    assert (code, out) == (Exit.OK, "s: has ended (Completed)\n")


@pytest.mark.parametrize(
    "arguments", [["status", "s"], ["report", "s"], ["explain", "s-t0"], ["pause", "s"], ["logs", "s"], ["purge", "s"]]
)
def test_what_is_not_there_is_named_with_its_namespace(graphsearch, namespace, arguments):
    """One line, one code."""
    code, _, err = graphsearch(*arguments)
    assert code == Exit.NOT_FOUND
    assert namespace in err
    assert err.count("\n") == 1


def test_a_user_without_rights_is_told_so(graphsearch, cluster, namespace, monkeypatch):
    """The API server's words say which right is missing."""
    cluster.kubectl("create", "serviceaccount", "nobody", "-n", namespace)
    user = f"system:serviceaccount:{namespace}:nobody"
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig_for(user)))
    code, _, err = graphsearch("status", "s")
    assert code == Exit.FORBIDDEN
    assert f'{user}" cannot get resource "graphsearches"' in err


def test_a_cluster_that_does_not_answer(graphsearch, cluster, monkeypatch, tmp_path):
    """The message points at kubeconfig, context and network."""
    dead = tmp_path / "dead"
    dead.write_text(cluster.kubeconfig.read_text().replace(cluster.url, "https://127.0.0.1:1"))
    monkeypatch.setenv("KUBECONFIG", str(dead))
    code, _, err = graphsearch("status", "s")
    assert code == Exit.UNREACHABLE
    assert "check --kubeconfig, --context and the network" in err


def test_a_context_that_is_not_there(graphsearch, namespace):
    """The kubeconfig is named."""
    code, _, err = graphsearch("status", "s", "--context", "nowhere")
    assert code == Exit.UNREACHABLE
    assert "nowhere" in err
