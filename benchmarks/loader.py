"""Images per second and core of the augmenting loader, beside a per-image pipeline run in the same minute.

    python -m benchmarks.loader        prints MISSED where a target is missed; never fails for that

The pipeline is what most training scripts use: PIL images, torchvision transforms, a stack per batch. Small images are
in memory in both; large ones come as JPEG in the pipeline, as torchvision's sets give them, and are shown decoded
beforehand too, so that the saving by decoding once and that by batches can be told apart. Normalised float32 comes out.
"""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from torchvision import transforms

from graphtrial.contract import Augmentation
from graphtrial.data import Batches, ImageSet
from graphtrial.training.memory import keep_freed_memory

SMALL, LARGE, SEEN = 10_000, 256, 224
BATCH = 64
UNLABELLED = 448
"""Table 5.1: images that get a strong view in one step."""
ROUNDS = 4
SECONDS = 0.7
TARGETS = {Augmentation.PAD_CROP_FLIP: 20_000, Augmentation.RAND_AUGMENT: 4_000, Augmentation.RESIZED_CROP_FLIP: 300}
MEAN, STD = torch.tensor([0.49, 0.48, 0.45]), torch.tensor([0.25, 0.24, 0.26])
FINISH = [transforms.ToTensor(), transforms.Normalize(MEAN.tolist(), STD.tolist())]
WEAK = [transforms.RandomCrop(32, padding=4, padding_mode="reflect"), transforms.RandomHorizontalFlip()]


def images_per_second(makers: Sequence[Callable[[int], object]], size: int) -> list[float]:
    """The best stretch of each, in turns, so that whatever else the machine does meets all."""
    best = [0.0] * len(makers)
    for make in makers:
        make(0)
    for _ in range(ROUNDS):
        for place, make in enumerate(makers):
            steps, start = 0, time.perf_counter()
            while (elapsed := time.perf_counter() - start) < SECONDS:
                make(steps)
                steps += 1
            best[place] = max(best[place], steps * size / elapsed)
    return best


def rand_augment(image: Image.Image) -> Image.Image:
    """FixMatch's, image by image: three of 14 operations and a cut-out."""

    def affine(image: Image.Image, *coefficients: float) -> Image.Image:
        return image.transform(image.size, Image.Transform.AFFINE, coefficients)

    operations: list[Callable[[Image.Image, float], Image.Image]] = [
        lambda image, _: image,
        lambda image, _: ImageOps.autocontrast(image),
        lambda image, _: ImageOps.equalize(image),
        lambda image, part: ImageOps.posterize(image, int(4 + 4 * part)),
        lambda image, part: ImageOps.solarize(image, int(256 * part)),
        lambda image, part: ImageEnhance.Brightness(image).enhance(0.05 + 0.9 * part),
        lambda image, part: ImageEnhance.Color(image).enhance(0.05 + 0.9 * part),
        lambda image, part: ImageEnhance.Contrast(image).enhance(0.05 + 0.9 * part),
        lambda image, part: ImageEnhance.Sharpness(image).enhance(0.05 + 0.9 * part),
        lambda image, part: affine(image, 1, 0.6 * part - 0.3, 0, 0, 1, 0),
        lambda image, part: affine(image, 1, 0, 0, 0.6 * part - 0.3, 1, 0),
        lambda image, part: affine(image, 1, 0, (0.6 * part - 0.3) * image.size[0], 0, 1, 0),
        lambda image, part: affine(image, 1, 0, 0, 0, 1, (0.6 * part - 0.3) * image.size[1]),
        lambda image, part: image.rotate(60 * part - 30),
    ]
    for operation in random.choices(operations, k=3):
        image = operation(image, random.random())
    side, cut = image.size[0], image.copy()
    length, x, y = random.random() * 0.5 * side, random.random() * side, random.random() * side
    left, top = int(max(0, x - length / 2)), int(max(0, y - length / 2))
    ImageDraw.Draw(cut).rectangle((left, top, min(side, left + length), min(side, top + length)), (125, 123, 114))
    return cut


