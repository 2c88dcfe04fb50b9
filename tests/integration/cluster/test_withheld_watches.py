"""Events that never come, of any kind, cost time and nothing else."""

from __future__ import annotations

import os
import signal

from e2e.cluster.simulated_node.faults import Fault
from tests.integration.cluster.installation import (
    apply,
    assert_scores_are_true,
    assert_sound,
    ranking,
    scores,
    undisturbed,
    wait_for,
)
from tests.integration.cluster.stage import quick, wait_until_running
from tests.integration.cluster.withholding import withholding_watches

from graphsearch.api import Outcome
from graphtrial.contract import Purpose


def test_a_search_ends_though_no_watch_of_jobs_and_pods_says_anything(
    kinds, namespace, operator, simulated_node, tmp_path
):
    """What counts is the list; scores are those of a search whose watches work."""
    simulated_node(gpus=4, pace=0.3)
    with withholding_watches(kinds.kubeconfig, tmp_path, ("jobs", "pods")) as kubeconfig:
        # The last of two equal flags counts.
        operator("--kubeconfig", str(kubeconfig))
        search = apply(kinds, namespace, quick().halving())
        alone = apply(kinds, namespace, quick().halving().trials(4).parallel(1), "one")
        search.wait()
        alone.wait()
    for each in (search, alone):
        assert_sound(each)
        assert_scores_are_true(each)
    expected = undisturbed(alone)
    assert (scores(alone), ranking(alone)) == (scores(expected), ranking(expected))
    outcomes = {trial.status.outcome for trial in search.trials if trial.spec.purpose is Purpose.SEARCH}
    assert outcomes <= {Outcome.SUCCEEDED, Outcome.STOPPED}
    assert search.state == "Completed"


def test_a_search_ends_though_no_watch_of_any_kind_says_anything(kinds, namespace, operator, simulated_node, tmp_path):
    """The operator finds it when it starts, and what its user changes when it writes its status."""
    node = simulated_node(gpus=4, pace=0.3)
    node.fail(Fault(pods="s-t1-*", holds_at=2))
    search = apply(kinds, namespace, quick().halving().trials(40))
    alone = apply(kinds, namespace, quick().halving().trials(4).parallel(1), "one")
    kinds_of_all = ("graphsearches", "graphtrials", "jobs", "pods")
    with withholding_watches(kinds.kubeconfig, tmp_path, kinds_of_all) as kubeconfig:
        operator("--kubeconfig", str(kubeconfig))
        wait_for(lambda: any(trial.is_ended for trial in search.trials), search.describe)
        search.patch(budget={"maxTrials": 4})
        node.let_go_on("s-t1-*")
        search.wait()
        alone.wait()
    for each in (search, alone):
        assert_sound(each)
        assert_scores_are_true(each)
    assert len([trial for trial in search.trials if trial.spec.purpose is Purpose.SEARCH]) < 40
    expected = undisturbed(alone)
    assert (scores(alone), ranking(alone)) == (scores(expected), ranking(expected))


def test_an_operator_that_slept_takes_up_what_happened_meanwhile(kinds, namespace, operator, simulated_node):
    """Stopped for a while, it finds pods that have ended and loses nothing."""
    node = simulated_node(gpus=4, pace=0.3)
    process = operator()
    plain = apply(kinds, namespace, quick(), "undisturbed").wait()
    node.fail(Fault(pods="s-t?-*", holds_at=2, times=2))
    search = apply(kinds, namespace, quick())
    wait_until_running(search, 2)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        node.let_go_on("s-t?-*")
        wait_for(lambda: all(pod["state"] == "Ended" for pod in node.pods()), search.describe)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    wait_for(lambda: search.condition("Succeeded")[0] == "True" or not process.runs, search.describe)
    if not process.runs:
        # It slept past its Lease, and has ended as it should.
        process.kill()
        process.start()
    search.wait()
    assert_sound(search)
    assert scores(search) == scores(plain)
    assert [len(trial.status.attempts) for trial in search.trials] == [1, 1, 1]
