"""Real trainer processes: a fork server, what its trials show, and what they leave."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from graphtrial.contract import TrialResult
from graphtrial.storage import open_store

PATIENCE = 120.0
"""Seconds until a test gives up on a process that is stuck."""
ENDLESS = {"epochs": 2500}
"""A length that no test waits for."""


class Server:
    """A fork server and the runner's side of its conversation."""

    def __init__(self, logs: Path) -> None:
        """Start it and wait until it is ready."""
        command = [sys.executable, "-m", "graphtrial", "serve"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.logs = logs
        self._seen = b""
        assert self.event() == {"ready": True}

    def ask(self, line: str | dict) -> None:
        """Send a request."""
        text = line if isinstance(line, str) else json.dumps(line)
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def event(self) -> dict:
        """The next event."""
        while b"\n" not in self._seen:
            ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
            assert ready, "the server says nothing"
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, "the server has ended"
            self._seen += data
        line, _, self._seen = self._seen.partition(b"\n")
        return json.loads(line)

    def start(self, name: str, spec: dict, **fields) -> int:
        """Start a trial; its pid."""
        self.ask({"start": name, "spec": spec, "log": str(self.logs / f"{name}.log")} | fields)
        event = self.event()
        assert event["started"] == name
        return event["pid"]

    def end(self, name: str) -> int:
        """Wait for a trial's end; its exit code."""
        event = self.event()
        assert event["ended"] == name, event
        return event["code"]

    def run(self, name: str, spec: dict) -> int:
        """Start a trial and wait for its end."""
        self.start(name, spec)
        return self.end(name)

    def log(self, name: str) -> str:
        """What a trial has printed."""
        return (self.logs / f"{name}.log").read_text()

    def close(self) -> None:
        """End it, as a runner that goes does."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.process.stdout.close()


def scraped(folder: Path, attempt: int) -> dict[tuple[str, str], float]:
    """What that attempt shows now, by metric and rung; empty while it does not answer."""
    try:
        return scraped_at(int((folder / "port").read_text()), attempt)
    except FileNotFoundError:
        return {}


def scraped_at(port: int, attempt: int) -> dict[tuple[str, str], float]:
    """The same of the attempt that answers at a port."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
    except (URLError, ConnectionError):
        return {}
    samples = [sample for family in families for sample in family.samples]
    return {
        (sample.name, sample.labels.get("rung", "")): sample.value
        for sample in samples
        if sample.labels["attempt"] == str(attempt)
    }


def wait_for_steps(folder: Path, attempt: int, steps: int) -> dict[tuple[str, str], float]:
    """The first scrape of an attempt that shows so many updates."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = scraped(folder, attempt)
        if found.get(("graphtrial_steps_total", ""), -1) >= steps:
            return found
        time.sleep(0.002)
    raise AssertionError(f"attempt {attempt} never got to step {steps}")


def wait_for_end(pid: int) -> None:
    """Of a process that is not our child."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        # A zombie that nobody reaps has ended too.
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} does not end")


def results(folder: Path) -> dict[int, TrialResult]:
    """Reports by attempt."""
    store = open_store(folder.as_uri())
    found = [TrialResult.model_validate_json(store.read(key)) for key in store.list("reports/")]
    return {result.attempt: result for result in found}
