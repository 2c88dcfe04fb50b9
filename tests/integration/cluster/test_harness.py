"""The harness itself: what later tests take for granted of the control plane, Prometheus and the simulated node."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request

import pytest
from e2e.cluster.processes import ClusterError
from e2e.cluster.simulated_node import Fault, ForeignScore
from e2e.cluster.simulated_node.trainer import score
from e2e.installation import given_cluster, is_given
from tests.integration.cluster.installation import wait_for
from tests.trials import trial_spec

from graphtrial.contract import ExitCode, TrialResult, TrialSpec, graph_digest
from graphtrial.contract.trial import SPEC_VARIABLE

PACED_SLOWLY = 1000.0
"""Seconds from evaluation to evaluation, so that a trial runs until something else ends it."""


GIVEN = {
    "KUBECONFIG": "/a/kubeconfig",
    "GRAPHSEARCH_E2E_OPERATOR_IMAGE": "registry/operator:1",
    "GRAPHSEARCH_E2E_TRAINER_IMAGE": "registry/trainer:1",
    "GRAPHSEARCH_E2E_S3_BUCKET": "bucket",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
}
"""What says that e2e is to run on a cluster that is there."""


def test_a_cluster_is_given_by_its_kubeconfig_and_the_images_that_it_can_pull(monkeypatch):
    """KUBECONFIG alone chooses none, for it is set on most machines; Amazon's S3 and pods are read by default."""
    for name in GIVEN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", GIVEN["KUBECONFIG"])
    assert not is_given()
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)
    assert is_given()
    found = given_cluster()
    assert (str(found.kubeconfig), found.bucket, found.machines) == (GIVEN["KUBECONFIG"], "bucket", None)
    assert (found.endpoint, found.prometheus_url) == ("", "")
    assert found.images == {"operator": "registry/operator:1", "trainer": "registry/trainer:1"}


@pytest.mark.parametrize("name", sorted(GIVEN.keys() - {"GRAPHSEARCH_E2E_OPERATOR_IMAGE"}))
def test_what_a_given_cluster_lacks_is_named(monkeypatch, name):
    """Nothing is started in its place."""
    for other, value in GIVEN.items():
        monkeypatch.setenv(other, value)
    monkeypatch.delenv(name)
    with pytest.raises(ClusterError, match=f"set {name} as well"):
        given_cluster()


class Jobs:
    """Jobs of one pod each that asks for a GPU."""

    def __init__(self, control_plane, namespace, folder):
        self._kubectl, self._namespace, self._folder = control_plane.kubectl, namespace, folder

    def kubectl(self, *arguments, **more):
        return self._kubectl("-n", self._namespace, *arguments, **more)

    def spec(self, name, *, epochs=3, attempt=1):
        """What the trainer of that name is told."""
        own = {"trial": name, "trialUid": f"{name}-uid", "attempt": attempt, "metricsPort": 8000}
        length = {"training": {"length": {"epochs": epochs}}, "checkpoint": {"uri": f"s3://searches/{name}"}}
        return trial_spec(self._folder, **own, **length)

    def run(self, name, spec, **pod):
        """Apply a Job; without a spec its container is no trainer."""
        variables = [{"name": SPEC_VARIABLE, "value": json.dumps(spec)}] if spec else []
        container = {
            "name": "trainer",
            "image": "trainer:1",
            "env": variables,
            "resources": {"limits": {"nvidia.com/gpu": 1}},
        }
        annotations = {"prometheus.io/scrape": "true", "prometheus.io/port": "8000", "prometheus.io/path": "/metrics"}
        rules = [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [10, 11, 12]}}]
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": {
                "backoffLimit": 0,
                "podReplacementPolicy": "Failed",
                "podFailurePolicy": {"rules": rules},
                "template": {
                    "metadata": {"annotations": annotations},
                    "spec": {"restartPolicy": "Never", "containers": [container], **pod},
                },
            },
        }
        self.kubectl("apply", "-f", "-", input=json.dumps(job))

    def delete(self, name):
        """Delete the Job; how its pod's container ended, for which a finalizer keeps the pod's object."""
        pod = self.pod(name)["metadata"]["name"]
        self.kubectl("patch", "pod", pod, "-p", '{"metadata": {"finalizers": ["graphsearch.io/keep"]}}')
        self.kubectl("delete", "job", name, "--cascade=background")
        ended = self.wait_until_ended(name)
        self.kubectl("patch", "pod", pod, "-p", '{"metadata": {"finalizers": null}}')
        return ended

    def pod(self, name):
        """The Job's pod; None before and after."""
        found = json.loads(self.kubectl("get", "pods", "-l", f"job-name={name}", "-o", "json"))["items"]
        return found[0] if found else None

    def ended(self, name):
        """How the container of the Job's pod ended; None before."""
        pod = self.pod(name) or {}
        [container] = pod.get("status", {}).get("containerStatuses") or [{}]
        return container.get("state", {}).get("terminated")

    def wait_until_running(self, name):
        """Its pod."""
        wait_for(lambda: self.phase(name) == "Running", lambda: self.kubectl("get", "pods", "-o", "yaml"))
        return self.pod(name)

    def phase(self, name):
        """Of the Job's pod."""
        return (self.pod(name) or {}).get("status", {}).get("phase")

    def wait_until_ended(self, name):
        """How its container ended."""
        wait_for(lambda: self.ended(name), lambda: self.kubectl("get", "pods", "-o", "yaml"))
        return self.ended(name)


