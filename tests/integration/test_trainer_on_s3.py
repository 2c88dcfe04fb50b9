"""A trainer whose checkpoints, teachers and reports lie in S3, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from e2e.cluster.object_store import KEYS
from tests.trainer_process import PATIENCE
from tests.trials import single_node, training, trial_spec

from graphtrial.contract import ExitCode, TrialResult
from graphtrial.storage import open_store


@pytest.mark.usefixtures("s3_credentials", "s3_client")
def test_a_trial_resumes_from_s3_on_another_process_to_the_bit(tmp_path, s3_endpoint):
    """SIGKILL after some checkpoints; the next attempt takes over from the bucket and ends with equal weights.

    What the killed one leaves for its pod's status says how far it had got, and no more than is in the bucket.
    """
    place = {"endpoint": s3_endpoint, "region": "us-east-1", "pathStyle": True, "every": {"steps": 20}}
    longer_than_the_kill_takes = training(length={"epochs": 60})
    words = tmp_path / "words"

    def store(name):
        return open_store(f"s3://searches/{name}", endpoint=s3_endpoint, region="us-east-1", path_style=True)

    def start(name, attempt):
        checkpoint = {"uri": f"s3://searches/{name}"} | place
        spec = trial_spec(
            tmp_path, graph=single_node(), attempt=attempt, checkpoint=checkpoint, training=longer_than_the_kill_takes
        )
        environment = os.environ | {"GRAPHTRIAL_SPEC": json.dumps(spec), "GRAPHTRIAL_TERMINATION_LOG": str(words)}
        return subprocess.Popen([sys.executable, "-m", "graphtrial"], env=environment)

    assert start("undisturbed", 1).wait(PATIENCE) == ExitCode.DONE
    words.unlink()
    first, until = start("disturbed", 1), time.monotonic() + PATIENCE
    while not words.exists() or not words.read_text():
        assert first.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    left = TrialResult.model_validate_json(words.read_text())
    assert start("disturbed", 2).wait(PATIENCE) == ExitCode.DONE
    weights = "weights/1.safetensors"
    assert store("disturbed").read(weights) == store("undisturbed").read(weights)
    report = next(key for key in store("disturbed").list("reports/") if key.startswith("reports/2-"))
    result = TrialResult.model_validate_json(store("disturbed").read(report))
    assert result.resumed_at >= left.saved_at > left.resumed_at
    assert left.exit_code is None
    assert [rung.rung for rung in result.rungs] == [1, 2, 4, 60]


@pytest.mark.usefixtures("s3_credentials", "s3_client")
@pytest.mark.parametrize(
    ("keys", "uri", "words"),
    [
        ({}, "s3://searches/denied", "s3://searches/denied/latest.json: no S3 credentials; set AWS_ACCESS_KEY_ID and"),
        (
            KEYS | {"AWS_SECRET_ACCESS_KEY": "wrong"},
            "s3://searches/denied",
            "s3://searches/denied/latest.json: the S3 server refuses access (SignatureDoesNotMatch); "
            "check the credentials, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        (
            KEYS,
            "s3://no-such-bucket/x",
            "s3://no-such-bucket/x/: there is no such bucket; create it or correct the URI",
        ),
    ],
    ids=["no key", "wrong key", "no bucket"],
)
def test_a_store_that_refuses_from_the_start_ends_the_trial_at_once(tmp_path, s3_endpoint, keys, uri, words):
    """B20: exit code 13 and one message that names the bucket and what to set, also in the last words."""
    checkpoint = {"uri": uri, "endpoint": s3_endpoint, "region": "us-east-1", "pathStyle": True}
    spec = trial_spec(tmp_path, graph=single_node(), checkpoint=checkpoint)
    last_words = tmp_path / "words"
    environment = {name: value for name, value in os.environ.items() if name not in KEYS} | keys
    environment |= {"GRAPHTRIAL_SPEC": json.dumps(spec), "GRAPHTRIAL_TERMINATION_LOG": str(last_words)}
    command = [sys.executable, "-m", "graphtrial"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == ExitCode.STORAGE, ended.stderr
    errors = [line for line in ended.stderr.splitlines() if " INFO " not in line]
    assert len(errors) == 1, ended.stderr
    assert words in errors[0]
    assert words in TrialResult.model_validate_json(last_words.read_text()).message
