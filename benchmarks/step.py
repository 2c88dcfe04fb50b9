"""Images per second of the training step, against the plain loop over edges and nodes; and what a step dispatches.

All nodes teach one another, on batches of 64 random images of 32 x 32 on the CPU. The plain loop is what the method's
published code does: NCHW, a loss per edge, attention crops cut sample by sample, a backward pass and an optimiser per
node. Each case runs in fresh processes, because a process that has run other sizes before is slower: three of each
side, taking turns, because what else a machine does changes from minute to minute. The fastest step of a side counts.

    python -m benchmarks.step        prints a table and MISSED where a target is missed; never fails for that

A quarter of an hour on a slow machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

BATCH, CLASSES, SIDE = 64, 100, 32
WARM_UP, STEPS, ROUNDS = 3, 10, 3
CROPS = (3, 7, 11)
"""On the maps of an ABN, of 16 cells a side here (spec 2.2)."""
MOST_OPERATIONS = 3500


class Case(NamedTuple):
    """Networks that all teach one another."""

    model: str
    nodes: int
    loss: str
    threads: tuple[int, ...]
    target: float

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.nodes} x {self.model}, {self.loss}"


CASES = (
    Case("resnet20", 2, "KL", (1,), 1.15),
    Case("resnet20", 4, "KL", (1,), 1.15),
    Case("resnet32", 3, "KL", (1, 2), 1.15),
    Case("abn-resnet20", 3, "Together", (1,), 2.5),
    Case("abn-resnet20", 4, "Together", (1,), 2.5),
)


def main() -> None:
    """Run all cases, or, as a child, one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", type=int, help="measure one case in this process")
    parser.add_argument("--how", choices=("plain", "FP32", "BF16", "operations"))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.case is None:
        compare()
    elif arguments.how == "operations":
        print(json.dumps(operations(CASES[arguments.case])))
    else:
        print(measure(CASES[arguments.case], arguments.how, arguments.threads))


def compare() -> None:
    """Print every case and its factor over the plain loop, then the operations of the largest."""
    reason, bf16_target = bf16_goal()
    print(f"training step, all nodes teach one another, batch {BATCH}; bf16 target for {reason}")
    print(f"{'':<34}{'threads':>7}  {'step':<6} {'images/s':>8}  {'factor':>6}  target")
    for place, case in enumerate(CASES):
        for threads in case.threads:
            speeds = dict.fromkeys(("plain", "FP32", "BF16"), 0.0)
            for how in [*speeds] * ROUNDS:
                speeds[how] = max(speeds[how], float(child(place, how, threads)))
            targets = {"FP32": case.target, "BF16": bf16_target}
            if case.loss != "KL":  # asked of the faster one
                targets = {max(("FP32", "BF16"), key=lambda how: speeds[how]): case.target}
            for how, speed in speeds.items():
                factor, target = speed / speeds["plain"], targets.get(how)
                verdict = "" if target is None else f"{target}x" + (" MISSED" if factor < target else "")
                line = f"{case.name:<34}{threads:>7}  {how:<6} {speed:8.1f}  {factor:5.2f}x  {verdict}"
                print(line.rstrip(), flush=True)
    last = len(CASES) - 1
    dispatched, waits = json.loads(child(last, "operations", 1))
    missed = " MISSED" if dispatched >= MOST_OPERATIONS or waits else ""
    print(f"one step of {CASES[last].name}: {dispatched} operations dispatched (under {MOST_OPERATIONS}), ", end="")
    print(f"{waits} of them read by the host (0){missed}")


def bf16_goal() -> tuple[str, float | None]:
    """What multiplies bfloat16 numbers on this CPU, and the factor that is due to it."""
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text().split() if cpu.exists() else []
    if "amx_bf16" in flags:
        return "AMX", 2.0
    if "avx512_bf16" in flags:
        return "AVX512-BF16 without AMX", 1.6
    return "a CPU without bfloat16 arithmetic: none", None


