"""RandAugment of one image with Pillow, written from the operations' names: what the batch is compared with."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from graphtrial.data.randaugment import Operation


def affine(image, *coefficients):
    """Nearest pixel, black outside."""
    return image.transform(image.size, Image.Transform.AFFINE, coefficients)


OPERATIONS = {
    Operation.IDENTITY: lambda image, _: image,
    Operation.AUTO_CONTRAST: lambda image, _: ImageOps.autocontrast(image),
    Operation.EQUALIZE: lambda image, _: ImageOps.equalize(image),
    Operation.POSTERIZE: lambda image, bits: ImageOps.posterize(image, int(bits)),
    Operation.SOLARIZE: ImageOps.solarize,
    Operation.BRIGHTNESS: lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    Operation.COLOR: lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    Operation.CONTRAST: lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    Operation.SHARPNESS: lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
    Operation.SHEAR_X: lambda image, shear: affine(image, 1, shear, 0, 0, 1, 0),
    Operation.SHEAR_Y: lambda image, shear: affine(image, 1, 0, 0, shear, 1, 0),
    Operation.TRANSLATE_X: lambda image, part: affine(image, 1, 0, part * image.size[0], 0, 1, 0),
    Operation.TRANSLATE_Y: lambda image, part: affine(image, 1, 0, 0, 0, 1, part * image.size[1]),
    Operation.ROTATE: lambda image, degrees: image.rotate(degrees),
}


def cut_out(image, centre_x, centre_y, size):
    """The arguments in 0..1: where the centre lies, and which part of half the side is cut."""
    side = image.size[0]
    length = size * 0.5 * side
    left = int(max(0, centre_x * side - length / 2))
    top = int(max(0, centre_y * side - length / 2))
    cut = image.copy()
    colour = (125, 123, 114) if image.mode == "RGB" else 123
    ImageDraw.Draw(cut).rectangle((left, top, min(side, left + length), min(side, top + length)), colour)
    return cut
