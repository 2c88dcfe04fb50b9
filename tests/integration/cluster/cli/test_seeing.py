"""What is shown of searches and trials on a real API server: status, explain, logs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from e2e.cluster.binaries import binary
from tests.integration.cluster.kubelet import logs_of_pods
from tests.integration.cluster.recorded_search import played, record
from tests.searches import HandPlayed, a_search

from graphsearch.api import Condition, ConditionStatus, ConditionType, GraphTrialObjectStatus
from graphsearch.api import names as n
from graphsearch.api.wire import trial_spec_to_wire
from graphsearch.cli.exits import Exit
from graphsearch.cli.main import main
from graphsearch.search.settled import settle
from graphsearch.search.status import summarise


def test_status_is_the_same_table_as_on_one_machine(graphsearch, cluster, namespace):
    """Counters, rungs, best and costs, out of the objects' facts."""
    search = a_search().trials(16).parallel(4).evaluations(8).compared(1, 2)
    ledger = played(search)
    recorded = record(cluster, search.obj(), namespace, "s").show(ledger)
    code, out, _ = graphsearch("status", "s", "-o", "json")
    assert code == Exit.OK
    told, expected = json.loads(out), summarise(settle(recorded.manifest), ledger, 0.0)
    # Sums of floats depend on the order of the trials.
    assert told.pop("seconds") == pytest.approx(expected.seconds.model_dump())
    assert told == json.loads(expected.model_dump_json(by_alias=True, exclude={"seconds"}))
    code, out, _ = graphsearch("status", "s")
    assert "trials 16/16" in out
    assert "Completed" in out


def test_a_search_that_nobody_has_looked_at_says_so(graphsearch, cluster, namespace):
    """The first question of who has installed nothing, or into other namespaces."""
    record(cluster, a_search().obj(), namespace, "s")
    code, out, _ = graphsearch("status", "s", "-o", "json")
    assert code == Exit.OK
    assert "no operator has looked at it" in json.loads(out)["message"]