def child(case: int, how: str, threads: int) -> str:
    """What a fresh process prints of one case."""
    command = [sys.executable, "-m", "benchmarks.step", "--case", str(case), "--how", how, "--threads", str(threads)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def measure(case: Case, how: str, threads: int) -> float:
    """Images per second of the fastest step."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    step = plain_step(case) if how == "plain" else our_step(case, how)
    for _ in range(WARM_UP):
        step()
    seconds = []
    for _ in range(STEPS):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return BATCH / min(seconds)


def operations(case: Case) -> tuple[int, int]:
    """Operations that one step dispatches, views aside, and those of them that make the host wait for a number."""
    from collections import Counter

    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    counts: Counter[str] = Counter()

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if not func.is_view:
                counts[func.overloadpacket.__name__] += 1
            return func(*args, **(kwargs or {}))

    torch.set_num_threads(1)
    step = our_step(case, "FP32")
    step()
    with Counting():
        step()
    waiting = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal")
    return sum(counts.values()), sum(counts[name] for name in waiting)


def our_step(case: Case, precision: str, device: str = "cpu") -> Callable[[], None]:
    """One update of all nodes as a trial makes it."""
    import torch

    from graphtrial.contract import LABEL, Edge, Graph, Length, Loss, LossType, Node, Precision, Training
    from graphtrial.models import build
    from graphtrial.training.memory import keep_freed_memory
    from graphtrial.training.replay import Replayed
    from graphtrial.training.sgd import Sgd
    from graphtrial.training.step import GraphStep, Images

    keep_freed_memory()
    place = torch.device(device)
    names = [str(index + 1) for index in range(case.nodes)]
    label = Loss(type=LossType.CROSS_ENTROPY)
    transfer = Loss(type=LossType(case.loss), crops=CROPS if case.loss == "Together" else ())
    graph = Graph(
        nodes=tuple(Node(name=name, model=case.model) for name in names),
        edges=(
            *(Edge(source=LABEL, destination=name, loss=label) for name in names),
            *(Edge(source=s, destination=t, loss=transfer) for t in names for s in names if s != t),
        ),
    )
    training = Training(length=Length(steps=1000), precision=Precision(precision))
    networks = {name: build(case.model, classes=CLASSES, channels=3, image_size=SIDE).to(place) for name in names}
    graph_step = GraphStep(
        graph,
        networks,
        needed=frozenset(names),
        total_steps=1000,
        training=training,
        device=place,
    )
    optimiser = Sgd([[network] for network in networks.values()], training)
    images = Images(torch.rand(BATCH, 3, SIDE, SIDE, device=place), torch.randint(CLASSES, (BATCH,), device=place))

    def update(images: Images, rate: float | torch.Tensor) -> None:
        graph_step.losses(images).total.backward()
        optimiser.update(rate)

    step = Replayed(update, place) if device == "cuda" else update
    return lambda: step(images, 0.1)


def plain_step(case: Case, device: str = "cpu") -> Callable[[], None]:
    """One update of all nodes as the formulas are read: edge by edge, crop by crop, node by node."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    from graphtrial.models import Output, build, observe

    # A convolution is channels-last as soon as its weights are; the published code's are not.
    networks = [
        build(case.model, classes=CLASSES, channels=3, image_size=SIDE).to(
            device, memory_format=torch.contiguous_format
        )
        for _ in range(case.nodes)
    ]
    optimisers = [
        torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
        for network in networks
    ]
    images = torch.rand(BATCH, 3, SIDE, SIDE, device=device)
    labels = torch.randint(CLASSES, (BATCH,), device=device)

    def label_loss(own: Output) -> torch.Tensor:
        loss = F.cross_entropy(own.logits, labels)
        return loss if own.branch is None else loss + F.cross_entropy(own.branch, labels)

    def map_loss(theirs: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        size = theirs.shape[-1]
        losses = []
        for side in CROPS:
            cut, own_cut = [], []
            for sample in range(len(theirs)):
                top = int(theirs[sample].argmax())
                y, x = (min(max(at - side // 2, 0), size - side) for at in divmod(top, size))
                cut.append(theirs[sample, y : y + side, x : x + side].flatten())
                own_cut.append(own[sample, y : y + side, x : x + side].flatten())
            pair = (F.normalize(torch.stack(cells), dim=1) for cells in (cut, own_cut))
            losses.append(F.mse_loss(*pair))
        return torch.stack(losses).mean()

    def edge_loss(said: list[Output], source: int, destination: int) -> torch.Tensor:
        if source == destination:  # stands for the label edge here
            return label_loss(said[destination])
        constant = F.log_softmax(said[source].logits.detach(), dim=1)
        own = F.log_softmax(said[destination].logits, dim=1)
        loss = F.kl_div(own, constant, log_target=True, reduction="batchmean")
        if case.loss == "KL":
            return loss
        return loss + map_loss(said[source].map.detach(), said[destination].map)

    def step() -> None:
        said = [observe(network, images) for network in networks]
        nodes = range(case.nodes)
        losses = [torch.stack([edge_loss(said, s, t) for s in nodes]).sum() for t in nodes]
        for optimiser, loss in zip(optimisers, losses, strict=True):
            optimiser.zero_grad()
            loss.backward(retain_graph=True)
        for optimiser in optimisers:
            optimiser.step()

    return step


if __name__ == "__main__":
    main()