@pytest.fixture
def jobs(control_plane, namespace, tmp_path):
    """In the test's namespace."""
    return Jobs(control_plane, namespace, tmp_path)


def samples(prometheus, query):
    """What Prometheus answers: (labels, value) of each series."""
    with urllib.request.urlopen(f"{prometheus.url}/api/v1/query?{urllib.parse.urlencode({'query': query})}") as answer:
        found = json.load(answer)["data"]["result"]
    return [(series["metric"], float(series["value"][1])) for series in found]


def rungs_of(spec, *evaluations):
    """The scores that a trial must have, by evaluation."""
    told = TrialSpec.model_validate(spec)
    return {number: score(told.seed, graph_digest(told.graph), number) for number in evaluations}


def test_a_job_is_scheduled_runs_and_leaves_its_result(jobs, simulated_node):
    """The real scheduler binds it, its trainer ends, the real Job controller calls it complete."""
    simulated_node(gpus=1, pace=0.01)
    spec = jobs.spec("t0", epochs=5)
    jobs.run("t0", spec)
    jobs.kubectl("wait", "job/t0", "--for=condition=Complete", "--timeout=120s")
    ended = jobs.ended("t0")
    assert (ended["exitCode"], ended["reason"]) == (ExitCode.DONE, "Completed")
    result = TrialResult.model_validate_json(ended["message"])
    assert {rung.rung: rung.score for rung in result.rungs} == rungs_of(spec, 1, 2, 4, 5)


def test_a_trainer_holds_where_it_is_told_to(jobs, simulated_node):
    """It goes on when the node lets it, and its scores are what they would have been."""
    node = simulated_node(gpus=1, pace=0.01)
    node.fail(Fault(pods="t0-*", holds_at=3))
    spec = jobs.spec("t0", epochs=5)
    jobs.run("t0", spec)
    wait_for(lambda: [pod["evaluations"] for pod in node.pods()] == [2])
    jobs.wait_until_running("t0")
    node.let_go_on("t0-*")
    result = TrialResult.model_validate_json(jobs.wait_until_ended("t0")["message"])
    assert {rung.rung: rung.score for rung in result.rungs} == rungs_of(spec, 1, 2, 4, 5)


def test_a_gpu_is_given_to_one_pod_at_a_time(jobs, simulated_node):
    """The second pod waits until the first one is gone."""
    simulated_node(gpus=1, pace=PACED_SLOWLY)
    jobs.run("first", jobs.spec("first"))
    jobs.wait_until_running("first")
    jobs.run("second", jobs.spec("second"))
    wait_for(lambda: jobs.pod("second"))
    jobs.kubectl("wait", "pod", "-l", "job-name=second", "--for=condition=PodScheduled=False", "--timeout=60s")
    jobs.kubectl("delete", "job", "first")
    jobs.wait_until_running("second")


