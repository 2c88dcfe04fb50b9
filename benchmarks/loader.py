"""Images per second of the augmenting loader on one thread, beside a per-image pipeline run in the same minute.

    python -m benchmarks.loader        prints MISSED where the target is missed; never fails for that

The pipeline is what most training scripts use: PIL images, torchvision transforms, a stack per batch. Both pad by
reflection, crop, flip and normalise 32-pixel colour images in batches of 64.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from PIL import Image
from torchvision import transforms

from graphtrial.contract import Augmentation
from graphtrial.data import Batches, ImageSet

COUNT = 10_000
BATCH = 64
TARGET = 20_000
REPEATS = 5
SECONDS = 0.5
MEAN, STD = torch.tensor([0.49, 0.48, 0.45]), torch.tensor([0.25, 0.24, 0.26])


def images_per_second(make_batch: Callable[[int], object]) -> float:
    """The best of several stretches of time."""
    make_batch(0)
    best = 0.0
    for _ in range(REPEATS):
        steps, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < SECONDS:
            make_batch(steps)
            steps += 1
        best = max(best, steps * BATCH / elapsed)
    return best


def main() -> None:
    """Print both speeds and their ratio."""
    torch.set_num_threads(1)
    pixels = torch.randint(0, 256, (COUNT, 32, 32, 3), dtype=torch.uint8)
    images = ImageSet(pixels.permute(0, 3, 1, 2), torch.randint(0, 10, (COUNT,)))
    batches = Batches(
        images,
        augmentations=(Augmentation.PAD_CROP_FLIP,),
        mean=MEAN,
        std=STD,
        device=torch.device("cpu"),
        batch_size=BATCH,
    )
    order = batches.epoch_order(seed=0, epoch=1)
    ours = images_per_second(lambda step: batches.view(order[step % len(order)], Augmentation.PAD_CROP_FLIP, 0, step))

    pictures = [Image.fromarray(image.numpy()) for image in pixels]
    transform = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4, padding_mode="reflect"),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN.tolist(), STD.tolist()),
        ]
    )
    per_image = images_per_second(
        lambda step: torch.stack([transform(pictures[index]) for index in order[step % len(order)].tolist()])
    )
    print(f"loader with pad-crop-flip, 32x32x3, batch {BATCH}, 1 thread")
    print(f"  graphtrial.data     {ours:>8,.0f} images/s  target {TARGET:,} {'' if ours >= TARGET else 'MISSED'}")
    print(f"  PIL, torchvision    {per_image:>8,.0f} images/s")
    print(f"  factor              {ours / per_image:>8.1f}")


if __name__ == "__main__":
    main()
