"""Images per second of training on a CUDA device, against the plain loops that are published, in the same process.

    python -m benchmarks.gpu        prints MISSED where a target is missed; never fails for that

FP32 is float32: the rounding of factors to 10 bits that GPUs offer (TF32) is off on both sides. The plain loop over
edges and nodes is that of ``benchmarks.step``, so its crops wait for the device sample by sample, as the published
code's do.

The plain FixMatch is what USB does: images through PIL in two worker processes, one pass over labelled, weak and strong
images, four numbers read each step, an average of the weights kept name by name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from benchmarks.loader import FINISH, MEAN, STD, WEAK, rand_augment
from benchmarks.step import BATCH, Case, our_step, plain_step
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from graphtrial.contract import (
    LABEL,
    Augmentation,
    Edge,
    Graph,
    Length,
    Loss,
    LossType,
    Node,
    NodeKind,
    Precision,
    Training,
    Unlabelled,
)
from graphtrial.data import Batches, ImageSet
from graphtrial.models import build
from graphtrial.training.averages import MovingAverages
from graphtrial.training.feed import Feed
from graphtrial.training.replay import Replayed
from graphtrial.training.sgd import Sgd
from graphtrial.training.step import GraphStep, Images

CUDA = torch.device("cuda")
TARGETS = {
    Case("resnet32", 3, "KL", (), 4.0): {"FP32": 4.0, "BF16": 8.0},
    Case("abn-resnet20", 4, "Together", (), 30.0): {"BF16": 30.0},
}
LABELLED, UNLABELLED, CLASSES, IMAGES = 64, 448, 100, 20_000
"""Table 5.1; the number of images is free."""
FIXMATCH_TARGET = 3.0
WORKERS = (2, 12)
"""Of the plain FixMatch: USB's setting, and as many as help."""


def seconds_per_step(step: Callable[[], None], steps: int, rounds: int = 3) -> float:
    """Of the best round; the device has finished at the end of each."""
    for _ in range(4):
        step()
    best = float("inf")
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(steps):
            step()
        torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - start) / steps)
    return best


class Row(NamedTuple):
    """One line of the table."""

    case: str
    how: str
    images: int
    seconds: float

    def show(self, plain: Row | None = None, target: float | None = None) -> None:
        """With the factor over the plain loop."""
        line = (
            f"{self.case:<32}{self.how:<22}{self.images / self.seconds:>10,.0f} images/s {1e3 * self.seconds:9.2f} ms"
        )
        if plain is not None:
            factor = plain.seconds / self.seconds
            line += f"  {factor:6.1f}x"
            if target is not None:
                line += f"  target {target:g}x" + (" MISSED" if factor < target else "")
        print(line, flush=True)


@contextmanager
def rounded(precision: str) -> Iterator[None]:
    """What a trial of this precision sets."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "TF32"
    yield
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


@contextmanager
def deterministic() -> Iterator[None]:
    """What a trial in deterministic mode sets."""
    torch.backends.cudnn.deterministic = True
    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = False
    yield
    torch.backends.cudnn.deterministic = False
    torch.set_deterministic_debug_mode("default")


def graphs_that_teach() -> None:
    """All nodes teach one another; BF16 is compared with the plain loop in float32."""
    for case, targets in TARGETS.items():
        plain = {}
        for precision in ("FP32", "TF32"):
            with rounded(precision):
                seconds = seconds_per_step(plain_step(case, "cuda"), 5)
            plain[precision] = Row(case.name, f"plain, {precision}", BATCH, seconds)
            plain[precision].show()
        for precision in ("FP32", "TF32", "BF16"):
            with rounded(precision):
                seconds = seconds_per_step(our_step(case, precision, "cuda"), 50)
            beside = plain.get(precision, plain["FP32"])
            Row(case.name, f"ours, {precision}", BATCH, seconds).show(beside, targets.get(precision))
            with rounded(precision), deterministic():
                seconds = seconds_per_step(our_step(case, precision, "cuda"), 50)
            Row(case.name, f"deterministic, {precision}", BATCH, seconds).show(beside)


def recording() -> None:
    """What a trial pays for it."""
    case = next(iter(TARGETS))
    step = our_step(case, "FP32", "cuda")
    moments = []
    for _ in range(4):
        torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        moments.append(time.perf_counter() - start)
    shown = ", ".join(f"{1e3 * seconds:.1f}" for seconds in moments)
    print(f"the first updates of {case.name}: {shown} ms, the third with recording")


def our_fixmatch(precision: str, pixels: Tensor, labels: Tensor) -> Callable[[], None]:
    """One update from the numbers of the images on."""
    graph = Graph(
        nodes=(
            Node(name="1", model="wrn-28-2"),
            Node(name="2", kind=NodeKind.EMA, follows="1", decay=0.999),
        ),
        edges=(
            Edge(source=LABEL, destination="1", loss=Loss(type=LossType.CROSS_ENTROPY)),
            Edge(source="1", destination="1", loss=Loss(type=LossType.THRESHOLDED_PSEUDO_LABEL, threshold=0.95)),
        ),
    )
    training = Training(
        length=Length(steps=1000),
        batch_size=LABELLED,
        precision=Precision(precision),
        unlabelled=Unlabelled(
            batch_size=UNLABELLED, destination=Augmentation.RAND_AUGMENT, source=Augmentation.PAD_CROP_FLIP
        ),
    )
    networks = {name: build("wrn-28-2", classes=CLASSES, channels=3, image_size=32).to(CUDA) for name in "12"}
    images = ImageSet(pixels.permute(0, 3, 1, 2), labels)

    def batches(size: int, *augmentations: Augmentation) -> Batches:
        return Batches(images, augmentations=augmentations, mean=MEAN, std=STD, device=CUDA, batch_size=size)

    views = training.unlabelled
    unlabelled = batches(UNLABELLED, views.destination, views.source)
    feed = Feed(batches(LABELLED, training.augmentation), unlabelled, training, seed=0)
    step = GraphStep(graph, networks, needed=frozenset("12"), total_steps=1000, training=training, device=CUDA)
    sgd, averages = Sgd([[networks["1"]]], training), MovingAverages(graph, networks)

    def update(images: Images, rate: float | Tensor) -> None:
        step.losses(images).total.backward()
        sgd.update(rate)
        averages.update()

    replayed, count = Replayed(update, CUDA), iter(range(10**9))
    return lambda: replayed(feed.images(next(count)), 0.03)


class Pictures(Dataset):
    """Images through PIL, as torchvision's sets give them: one weak view, or a weak and a strong one."""

    def __init__(self, pixels: Tensor, labels: Tensor, *, strong: bool) -> None:
        self._pixels, self._labels, self._strong = pixels.numpy(), labels.tolist(), strong
        self._weak = transforms.Compose([*WEAK, *FINISH])
        self._both = transforms.Compose([*WEAK, rand_augment, *FINISH])

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor | int]:
        picture = Image.fromarray(self._pixels[index])
        return self._weak(picture), self._both(picture) if self._strong else self._labels[index]