def test_prometheus_scrapes_a_pod_at_its_own_address(jobs, simulated_node, prometheus, namespace):
    """Samples carry the labels of the pod, whatever the pod itself exposes."""
    spec = jobs.spec("t0", epochs=2500) | {"rungs": [1, 2]}
    simulated_node(pace=0.5).fail(
        Fault(exposes=(ForeignScore(search_uid="other", trial_uid="other", rung=1, score=0.99),))
    )
    jobs.run("t0", spec)
    address = jobs.wait_until_running("t0")["status"]["podIP"]
    query = f'graphtrial_rung_score{{namespace="{namespace}"}}'
    wait_for(lambda: len(samples(prometheus, query)) == 3)
    pod = jobs.pod("t0")["metadata"]["name"]
    found = samples(prometheus, query)
    assert {(each["pod"], each["instance"]) for each, _ in found} == {(pod, f"{address}:8000")}
    own = {int(each["rung"]): value for each, value in found if each["trial_uid"] == "t0-uid"}
    assert own == rungs_of(spec, 1, 2)


def test_a_deleted_job_saves_and_another_attempt_goes_on(jobs, simulated_node):
    """SIGTERM ends the trainer with 143; the next attempt, on another node, starts where it was."""
    node = simulated_node(pace=0.2)
    jobs.run("a1", jobs.spec("t0", epochs=200))
    jobs.wait_until_running("a1")
    wait_for(lambda: node.pods()[0]["evaluations"] >= 3)
    ended = jobs.delete("a1")
    assert ended["exitCode"] == ExitCode.STOPPED
    stopped = TrialResult.model_validate_json(ended["message"])
    assert stopped.steps >= 300
    wait_for(lambda: node.pods() == [])
    other = simulated_node(pace=0.01)
    jobs.run("a2", jobs.spec("t0", epochs=200, attempt=2), nodeSelector={"kubernetes.io/hostname": other.name})
    resumed = TrialResult.model_validate_json(jobs.wait_until_ended("a2")["message"])
    assert (resumed.resumed_at, resumed.steps) == (stopped.steps, 20000)


def test_a_node_that_vanishes_becomes_unready_and_ready_again(control_plane, jobs, simulated_node):
    """The controller manager notices; when the node is back, what ran there is lost."""
    node = simulated_node(pace=PACED_SLOWLY)
    jobs.run("t0", jobs.spec("t0"))
    jobs.wait_until_running("t0")
    node.vanish()
    control_plane.kubectl("wait", f"node/{node.name}", "--for=condition=Ready=Unknown", "--timeout=120s")
    assert jobs.phase("t0") == "Running"
    node.come_back()
    control_plane.kubectl("wait", f"node/{node.name}", "--for=condition=Ready=True", "--timeout=120s")
    assert jobs.wait_until_ended("t0")["reason"] == "Unknown"


@pytest.mark.parametrize(
    ("fault", "ending"),
    [
        (Fault(exit_code=11, at_evaluation=2), (11, "Error")),
        (Fault(exit_code=1), (1, "Error")),
        (Fault(out_of_memory=True), (137, "OOMKilled")),
        (Fault(nan_at=2), (ExitCode.DIVERGED, "Error")),
    ],
    ids=["bad data", "crash", "out of memory", "diverged"],
)
def test_a_trainer_that_fails_shows_how(jobs, simulated_node, fault, ending):
    """Exit code and reason are those of the fault, and the Job has failed."""
    simulated_node(pace=0.01).fail(fault)
    jobs.run("t0", jobs.spec("t0"))
    jobs.kubectl("wait", "job/t0", "--for=condition=Failed", "--timeout=120s")
    ended = jobs.ended("t0")
    assert (ended["exitCode"], ended["reason"]) == ending


