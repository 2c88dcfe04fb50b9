"""``python -m graphtrial serve``: its conversation, its forks, and what becomes of them when others die."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.trainer_process import ENDLESS, PATIENCE, Server, results, wait_for_end, wait_for_steps
from tests.trials import training, trial_spec

from graphsearch.local import ForkServer, ForkServerError
from graphtrial.contract import ExitCode


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory):
    """One for all tests that leave it as it was."""
    server = Server(tmp_path_factory.mktemp("logs"))
    yield server
    server.close()


@pytest.fixture
def server(shared_server, tmp_path):
    """The shared one, writing logs of this test."""
    shared_server.logs = tmp_path
    return shared_server


@pytest.fixture
def own_server(tmp_path):
    """One that a test may kill."""
    server = Server(tmp_path)
    yield server
    server.close()


def test_a_crash_is_a_traceback_in_the_trials_own_log(server, tmp_path):
    """Exit code 1, and the server goes on."""
    (tmp_path / "folder").mkdir()
    spec = trial_spec(tmp_path / "trial")
    assert server.start("trial", spec, cpus=[100_000]) > 0
    assert server.end("trial") == 1
    assert "Traceback" in server.log("trial")
    assert server.run("next", trial_spec(tmp_path / "next")) == ExitCode.DONE


def test_the_server_never_has_a_second_thread(server, tmp_path):
    """Neither when it is ready nor after trials: only such a process can be forked safely."""
    assert server.run("trial", trial_spec(tmp_path / "trial", stopAfter=1)) == ExitCode.DONE
    assert len(list(Path(f"/proc/{server.process.pid}/task").iterdir())) == 1


def test_the_server_has_what_later_trials_need_at_their_end(server, tmp_path):
    """torchmetrics, with scipy below it, is imported once and not by every fork that gets that far."""
    assert server.run("trial", trial_spec(tmp_path / "trial", stopAfter=1)) == ExitCode.DONE
    assert "/scipy/" in Path(f"/proc/{server.process.pid}/maps").read_text()


def test_a_trial_runs_where_and_as_it_was_told(server, tmp_path):
    """On its cores, in a process group that a terminal's Ctrl-C does not reach."""
    folder = tmp_path / "trial"
    core = min(os.sched_getaffinity(0))
    pid = server.start("trial", trial_spec(folder, training=training(length=ENDLESS)), cpus=[core])
    wait_for_steps(folder, 1, 1)
    assert os.sched_getaffinity(pid) == {core}
    assert os.getpgid(pid) == pid
    server.process.send_signal(signal.SIGINT)
    server.ask({"kill": "trial"})
    assert server.end("trial") == -signal.SIGKILL


@pytest.mark.parametrize(
    ("request_line", "message", "name"),
    [
        ("{", "a request is one JSON object per line", None),
        ('{"pause": "a"}', "unknown request", None),
        ('{"stop": "a"}', "no trial 'a' is running", "a"),
        ('{"start": "a", "spec": {}}', "start.log: is required and missing", "a"),
        ('{"start": "a", "spec": {}, "log": "/nowhere/log"}', "log: /nowhere/log cannot be opened", "a"),
    ],
)
def test_a_bad_request_is_an_event(server, request_line, message, name):
    """The server says what is wrong and goes on."""
    server.ask(request_line)
    event = server.event()
    assert event["error"].startswith(message)
    assert event["id"] == name


def test_a_runner_whose_server_has_died_is_told_how(tmp_path):
    """Also where it notices as it sends: what was not sent does not come up again as the server is left."""

    def stop_a_trial_of_a_dead_server():
        with ForkServer(tmp_path / "log") as own:
            process = own._running()
            process.kill()
            process.wait()
            own.stop("0-1")

    with pytest.raises(ForkServerError, match="the trainer's server ended by SIGKILL"):
        stop_a_trial_of_a_dead_server()


def test_trials_save_and_end_when_the_runner_is_gone(own_server, tmp_path):
    """The end of standard input is SIGTERM for all, and the server waits for them."""
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        own_server.start(folder.name, trial_spec(folder, training=training(length=ENDLESS)))
    for folder in folders:
        wait_for_steps(folder, 1, 1)
    own_server.process.stdin.close()
    assert own_server.process.wait(PATIENCE) == 0
    assert [results(folder)[1].exit_code for folder in folders] == [ExitCode.STOPPED] * 2


def test_trials_save_and_end_when_the_server_is_killed(own_server, tmp_path):
    """Each sees its lifeline end, also while siblings live on for a moment."""
    folders = [tmp_path / name for name in ("a", "b")]
    pids = [own_server.start(f.name, trial_spec(f, training=training(length=ENDLESS))) for f in folders]
    for folder in folders:
        wait_for_steps(folder, 1, 1)
    own_server.process.kill()
    for pid in pids:
        wait_for_end(pid)
    assert [results(folder)[1].exit_code for folder in folders] == [ExitCode.STOPPED] * 2
