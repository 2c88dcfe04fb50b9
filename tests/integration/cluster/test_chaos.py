"""Things are killed at random moments, with a seed that is printed; facts stay whole, and scores are the true ones.

What must hold afterwards: no trial is lost, doubled or judged otherwise than its facts say, and every score is the one
that an undisturbed run of its trial has. With one trial at a time the whole search is the simulated world's, so such a
search runs beside one of several trials. Watches that say nothing have a file of their own, test_withheld_watches.py;
S3 that is gone meets real trainers only: test_s3_outage.py, and e2e.
"""

from __future__ import annotations

import itertools
import random
import re
import time

import pytest
from e2e.cluster.simulated_node.faults import Fault
from tests.integration.cluster.installation import (
    apply,
    assert_scores_are_true,
    assert_sound,
    ranking,
    scores,
    seed_of_chaos,
    undisturbed,
    wait_for,
)
from tests.integration.cluster.stage import ends, progressing, quick, wait_until_running
from tests.integration.cluster.test_search import PROMETHEUS, small

from graphsearch.api import AttemptEnd, Outcome, TrialReason
from graphtrial.contract import Purpose


def one_at_a_time():
    """Six trials, one after the other."""
    return small().trials(6).parallel(1)


def assert_whole(*searches):
    """Nothing is lost, doubled or rescored; with one trial at a time decisions and ranking are the undisturbed ones."""
    for search in searches:
        assert_sound(search)
        assert_scores_are_true(search)
        if search.settled.spec.budget.parallel_trials == 1:
            expected = undisturbed(search)
            assert (scores(search), ranking(search)) == (scores(expected), ranking(expected))


@pytest.fixture
def chance():
    """Random moments that can be played again."""
    return random.Random(seed_of_chaos())


def until_over(search, disturb, *, times):
    """Disturb a search again and again until it has ended or was disturbed often enough; how often."""
    count = 0
    while count < times and search.condition("Succeeded")[0] in ("", "Unknown"):
        disturb()
        count += 1
    search.wait(seconds=400)
    return count


def test_the_operator_is_killed_fifty_times(kinds, namespace, operator, simulated_node, chance):
    """B2, B18: one trial at a time or three by turns, no score is another, and nothing runs twice."""
    simulated_node(gpus=3, pace=0.6)
    process = operator()

    def disturb():
        # Now and then before it has listed anything, else somewhere in its work.
        if chance.random() < 0.8:
            process.wait_until_ready()
        time.sleep(chance.uniform(0, 1.5))
        process.kill()
        process.start()

    kills = 0
    for seed in itertools.count():
        by_turns = small().trials(24).parallel(3) if seed % 2 else small().trials(8).parallel(1)
        search = apply(kinds, namespace, by_turns.seeded(seed).compared(finalists=1, repeats=2), f"s{seed}")
        kills += until_over(search, disturb, times=50 - kills)
        assert_whole(search)
        assert {len(trial.status.attempts) for trial in search.trials} == {1}
        if kills == 50:
            break


def test_trainers_are_killed_fifty_times(kinds, namespace, operator, simulated_node, chance):
    """Containers end by SIGKILL; attempts resume, no trial fails, and no score is another."""
    node = simulated_node(gpus=4, pace=0.4)
    operator()
    killed, fruitless = [], set()

    def disturb():
        time.sleep(chance.uniform(0.1, 0.6))
        running = [pod for pod in node.pods() if pod["state"] == "Running"]
        # Crashes in a row without a step forward fail a trial, as they should: one each is free.
        got_further = {pod["name"] for pod in running if pod["evaluations"] > pod["resumed_at"]}
        found = got_further | {pod["name"] for pod in running if trial_of(pod["name"]) not in fruitless}
        if found and len(killed) < 50:
            pod = chance.choice(sorted(found))
            fruitless.update({trial_of(pod)} - set(map(trial_of, got_further)))
            killed.extend(node.kill(pod))

    for seed in itertools.count():
        search = apply(kinds, namespace, small().seeded(seed).trials(18), f"s{seed}")
        alone = apply(kinds, namespace, one_at_a_time().seeded(seed), f"one{seed}")
        until_over(search, disturb, times=200)
        until_over(alone, disturb, times=200)
        assert_whole(search, alone)
        if len(killed) == 50:
            break