def test_the_failure_policy_is_the_real_job_controllers(jobs, simulated_node):
    """Exit code 11 fails the Job for good, with the reason in its condition."""
    simulated_node(pace=0.01).fail(Fault(exit_code=11))
    jobs.run("t0", jobs.spec("t0"))
    jobs.kubectl("wait", "job/t0", "--for=condition=Failed", "--timeout=120s")
    conditions = json.loads(jobs.kubectl("get", "job", "t0", "-o", "json"))["status"]["conditions"]
    assert {each["reason"] for each in conditions} == {"PodFailurePolicy"}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(Fault(image_pull_fails=True), "ImagePullBackOff"), (Fault(never_starts=True), "ContainerCreating")],
    ids=["image", "never"],
)
def test_a_pod_that_cannot_start_says_why_and_can_be_deleted(jobs, simulated_node, fault, reason):
    """The container waits with the reason; the pod goes at once when it is deleted."""
    simulated_node().fail(fault)
    jobs.run("t0", jobs.spec("t0"))
    path = "jsonpath={.items[0].status.containerStatuses[0].state.waiting.reason}"
    wait_for(lambda: jobs.kubectl("get", "pods", "-l", "job-name=t0", "-o", path, check=False) == reason)
    jobs.kubectl("delete", "job", "t0", "--cascade=foreground", "--timeout=60s")
    assert jobs.pod("t0") is None


def test_a_pod_that_ignores_sigterm_is_killed_after_its_grace(jobs, simulated_node):
    """It has no chance to say anything."""
    simulated_node(pace=PACED_SLOWLY).fail(Fault(ignores_sigterm=True))
    jobs.run("t0", jobs.spec("t0"), terminationGracePeriodSeconds=2)
    jobs.wait_until_running("t0")
    ended = jobs.delete("t0")
    assert (ended["exitCode"], ended.get("message")) == (137, None)


def test_a_restarted_api_server_loses_nothing(control_plane, jobs, simulated_node):
    """The trial goes on meanwhile, and its end is told afterwards."""
    node = simulated_node(pace=0.2)
    node.fail(Fault(pods="t0-*", holds_at=3))
    spec = jobs.spec("t0", epochs=20)
    jobs.run("t0", spec)
    jobs.wait_until_running("t0")
    control_plane.stop_api_server()
    node.let_go_on("t0-*")
    wait_for(lambda: node.pods()[0]["evaluations"] == 20)
    control_plane.start_api_server()
    jobs.kubectl("wait", "job/t0", "--for=condition=Complete", "--timeout=120s")
    assert TrialResult.model_validate_json(jobs.ended("t0")["message"]).rungs[-1].score == rungs_of(spec, 20)[20]


def test_a_killed_trainer_leaves_its_checkpoint(jobs, simulated_node):
    """Nothing that it had evaluated is evaluated again by the next attempt."""
    node = simulated_node(pace=0.1)
    node.fail(Fault(pods="a1-*", holds_at=4))
    jobs.run("a1", jobs.spec("t0", epochs=20))
    jobs.wait_until_running("a1")
    wait_for(lambda: node.pods()[0]["evaluations"] >= 3)
    [pod] = node.kill("a1-*")
    assert pod == jobs.pod("a1")["metadata"]["name"]
    assert jobs.wait_until_ended("a1")["exitCode"] == 137
    jobs.run("a2", jobs.spec("t0", epochs=20, attempt=2))
    result = TrialResult.model_validate_json(jobs.wait_until_ended("a2")["message"])
    assert (result.attempt, result.steps) == (2, 2000)
    assert result.resumed_at >= 300


def test_a_container_that_is_no_trainer_just_ends(jobs, simulated_node):
    """As a report's does."""
    simulated_node(pace=0.01)
    jobs.run("report", None)
    jobs.kubectl("wait", "job/report", "--for=condition=Complete", "--timeout=120s")


def test_a_service_account_has_its_own_rights_only(control_plane, namespace):
    """Its kubeconfig names it, and gives it nothing that nobody granted."""
    account = f"system:serviceaccount:{namespace}:default"
    kubeconfig = control_plane.kubeconfig_for(account)
    said = json.loads(control_plane.kubectl("auth", "whoami", "-o", "json", kubeconfig=kubeconfig))
    assert said["status"]["userInfo"]["username"] == account
    assert control_plane.kubectl("auth", "can-i", "list", "pods", kubeconfig=kubeconfig, check=False).strip() == "no"
