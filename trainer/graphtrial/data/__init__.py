"""Images: read from disk, split, kept on the device and augmented there in whole batches.

This room must not know what is trained on them. Every random draw is a function of a seed, the stream's name and an
epoch or step, so nothing random needs to be stored.

Decided against: worker processes and torch's DataLoader. Images are decoded once and lie as uint8 on the device or in a
memory map; one gather per batch is faster than several workers that decode and crop image by image.
"""

from graphtrial.data.batches import Batches
from graphtrial.data.images import DataError, ImageSet, TrialData
from graphtrial.data.load import load

__all__ = ["Batches", "DataError", "ImageSet", "TrialData", "load"]
