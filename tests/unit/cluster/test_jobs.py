"""The objects that an attempt consists of, whole, as golden files; and what a search is told that cannot have any."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.searches import HandPlayed, a_search

from graphsearch.api import SearchFacts
from graphsearch.api import names as n
from graphsearch.cluster import jobs, report_job
from graphsearch.cluster.install import Install
from graphsearch.search.archive import unpack
from graphsearch.search.settled import settle
from graphsearch.search.specs import trial_spec
from graphtrial.contract import SPEC_VARIABLE, Device, Purpose, TrialSpec

GOLDEN = Path(__file__).parent / "golden"
FACTS = SearchFacts(uid="0f3c2a1e-1111-2222-3333-444455556666", started_at=0.0)
OWNER = {
    "apiVersion": "graphsearch.io/v1alpha1",
    "kind": "GraphTrial",
    "name": "s-t0",
    "uid": "trial-uid",
    "controller": True,
    "blockOwnerDeletion": False,
}
INSTALL = Install(default_image="graphsearch-trainer:1.0", image_pull_policy="Never", scrape_annotations=True)
BUCKET = {"uri": "s3://searches/", "endpoint": "http://s3:8333", "region": "us-east-1", "pathStyle": True}

EVERY_FIELD = {
    "image": "registry.example/trainer@sha256:abc",
    "resources": {"limits": {"nvidia.com/gpu": 1, "cpu": 4, "memory": "16Gi"}, "requests": {"cpu": "500m"}},
    "queueName": "research",
    "cacheVolume": {"claimName": "images"},
    "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H200"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "priorityClassName": "low",
    "runtimeClassName": "nvidia",
    "imagePullSecrets": [{"name": "registry"}],
    "env": [
        {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
        {"name": "WHERE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ],
    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "cifar"}}, {"name": "scratch", "emptyDir": {}}],
    "volumeMounts": [
        {"name": "data", "mountPath": "/data", "readOnly": True},
        {"name": "scratch", "mountPath": "/scratch", "subPath": "a"},
    ],
    "serviceAccountName": "trainer",
}


def a_played(**spec):
    """A search with a bucket, and the ledger after its first trial was begun."""
    search = a_search().having(checkpoint=BUCKET | spec.pop("checkpoint", {}), **spec)
    world = HandPlayed(search.settled()).look()
    return world.settled, world.ledger.trials[0]


def a_job(install=INSTALL, **spec):
    """The Job of the first attempt at trial 0."""
    settled, trial = a_played(**spec)
    told = trial_spec(settled, FACTS, trial, jobs.place(settled, FACTS, "team", install))
    labels = jobs.labels_of(settled, FACTS, trial)
    return jobs.attempt_job(settled, trial, told, namespace="team", labels=labels, owner=OWNER, install=install)


def golden(name):
    """What is expected, as it would be applied."""
    return list(yaml.safe_load_all((GOLDEN / f"{name}.yaml").read_text()))


def placed(**trainer):
    """Where the trials of a search run whose trainer says so."""
    settled, _ = a_played(trainer=trainer)
    return jobs.place(settled, FACTS, "team", INSTALL)


def told(**spec):
    """The problems of a search, one line each."""
    return jobs.problems(a_search().having(**{"checkpoint": BUCKET, **spec}).settled(), INSTALL)


def test_a_trial_that_asks_for_nothing_gets_a_restricted_pod():
    """No device, no token, no privilege, and a Job that never tries again by itself."""
    assert [a_job()] == golden("plain")


def test_everything_that_a_search_may_ask_for_reaches_the_pod():
    """What is left out stays out, and what is given stands beside our own."""
    secret = {"credentialsSecretRef": {"name": "s3"}}
    install = replace(INSTALL, scrape_annotations=False, metrics_port=9000, termination_grace_seconds=120)
    assert [a_job(install, trainer=EVERY_FIELD, checkpoint=secret)] == golden("everything")


def test_a_report_is_built_without_a_device_from_facts_in_small_objects():
    """The facts come back whole, and no object comes near what the API server takes."""
    search = a_search().having(checkpoint=BUCKET, trainer=EVERY_FIELD)
    world = HandPlayed(settle(search.obj(), reports=True))
    for index in range(10):
        world.look()
        world.finish(index, index / 10)
    [report] = world.look().of(Purpose.REPORT)
    trials = world.ledger.trials.values()
    labels = jobs.labels_of(world.settled, FACTS, report)
    *maps, job = report_job.report_objects(
        world.settled, FACTS, trials, report, namespace="team", labels=labels, owner=OWNER, install=INSTALL
    )
    pod = job["spec"]["template"]["spec"]
    mounted = pod["volumes"][3]["projected"].pop("sources")
    assert mounted == [{"configMap": {"name": made["metadata"]["name"]}} for made in maps]
    assert [job] == golden("report")
    parts = [part_in(made) for made in maps]
    manifest, facts, found = unpack(parts)
    assert (manifest.spec, facts, found) == (world.settled.spec, FACTS, [t for t in trials if t != report])
    assert all(len(json.dumps(made)) < 64 * 1024 for made in maps)
    assert {made["metadata"]["ownerReferences"][0]["uid"] for made in maps} == {"trial-uid"}


def part_in(made):
    """The one part in a ConfigMap."""
    [part] = made["binaryData"].values()
    return base64.b64decode(part)


def test_the_facts_of_many_trials_fill_several_objects():
    """Each below 64 KiB, however large the search."""
    settled, trial = a_played()
    specs = [trial.spec.model_copy(update={"index": i, "seed": i**9 % 2**53}) for i in range(8000)]
    many = [trial.model_copy(update={"name": f"s-t{spec.index}", "spec": spec}) for spec in specs]
    labels = jobs.labels_of(settled, FACTS, trial)
    *maps, _ = report_job.report_objects(
        settled, FACTS, many, trial, namespace="team", labels=labels, owner=OWNER, install=INSTALL
    )
    assert len(maps) > 1
    assert max(len(json.dumps(made)) for made in maps) < 64 * 1024
    assert unpack([part_in(made) for made in maps])[2] == many


def test_a_trainer_reads_from_its_pod_what_it_was_told():
    """The TrialSpec comes back from the variable as it was."""
    settled, trial = a_played()
    spec = trial_spec(settled, FACTS, trial, jobs.place(settled, FACTS, "team", INSTALL))
    [container] = a_job()["spec"]["template"]["spec"]["containers"]
    [value] = [variable["value"] for variable in container["env"] if variable["name"] == SPEC_VARIABLE]
    assert TrialSpec.model_validate_json(value) == spec
    assert spec.checkpoint.uri == "s3://searches/team/s-0f3c2a1e/trials/0"


def test_a_trial_is_labelled_before_its_first_attempt():
    """A Job and its pod are found by the attempt, a GraphTrial without."""
    settled, trial = a_played()
    labels = jobs.labels_of(settled, FACTS, trial)
    fresh = trial.model_copy(update={"status": trial.status.model_copy(update={"attempts": ()})})
    assert labels[n.ATTEMPT_LABEL] == "1"
    assert jobs.labels_of(settled, FACTS, fresh) == {k: v for k, v in labels.items() if k != n.ATTEMPT_LABEL}


def test_objects_of_a_search_lie_below_its_namespace_name_and_uid():
    """Teachers are shared by all searches of a namespace, and by no others."""
    place = placed()
    assert (place.root, place.teachers) == ("s3://searches/team/s-0f3c2a1e", "s3://searches/team/teachers")


@pytest.mark.parametrize(
    ("trainer", "threads", "device"),
    [
        pytest.param({}, 1, Device.CPU, id="nothing asked for"),
        pytest.param({"resources": {"limits": {"cpu": "2500m"}}}, 2, Device.CPU, id="two and a half cores"),
        pytest.param({"resources": {"limits": {"cpu": "500m"}}}, 1, Device.CPU, id="half a core"),
        pytest.param({"resources": {"requests": {"cpu": 3}}}, 3, Device.CPU, id="only requested"),
        pytest.param(
            {"resources": {"requests": {"cpu": 1}, "limits": {"cpu": 4}}}, 4, Device.CPU, id="the limit counts"
        ),
        pytest.param({"resources": {"limits": {"nvidia.com/gpu": "1"}}}, 1, Device.CUDA, id="a GPU"),
        pytest.param({"resources": {"limits": {"nvidia.com/gpu": 0}}}, 1, Device.CPU, id="no GPU, said so"),
        pytest.param({"resources": {"limits": {"nvidia.com/mig-1g.10gb": 1}}}, 1, Device.CUDA, id="a slice"),
    ],
)
def test_a_trainer_uses_what_its_pod_gets(trainer, threads, device):
    """Threads by its cores, CUDA only where a GPU is asked for."""
    place = placed(**trainer)
    assert (place.threads, place.device, place.cache) == (threads, device, "")


def test_images_are_cached_where_there_is_a_volume():
    """In a folder of our own on it."""
    assert placed(cacheVolume={"claimName": "images"}).cache == "/cache/graphsearch"


def test_a_search_that_can_run_has_no_problems():
    """With everything that it may ask for."""
    assert told(trainer=EVERY_FIELD) == []


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param(
            {"checkpoint": {}},
            "spec.checkpoint.uri: is required on a cluster; name a bucket, such as s3://searches",
            id="no bucket",
        ),
        pytest.param(
            {"checkpoint": {"uri": "s3:///prefix"}},
            "spec.checkpoint.uri: names no bucket; write s3://BUCKET or s3://BUCKET/PREFIX",
            id="only a prefix",
        ),
        pytest.param(
            {"checkpoint": {"uri": "searches"}},
            "spec.checkpoint.uri: searches is not s3://; name a bucket, such as s3://searches",
            id="a name alone",
        ),
        pytest.param(
            {"checkpoint": {"uri": "file:///runs"}},
            "spec.checkpoint.uri: file:///runs lies on no volume of spec.trainer.volumeMounts;"
            " it would go with the pod",
            id="a folder of the pod",
        ),
        pytest.param(
            {"trainer": {"resources": {"limits": {"cpu": "two"}}}},
            "spec.trainer.resources.limits.cpu: 'two' is no quantity of cores; write 2 or 500m",
            id="cores in words",
        ),
        pytest.param(
            {"trainer": {"resources": {"requests": {"nvidia.com/gpu": 1}}}},
            "spec.trainer.resources.requests.nvidia.com/gpu: a GPU is asked for under limits",
            id="GPU only requested",
        ),
        pytest.param(
            {"trainer": {"env": [{"name": "GRAPHTRIAL_SPEC", "value": "{}"}]}},
            "spec.trainer.env[0].name: GRAPHTRIAL_SPEC is set by the operator; use another name",
            id="our variable",
        ),
        pytest.param(
            {
                "checkpoint": BUCKET | {"credentialsSecretRef": {"name": "s3"}},
                "trainer": {"env": [{"name": "AWS_ACCESS_KEY_ID", "value": "a"}]},
            },
            "spec.trainer.env[0].name: AWS_ACCESS_KEY_ID comes from spec.checkpoint.credentialsSecretRef;"
            " give one of the two",
            id="credentials twice",
        ),
        pytest.param(
            {"trainer": {"volumes": [{"name": "shm", "emptyDir": {}}]}},
            "spec.trainer.volumes[0].name: shm is the operator's own; use another name",
            id="our volume",
        ),
        pytest.param(
            {"trainer": {"volumes": [{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}]}},
            "spec.trainer.volumes[1].name: a is used twice",
            id="one volume twice",
        ),
        pytest.param(
            {"trainer": {"volumeMounts": [{"name": "a", "mountPath": "/a"}]}},
            "spec.trainer.volumeMounts[0].name: there is no volume a in spec.trainer.volumes",
            id="mount without a volume",
        ),
        pytest.param(
            {
                "trainer": {
                    "volumes": [{"name": "a", "emptyDir": {}}],
                    "volumeMounts": [{"name": "a", "mountPath": "/dev"}],
                }
            },
            "spec.trainer.volumeMounts[0].mountPath: /dev would hide /dev/shm, which trainers need; mount elsewhere",
            id="mount over ours",
        ),
        pytest.param(
            {
                "trainer": {
                    "volumes": [{"name": "a", "emptyDir": {}}],
                    "volumeMounts": [{"name": "a", "mountPath": "a"}],
                }
            },
            "spec.trainer.volumeMounts[0].mountPath: a is not absolute; begin it with /",
            id="relative mount",
        ),
        pytest.param(
            {
                "trainer": {
                    "volumes": [{"name": "a", "emptyDir": {}}],
                    "volumeMounts": [{"name": "a", "mountPath": "/a"}, {"name": "a", "mountPath": "/a"}],
                }
            },
            "spec.trainer.volumeMounts[1].mountPath: /a is used twice",
            id="one place twice",
        ),
    ],
)
def test_what_cannot_run_here_is_told_once_and_by_its_field(spec, message):
    """Before anything is made, and in words that say what would be right."""
    assert told(**spec) == [message]


def test_checkpoints_may_lie_on_a_volume_that_outlives_the_pod():
    """Where there is no S3."""
    volumes = {
        "volumes": [{"name": "runs", "persistentVolumeClaim": {"claimName": "runs"}}],
        "volumeMounts": [{"name": "runs", "mountPath": "/runs"}],
    }
    assert told(checkpoint={"uri": "file:///runs/searches"}, trainer=volumes) == []


def test_without_a_default_image_a_search_names_one():
    """Nothing else can be pulled."""
    settled = a_search().having(checkpoint=BUCKET).settled()
    assert jobs.problems(settled, Install()) == ["spec.trainer.image: is required; there is no default"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["tmp", "shm", "cache", "facts", "data", "a"]), max_size=4))
def test_a_pod_without_problems_has_no_name_and_no_place_twice(names):
    """Whatever volumes a user lists: what passes acceptance does not fail at the API server."""
    trainer = {
        "volumes": [{"name": name, "emptyDir": {}} for name in names],
        "volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in names],
        "cacheVolume": {"claimName": "images"},
    }
    if told(trainer=trainer):
        assert len(set(names)) < len(names) or {"tmp", "shm", "cache", "facts"} & set(names)
        return
    pod = a_job(trainer=trainer)["spec"]["template"]["spec"]
    volumes = [volume["name"] for volume in pod["volumes"]]
    places = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
    assert (len(set(volumes)), len(set(places))) == (len(volumes), len(places))