def trial_of(pod):
    """The trial that a pod's name begins with."""
    return re.match(r"(.+-t\d+)-a\d+", pod)[1]


def test_a_node_goes_and_its_trials_resume_elsewhere(kinds, namespace, operator, simulated_node):
    """A node is silent: its trials are lost, not charged, and go on from their checkpoints on another node."""
    operator()
    first = simulated_node(gpus=4, pace=0.6)
    first.fail(Fault(pods="*-t?-a1-*", holds_at=3, times=None))
    search = apply(kinds, namespace, small().trials(3).never_stopping())
    alone = apply(kinds, namespace, one_at_a_time(), "one")
    wait_for(lambda: sum(pod["state"] == "Running" for pod in first.pods()) == 4, search.describe)
    first.vanish()
    simulated_node(gpus=4, pace=0.3)
    search.wait(seconds=300)
    alone.wait(seconds=300)
    assert_whole(search, alone)
    ends = [attempt.end for trial in search.trials for attempt in trial.status.attempts if trial.index < 3]
    assert {str(end) for end in ends} == {"Lost", "Done"}


def test_a_drained_node_costs_its_trials_nothing(kinds, namespace, operator, simulated_node):
    """Evicted pods save; the disruption is not charged, and scores stay what they would have been."""
    operator()
    first = simulated_node(gpus=4, pace=0.6)
    # They hold, and save all the same when they are evicted.
    first.fail(Fault(pods="*-t?-a1-*", holds_at=3, times=None))
    search = apply(kinds, namespace, small().trials(3).never_stopping())
    alone = apply(kinds, namespace, one_at_a_time(), "one")
    wait_for(lambda: sum(pod["state"] == "Running" for pod in first.pods()) == 4, search.describe)
    simulated_node(gpus=4, pace=0.3)
    kinds.kubectl("drain", first.name, "--delete-emptydir-data", "--force", "--timeout=60s")
    search.wait()
    alone.wait()
    assert_whole(search, alone)
    ends = [attempt.end for trial in search.trials for attempt in trial.status.attempts]
    assert {"Lost", "Done"} <= {str(end) for end in ends} <= {"Lost", "Done", "Saved"}


def test_the_api_server_is_restarted(kinds, namespace, operator, simulated_node, chance):
    """While it is away nothing is decided; an operator that loses its Lease over it ends, and the next one goes on."""
    simulated_node(gpus=4, pace=0.6)
    process = operator()
    search = apply(kinds, namespace, small().trials(12))
    alone = apply(kinds, namespace, one_at_a_time(), "one")

    def disturb():
        time.sleep(chance.uniform(2, 5))
        kinds.restart_api_server()

    with process.kept_running():
        until_over(search, disturb, times=4)
        alone.wait()
    assert_whole(search, alone)


def test_prometheus_is_stopped_for_a_while(kinds, namespace, operator, simulated_node, prometheus):
    """Scores come directly meanwhile, and from Prometheus again afterwards."""
    # It may be nine seconds until Prometheus finds a pod.
    operator(*PROMETHEUS, prometheus.url, "--fallback-after", "15")
    node = simulated_node(gpus=4, pace=0.7)
    node.fail(Fault(pods="s-*", holds_at=3, pace=1.5, times=None))
    search = apply(kinds, namespace, small().trials(18))
    alone = apply(kinds, namespace, one_at_a_time(), "one")
    wait_for(lambda: search.condition("MetricsAvailable") == ("True", "Prometheus"), search.describe)
    wait_for(lambda: "Prometheus" in sources(search), search.describe)
    prometheus.stop()
    try:
        wait_for(lambda: search.condition("MetricsAvailable") == ("True", "Direct"), search.describe)
        node.heal()
        node.let_go_on("s-*")
        wait_for(lambda: "Direct" in sources(search), search.describe)
    finally:
        prometheus.start()
    search.wait()
    alone.wait()
    assert_whole(search, alone)
    assert sources(search) >= {"Prometheus", "Direct"}