def plain_fixmatch(pixels: Tensor, labels: Tensor, workers: int) -> Callable[[], None]:
    """USB's step."""
    network = build("wrn-28-2", classes=CLASSES, channels=3, image_size=32).to(memory_format=torch.contiguous_format)
    network, average = network.to(CUDA), build("wrn-28-2", classes=CLASSES, channels=3, image_size=32).to(CUDA)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.03, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def endless(size: int, *, strong: bool) -> Iterator[list[Tensor]]:
        loader = DataLoader(
            Pictures(pixels, labels, strong=strong),
            size, shuffle=True, num_workers=workers, drop_last=True, pin_memory=True,
        )  # fmt: skip
        while True:
            yield from loader

    labelled, unlabelled = endless(LABELLED, strong=False), endless(UNLABELLED, strong=True)

    def keep_average(network: nn.Module) -> None:
        theirs, own = network.state_dict(), average.state_dict()
        for name, value in theirs.items():
            own[name] = own[name] * 0.999 + value * 0.001 if value.dtype.is_floating_point else value
        average.load_state_dict(own)

    def step() -> None:
        images, targets = (each.to(CUDA) for each in next(labelled))
        weak, strong = (each.to(CUDA) for each in next(unlabelled))
        logits = network(torch.cat([images, weak, strong]))
        own, of_weak, of_strong = logits.split([LABELLED, UNLABELLED, UNLABELLED])
        supervised = F.cross_entropy(own, targets)
        sure, label = of_weak.detach().softmax(-1).max(-1)
        mask = (sure >= 0.95).float()
        consistency = (F.cross_entropy(of_strong, label, reduction="none") * mask).mean()
        loss = supervised + consistency
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        keep_average(network)
        _ = [value.item() for value in (supervised, consistency, loss, mask.mean())]

    return step


def fixmatch() -> None:
    """From image numbers to updated weights."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (IMAGES, 32, 32, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(CLASSES, (IMAGES,), generator=generator)
    case, images = f"FixMatch, {LABELLED}+{UNLABELLED}+{UNLABELLED}", LABELLED + 2 * UNLABELLED
    for precision in ("FP32", "TF32"):
        plain = []
        for workers in WORKERS:
            with rounded(precision):
                seconds = seconds_per_step(plain_fixmatch(pixels, labels, workers), 12, 2)
            plain.append(Row(case, f"plain, {precision}, {workers} workers", images, seconds))
            plain[-1].show(plain[0])
        for own in ("FP32", "BF16") if precision == "FP32" else ("TF32",):
            with rounded(own):
                seconds = seconds_per_step(our_fixmatch(own, pixels, labels), 30)
            Row(case, f"ours, {own}", images, seconds).show(plain[0], FIXMATCH_TARGET if own == "BF16" else None)


def main() -> None:
    """Print every case."""
    torch.backends.cudnn.allow_tf32 = False
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    recording()
    graphs_that_teach()
    fixmatch()


if __name__ == "__main__":
    main()