def test_searches_are_listed_by_namespace_and_all(graphsearch, cluster, namespace, capsys):
    """As the operator last wrote them; a search of this namespace is not one of another."""
    search = a_search().trials(4).evaluations(4)
    recorded = record(cluster, search.obj(), namespace, "mine").show(played(search))
    code, out, _ = graphsearch("status", "-o", "json")
    assert code == Exit.OK
    (row,) = json.loads(out)
    assert (row["namespace"], row["name"], row["state"]) == (namespace, "mine", "Completed")
    _, out, _ = graphsearch("status")
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [["mine", "Completed"]]
    assert main(["status", "-A"]) == Exit.OK
    assert [namespace, recorded.name] in [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert main(["status", "-n", "default"]) == Exit.OK
    assert "no searches in this namespace" in capsys.readouterr().out


def test_watch_follows_a_search_to_its_end(cluster, namespace):
    """Trials that begin and end between two looks are told as well, although finished ones are not listed."""
    search = a_search().trials(6).parallel(1).evaluations(1).never_stopping()
    world = HandPlayed(search.settled()).look()
    recorded = record(cluster, search.obj(), namespace, "s").show(world.ledger)
    with watching(namespace) as watch:
        assert watch.stdout.readline() == "search: Searching\n"
        for index in range(6):
            world.finish(index, 0.5 + index / 10)
        recorded.show(world.ledger)
        told = watch.stdout.read()
        watch.wait(30)
    assert watch.returncode == Exit.OK
    assert [line.split()[0] for line in told.splitlines() if "Succeeded" in line] == [f"s-t{i}" for i in range(6)]
    assert told.splitlines()[-1] == "search: Completed"


def test_watch_goes_on_when_the_api_server_comes_back(cluster, namespace):
    """Whoever looks on need not begin again."""
    search = a_search().trials(1).evaluations(1).never_stopping()
    world = HandPlayed(search.settled()).look()
    recorded = record(cluster, search.obj(), namespace, "s").show(world.ledger)
    with watching(namespace) as watch:
        assert watch.stdout.readline() == "search: Searching\n"
        cluster.stop_api_server()
        try:
            assert watch.stdout.readline().endswith("; trying again\n")
        finally:
            cluster.start_api_server()
        recorded.show(world.finish(0, 0.5).ledger)
        assert watch.stdout.read().splitlines()[-1] == "search: Completed"
        watch.wait(30)
    assert watch.returncode == Exit.OK


def test_watch_says_that_a_manifest_was_refused(cluster, namespace):
    """As status does without it; a search that does not run is not shown as searching."""
    search = a_search().trials(1)
    record(cluster, search.obj(), namespace, "s")
    refused = {"type": "Accepted", "status": "False", "reason": "InvalidSpec", "message": "spec.graphs: too many"}
    condition = refused | {"observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}
    patch = json.dumps({"status": {"conditions": [condition]}})
    cluster.kubectl("patch", "graphsearches", "s", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    with watching(namespace) as watch:
        assert watch.stdout.readline() == "search: InvalidSpec\n"


@contextmanager
def watching(namespace):
    """The command in a process of its own, which is gone at the end."""
    command = [sys.executable, "-u", "-m", "graphsearch.cli", "status", "s", "--watch", "-n", namespace]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as watch:
        try:
            yield watch
        finally:
            watch.kill()


def test_a_stopped_trial_is_explained(graphsearch, cluster, namespace):
    """Rung, score, rank, of how many, what it would have taken, and where the score came from."""
    search = a_search().trials(3).parallel(3).evaluations(4)
    world = HandPlayed(search.settled()).look().look((0, 1, 0.5)).look((1, 1, 0.7)).look((2, 1, 0.25))
    record(cluster, search.obj(), namespace, "s").show(world.end(2, 143).ledger)
    code, out, _ = graphsearch("explain", "s-t2")
    assert code == Exit.OK
    assert "stopped at rung 1: score 0.2500 ranked 3 of 3; the best 1 went on, which took at least 0.7000" in out
    told = json.loads(graphsearch("explain", "s-t2", "-o", "json")[1])
    assert told["rungs"][0]["rung"]["source"] == "Direct"
    assert [attempt["exitCode"] for attempt in told["attempts"]] == [143]


def test_a_waiting_trial_says_why(graphsearch, cluster, namespace):
    """In the scheduler's words, as the trial's condition hands them on."""
    world = HandPlayed(a_search().trials(1).settled()).look()
    waits = Condition(
        type=ConditionType.PROGRESSING,
        status=ConditionStatus.TRUE,
        last_transition_time="2026-01-01T00:00:00Z",
        reason="Unschedulable",
        message="0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
    )
    shown = GraphTrialObjectStatus(conditions=(waits,))
    record(cluster, a_search().trials(1).obj(), namespace, "s").show(world.ledger, shown=shown)
    _, out, _ = graphsearch("explain", "s-t0")
    assert "Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu." in out


def test_a_trial_applied_by_hand_is_explained_without_a_search(graphsearch, cluster, namespace):
    """It is a search of its own, of any name."""
    search = a_search().trials(1).obj()
    trial = HandPlayed(settle(search)).look().ledger.trials[0]
    spec = trial_spec_to_wire(trial) | {"data": search.spec.data.to_json(), "searchRef": ""}
    metadata = {"name": "by-hand", "namespace": namespace}
    made = {"apiVersion": f"{n.GROUP}/{n.VERSION}", "kind": "GraphTrial", "metadata": metadata, "spec": spec}
    cluster.kubectl("create", "-f", "-", input=json.dumps(made))
    code, out, _ = graphsearch("explain", "by-hand", "-o", "json")
    assert code == Exit.OK
    assert {key: json.loads(out)[key] for key in ("trial", "outcome", "why")} == {
        "trial": "by-hand",
        "outcome": None,
        "why": "is not over",
    }


def test_a_teacher_of_a_trial_applied_by_hand_is_explained(graphsearch, cluster, namespace):
    """It names a search that no object stands for; the trial that was applied does."""
    search = a_search().trials(1).obj()
    trial = HandPlayed(settle(search)).look().ledger.trials[0]
    spec = trial_spec_to_wire(trial) | {"data": search.spec.data.to_json(), "searchRef": ""}
    made = {"apiVersion": f"{n.GROUP}/{n.VERSION}", "kind": "GraphTrial", "metadata": {"namespace": namespace}}
    cluster.kubectl("create", "-f", "-", input=json.dumps(_named(made | {"spec": spec}, "by-hand")))
    applied = json.loads(cluster.kubectl("get", "graphtrials", "by-hand", "-n", namespace, "-o", "json"))
    owner = {key: applied[key] for key in ("apiVersion", "kind")} | {
        key: applied["metadata"][key] for key in ("name", "uid")
    }
    teacher = _named(made | {"spec": spec | {"purpose": "Pretrain", "searchRef": "by-hand", "index": 1}}, "by-hand-t1")
    teacher["metadata"]["ownerReferences"] = [owner | {"controller": True}]
    cluster.kubectl("create", "-f", "-", input=json.dumps(teacher))
    code, out, err = graphsearch("explain", "by-hand-t1", "-o", "json")
    assert (code, err) == (Exit.OK, "")
    assert json.loads(out)["purpose"] == "Pretrain"


def _named(obj, name):
    return obj | {"metadata": obj["metadata"] | {"name": name}}


def test_logs_of_live_pods_have_their_attempt_in_front(graphsearch, cluster, namespace, tmp_path):
    """Those of other searches and of pods that do not run are left out, unless the trial is named."""
    recorded = record(cluster, a_search().having(checkpoint={"uri": "s3://searches"}).obj(), namespace, "s")
    with logs_of_pods(cluster, tmp_path) as node:
        node.pod(namespace, "s-t0-a1-x", _labels(recorded.uid, 0), "Running", "one\ntwo\n")
        node.pod(namespace, "s-t1-a1-x", _labels(recorded.uid, 1), "Failed", "three\n")
        node.pod(namespace, "other", _labels("other", 0), "Running", "four\n")
        code, out, err = graphsearch("logs", "s")
        assert (code, err) == (Exit.OK, "")
        assert out == "s-t0-a1 | one\ns-t0-a1 | two\n"
        assert graphsearch("logs", "s", "--trial", 1)[1] == "s-t1-a1 | three\n"
        objects = map(json.loads, graphsearch("logs", "s", "--trial", 1, "-o", "json")[1].splitlines())
        assert list(objects) == [{"trial": "s-t1", "attempt": 1, "pod": "s-t1-a1-x", "line": "three"}]
        code, out, err = graphsearch("logs", "s", "--trial", 2)
    assert (code, out) == (Exit.OK, "")
    assert f"s3://searches/{namespace}/s-{recorded.uid[:8]}/trials/2/reports/" in err


def test_logs_are_followed_until_the_search_ends(graphsearch, cluster, namespace, tmp_path):
    """Pods that come later are followed as well."""
    search = a_search().trials(1).evaluations(1).never_stopping()
    world = HandPlayed(search.settled()).look()
    recorded = record(cluster, search.obj(), namespace, "s").show(world.ledger)
    with logs_of_pods(cluster, tmp_path) as node:
        node.pod(namespace, "s-t0-a1-x", _labels(recorded.uid, 0), "Running", "first\n")

        def later() -> None:
            node.was_read.wait(60)
            node.pod(namespace, "s-t1-a1-x", _labels(recorded.uid, 1), "Running", "second\n")
            recorded.show(world.finish(0, 0.5).ledger)

        thread = threading.Thread(target=later)
        thread.start()
        code, out, _ = graphsearch("logs", "s", "--follow")
        thread.join()
    assert code == Exit.OK
    assert sorted(out.splitlines()) == ["s-t0-a1 | first", "s-t1-a1 | second"]


def _labels(uid, index):
    return {n.SEARCH_UID_LABEL: uid, n.SEARCH_LABEL: "s", n.TRIAL_LABEL: f"s-t{index}", n.ATTEMPT_LABEL: "1"}


def test_kubectl_finds_the_program_as_its_own_command(cluster, namespace):
    """`kubectl graphsearch`, where the package is installed beside kubectl; usage names it so."""
    search = a_search().trials(4)
    record(cluster, search.obj(), namespace, "s").show(played(search))
    environment = os.environ | {"PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))}
    kubectl = [binary("kubectl"), "graphsearch"]

    def call(*arguments):
        return subprocess.run([*kubectl, *arguments], env=environment, capture_output=True, text=True, check=False)

    done = call("status", "s", "-n", namespace, "-o", "json")
    assert (done.returncode, done.stderr) == (Exit.OK, "")
    assert json.loads(done.stdout)["created"] == 4
    assert call("status", "none", "-n", namespace).returncode == Exit.NOT_FOUND
    assert call("status", "--help").stdout.startswith("usage: kubectl graphsearch status")