def sources(search):
    """Where its scores come from."""
    return {rung.source for trial in search.trials for rung in trial.status.rungs}


def test_two_operators_at_once_are_one(kinds, namespace, operator, simulated_node):
    """The second stands by; when the first is killed it takes over, and nothing is done twice."""
    simulated_node(gpus=2, pace=0.5)
    first = operator(name="first")
    second = operator(name="second")
    search = apply(kinds, namespace, one_at_a_time())
    wait_for(lambda: len(search.trials) >= 2, search.describe)
    first.kill()
    wait_for(lambda: "is ours" in second.log.read_text(), search.describe)
    first.start()
    wait_for(lambda: "standing by" in first.log.read_text(), search.describe)
    search.wait()
    assert_whole(search)
    assert [len(trial.status.attempts) for trial in search.trials] == [1] * len(search.trials)


def test_operator_memory_of_what_it_asked_for_is_not_needed(kinds, namespace, operator, simulated_node):
    """Killed right after it had stopped a trial, the operator's successor records how that trial ended."""
    simulated_node(gpus=2, pace=0.4)
    process = operator()
    search = apply(kinds, namespace, small().trials(6).parallel(2))
    wait_for(lambda: any(t.status.rungs and t.status.rungs[-1].decision.value == "Stop" for t in search.trials))
    process.kill()
    process.start()
    search.wait()
    assert_whole(search)


def test_what_happened_while_no_operator_ran_is_taken_up(kinds, namespace, operator, simulated_node):
    """B18: one trial ends and the user cancels meanwhile: that end counts, the stop is honoured, nothing runs twice."""
    node = simulated_node(gpus=2, pace=0.3)
    node.fail(Fault(pods="s-*", holds_at=2, times=None))
    process = operator()
    search = apply(kinds, namespace, quick().trials(4))
    wait_until_running(search, 2)
    process.kill()
    search.patch(desiredState="Cancelled")
    node.let_go_on("s-t0-*")
    wait_for(lambda: {pod["name"][:5]: pod["state"] for pod in node.pods()}["s-t0-"] == "Ended")
    process.start()
    search.wait()
    assert_whole(search)
    found = [(trial.status.outcome, ends(trial)) for trial in search.trials if trial.spec.purpose is Purpose.SEARCH]
    assert found == [(Outcome.SUCCEEDED, [AttemptEnd.DONE]), (Outcome.CANCELLED, [AttemptEnd.SAVED])]


def test_trials_that_wait_for_a_gpu_find_their_operator_again(kinds, namespace, operator, simulated_node):
    """B18, queued: one ends and the next is bound while no operator runs; each trial still has one attempt."""
    node = simulated_node(gpus=1, pace=0.3)
    node.fail(Fault(pods="s-*", holds_at=2))
    process = operator()
    search = apply(kinds, namespace, quick().trials(5).parallel(3))

    def queued():
        reasons = [progressing(search, trial.index)[0] for trial in search.trials]
        return reasons.count(TrialReason.UNSCHEDULABLE)

    wait_for(lambda: queued() == 2, search.describe)
    process.kill()
    node.let_go_on("s-*")
    wait_for(lambda: [pod["state"] for pod in node.pods()].count("Ended") >= 2, search.describe)
    process.start()
    search.wait()
    assert_whole(search)
    assert {len(trial.status.attempts) for trial in search.trials} == {1}