def batches_of(images: ImageSet, augmentation: Augmentation, size: int) -> Callable[[int], object]:
    """Ours: one batch a step."""
    batches = Batches(
        images, augmentations=(augmentation,), mean=MEAN, std=STD, device=torch.device("cpu"), batch_size=size
    )
    order = batches.epoch_order(seed=0, epoch=1)
    return lambda step: batches.view(order[step % len(order)], augmentation, 0, step)


def pipeline_of(pictures: Sequence[Callable[[], Image.Image]], size: int, *steps: Callable) -> Callable[[int], object]:
    """Theirs: image by image."""
    transform = transforms.Compose([*steps, *FINISH])
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(0)).tolist()

    def make(step: int) -> object:
        chosen = [order[(step * size + place) % len(order)] for place in range(size)]
        return torch.stack([transform(pictures[index]()) for index in chosen])

    return make


def show(
    augmentation: Augmentation, size: int, names: Sequence[str], makers: Sequence[Callable[[int], object]]
) -> None:
    """Ours, then each other with the factor over it."""
    ours, *others = images_per_second(makers, size)
    target = TARGETS[augmentation]
    print(f"{augmentation}: {names[0]}, batch {size}, 1 thread")
    verdict = "" if ours >= target else "MISSED"
    print(f"  {'graphtrial.data':<30}{ours:>8,.0f} images/s  target {target:,} {verdict}")
    for name, other in zip(names[1:], others, strict=True):
        print(f"  {name:<30}{other:>8,.0f} images/s  factor {ours / other:.1f}")


def small_sets() -> None:
    """32-pixel images in memory."""
    pixels = torch.randint(0, 256, (SMALL, 32, 32, 3), dtype=torch.uint8)
    images = ImageSet(pixels.permute(0, 3, 1, 2), torch.randint(0, 10, (SMALL,)))
    pictures = [Image.fromarray(image.numpy()).copy for image in pixels]
    cases = ((Augmentation.PAD_CROP_FLIP, BATCH, []), (Augmentation.RAND_AUGMENT, UNLABELLED, [rand_augment]))
    for augmentation, size, steps in cases:
        makers = [batches_of(images, augmentation, size), pipeline_of(pictures, size, *WEAK, *steps)]
        show(augmentation, size, ["32x32x3", "PIL, torchvision"], makers)


def large_sets() -> None:
    """Images of 256 pixels, seen at 224."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(LARGE, 3, 32, 32, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(256, 256), mode="bicubic").clamp(0, 1)
    pixels = (smooth * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    images = ImageSet(pixels.permute(0, 3, 1, 2), torch.zeros(LARGE, dtype=torch.int64), side=SEEN)
    decoded = [Image.fromarray(np.asarray(image)) for image in pixels]

    def as_jpeg(picture: Image.Image) -> Callable[[], Image.Image]:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=90)
        return lambda: Image.open(io.BytesIO(file.getvalue())).convert("RGB")

    steps = [transforms.RandomResizedCrop(SEEN), transforms.RandomHorizontalFlip()]
    makers = [
        batches_of(images, Augmentation.RESIZED_CROP_FLIP, BATCH),
        pipeline_of([as_jpeg(picture) for picture in decoded], BATCH, *steps),
        pipeline_of([picture.copy for picture in decoded], BATCH, *steps),
    ]
    names = ["256x256x3 to 224", "PIL, torchvision, JPEG", "PIL, torchvision, decoded"]
    show(Augmentation.RESIZED_CROP_FLIP, BATCH, names, makers)


def main() -> None:
    """Print every speed and factor."""
    torch.set_num_threads(1)
    keep_freed_memory()
    random.seed(0)
    small_sets()
    large_sets()


if __name__ == "__main__":
    main()
