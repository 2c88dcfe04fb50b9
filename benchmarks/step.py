"""Images per second of the training step, against the plain loop over edges and nodes.

Three ResNet32 that all teach one another, batches of 64 random images of 32 x 32, on the CPU. The plain loop is what
the method's published code does: NCHW, a loss per edge, a backward pass and an optimiser per node. Each case runs in
a fresh process, because a process that has run other sizes before is slower, and its fastest step counts.

    python benchmarks/step.py        prints a table and MISSED where a target is missed; never fails for that
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

NODES, BATCH, CLASSES = 3, 64, 100
WARM_UP, STEPS = 3, 10
CASES = ("plain", "FP32", "BF16")


def main() -> None:
    """Run all cases, or, as a child, one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=CASES, help="measure one case in this process and print images per second")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.case:
        print(measure(arguments.case, arguments.threads))
    else:
        compare()


def compare() -> None:
    """Print every case and its factor over the plain loop."""
    reason, bf16_target = bf16_goal()
    print(f"training step, {NODES} x ResNet32, batch {BATCH}; bf16 target for {reason}")
    print(f"{'threads':>7}  {'step':<6} {'images/s':>8}  {'factor':>6}  target")
    targets = {"FP32": 1.1, "BF16": bf16_target}
    for threads in (1, 2):
        speeds = {case: in_fresh_process(case, threads) for case in CASES}
        for case, speed in speeds.items():
            factor, target = speed / speeds["plain"], targets.get(case)
            verdict = "" if target is None else f"{target}x" + (" MISSED" if factor < target else "")
            print(f"{threads:>7}  {case:<6} {speed:8.1f}  {factor:5.2f}x  {verdict}".rstrip(), flush=True)


def bf16_goal() -> tuple[str, float | None]:
    """What multiplies bfloat16 numbers on this CPU, and the factor that is due to it."""
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text().split() if cpu.exists() else []
    if "amx_bf16" in flags:
        return "AMX", 2.0
    if "avx512_bf16" in flags:
        return "AVX512-BF16 without AMX", 1.6
    return "a CPU without bfloat16 arithmetic: none", None


def in_fresh_process(case: str, threads: int) -> float:
    """Images per second of one case."""
    command = [sys.executable, __file__, "--case", case, "--threads", str(threads)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measure(case: str, threads: int) -> float:
    """Images per second of the fastest step."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    step = plain_step() if case == "plain" else our_step(case)
    for _ in range(WARM_UP):
        step()
    seconds = []
    for _ in range(STEPS):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return BATCH / min(seconds)


def our_step(precision: str) -> Callable[[], None]:
    """One update of all nodes as a trial makes it."""
    import torch

    from graphtrial.contract import LABEL, Edge, Graph, Length, Loss, LossType, Node, Precision, Training
    from graphtrial.models import build
    from graphtrial.training.memory import keep_freed_memory
    from graphtrial.training.sgd import Sgd
    from graphtrial.training.step import GraphStep, Images

    keep_freed_memory()
    names = [str(index + 1) for index in range(NODES)]
    label, transfer = Loss(type=LossType.CROSS_ENTROPY), Loss(type=LossType.KL)
    graph = Graph(
        nodes=tuple(Node(name=name, model="resnet32") for name in names),
        edges=(
            *(Edge(source=LABEL, destination=name, loss=label) for name in names),
            *(Edge(source=s, destination=t, loss=transfer) for t in names for s in names if s != t),
        ),
    )
    networks = {name: build("resnet32", classes=CLASSES, channels=3, image_size=32) for name in names}
    training = Training(length=Length(steps=1000), precision=Precision(precision))
    graph_step = GraphStep(
        graph,
        networks,
        needed=frozenset(names),
        total_steps=1000,
        training=training,
        device=torch.device("cpu"),
    )
    optimiser = Sgd([[network] for network in networks.values()], training)
    images = Images(torch.rand(BATCH, 3, 32, 32), torch.randint(CLASSES, (BATCH,)))

    def step() -> None:
        graph_step.losses(images).total.backward()
        optimiser.update(0.1)

    return step


def plain_step() -> Callable[[], None]:
    """One update of all nodes as the formulas are read: edge by edge, node by node."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    from graphtrial.models import build

    # A convolution is channels-last as soon as its weights are; the published code's are not.
    networks = [
        build("resnet32", classes=CLASSES, channels=3, image_size=32).to(memory_format=torch.contiguous_format)
        for _ in range(NODES)
    ]
    optimisers = [
        torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
        for network in networks
    ]
    images, labels = torch.rand(BATCH, 3, 32, 32), torch.randint(CLASSES, (BATCH,))

    def edge_loss(logits: list[torch.Tensor], source: int, destination: int) -> torch.Tensor:
        if source == destination:  # stands for the label edge here
            return F.cross_entropy(logits[destination], labels)
        constant = F.log_softmax(logits[source].detach(), dim=1)
        return F.kl_div(F.log_softmax(logits[destination], dim=1), constant, log_target=True, reduction="batchmean")

    def step() -> None:
        logits = [network(images) for network in networks]
        losses = [torch.stack([edge_loss(logits, s, t) for s in range(NODES)]).sum() for t in range(NODES)]
        for optimiser, loss in zip(optimisers, losses, strict=True):
            optimiser.zero_grad()
            loss.backward(retain_graph=True)
        for optimiser in optimisers:
            optimiser.step()

    return step


if __name__ == "__main__":
    main()
