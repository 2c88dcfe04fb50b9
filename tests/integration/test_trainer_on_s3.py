"""A trainer whose checkpoints, teachers and reports lie in S3, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tests.trainer_process import PATIENCE
from tests.trials import single_node, training, trial_spec

from graphtrial.contract import ExitCode, TrialResult
from graphtrial.storage import open_store


@pytest.mark.usefixtures("s3_credentials", "s3_client")
def test_a_trial_resumes_from_s3_on_another_process_to_the_bit(tmp_path, s3_endpoint):
    """SIGKILL after some checkpoints; the next attempt takes over from the bucket and ends with equal weights."""
    place = {"endpoint": s3_endpoint, "region": "us-east-1", "pathStyle": True, "every": {"steps": 20}}
    longer_than_the_kill_takes = training(length={"epochs": 60})

    def store(name):
        return open_store(f"s3://searches/{name}", endpoint=s3_endpoint, region="us-east-1", path_style=True)

    def start(name, attempt):
        checkpoint = {"uri": f"s3://searches/{name}"} | place
        spec = trial_spec(
            tmp_path, graph=single_node(), attempt=attempt, checkpoint=checkpoint, training=longer_than_the_kill_takes
        )
        environment = os.environ | {"GRAPHTRIAL_SPEC": json.dumps(spec)}
        return subprocess.Popen([sys.executable, "-m", "graphtrial"], env=environment, stderr=subprocess.DEVNULL)

    assert start("undisturbed", 1).wait(PATIENCE) == ExitCode.DONE
    first = start("disturbed", 1)
    bucket, until = store("disturbed"), time.monotonic() + PATIENCE
    while not bucket.exists("latest.json") and time.monotonic() < until:
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert start("disturbed", 2).wait(PATIENCE) == ExitCode.DONE
    weights = "weights/1.safetensors"
    assert store("disturbed").read(weights) == store("undisturbed").read(weights)
    report = next(key for key in store("disturbed").list("reports/") if key.startswith("reports/2-"))
    result = TrialResult.model_validate_json(store("disturbed").read(report))
    assert result.resumed_at > 0
    assert [rung.rung for rung in result.rungs] == [1, 2, 4, 60]
