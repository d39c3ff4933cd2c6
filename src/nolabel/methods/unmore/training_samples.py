"""Random crops of objects, and of background, for both trainings (unMORE specification, 3.1 and 3.2).

Draws come from torch's global generator, which the training loop seeds for every sample.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypedDict, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import RandomResizedCrop

from nolabel.engine.seeding import preserved_random_state, seed_everything, seed_of
from nolabel.errors import DataError
from nolabel.methods.unmore.existence_targets import background_crop, cut_and_resize, labelled_crop
from nolabel.methods.unmore.object_source import ObjectSource
from nolabel.methods.unmore.targets import crop_and_resize, resize_masks
from nolabel.methods.unmore.training_settings import TargetConfig

__all__ = ["ExistenceSamples", "FieldSamples", "fixed_samples"]

RATIO = [0.75, 1.33]  # of the paper's crops
TORCHVISION_SCALE, TORCHVISION_RATIO = [0.08, 1.0], [3 / 4, 4 / 3]
_REPLACEMENTS = 20

Sample = TypeVar("Sample")


class FieldSample(TypedDict):
    """A crop and what its fields are made of.

    Attributes:
        image: (3, S, S) the crop, RGB in [0, 1].
        mask: (C, C) bool, the object on the whole canvas.
        crop: (4,) int64, top, left, height, width on the canvas.
    """

    image: Tensor
    mask: Tensor
    crop: Tensor


class FieldSamples(Dataset[FieldSample]):
    """Random crops of images with one object, for the objectness network.

    Args:
        source: images and masks.
        indices: samples of the source to take.
        config: sizes.
    """

    def __init__(self, source: ObjectSource, indices: Sequence[int], config: TargetConfig) -> None:
        self.source, self.indices, self.config = source, indices, config

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> FieldSample:
        return _readable(self.source, self.indices, index, self._sample)

    def _sample(self, index: int) -> FieldSample:
        image, mask, _ = self.source.read(index)
        config, canvas = self.config, (self.config.canvas, self.config.canvas)
        image = F.interpolate(image[None], size=canvas, mode="bilinear", align_corners=False)
        drawn = RandomResizedCrop.get_params(image, list(config.scale), RATIO)
        crop = torch.tensor(drawn)
        cropped = crop_and_resize(image, crop[None], config.size)[0]
        return {"image": cropped, "mask": resize_masks(mask[None], canvas)[0], "crop": crop}


class ExistenceSamples(Dataset[tuple[Tensor, Tensor]]):
    """Crops with the label 1 where an object is in them and 0 where none is, for the existence network.

    Args:
        source: images and masks.
        indices: samples of the source to take.
        size: side of the crops.
        background: part of the samples that show the largest free square of their image; where there is none, a random
            crop takes its place.
    """

    def __init__(self, source: ObjectSource, indices: Sequence[int], size: int, background: float) -> None:
        self.source, self.indices, self.size, self.background = source, indices, size, background

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return _readable(self.source, self.indices, index, self._sample)

    def _sample(self, index: int) -> tuple[Tensor, Tensor]:
        wanted = bool(torch.rand(()) < self.background)
        image, mask, union = self.source.read(index, everything=wanted)
        square = background_crop(union) if union is not None else None
        if square is not None:
            return cut_and_resize(image, square, self.size), torch.tensor(0.0)
        drawn = RandomResizedCrop.get_params(image, TORCHVISION_SCALE, TORCHVISION_RATIO)
        crop, label = labelled_crop(image, mask, drawn, self.size)
        return crop, torch.tensor(label)


def fixed_samples(dataset: Dataset[Sample], count: int, seed: int) -> list[Sample]:
    """Draw samples, evenly over a dataset, that are the same at every call.

    Args:
        dataset: one of the above.
        count: how many; a small dataset is gone through several times, in other crops.
        seed: of the draws.
    """
    length = len(dataset)  # type: ignore[arg-type]
    places = [number * length // count if length >= count else number % length for number in range(count)]
    samples = []
    for number, place in enumerate(places):
        with preserved_random_state():
            seed_everything(seed_of(seed, "look", number))
            samples.append(dataset[place])
    return samples


_named: set[str] = set()


def _readable(
    source: ObjectSource, indices: Sequence[int], index: int, sample: Callable[[int], Sample]
) -> Sample:
    """Take a sample, or the next one whose image can be read; damaged files are named once.

    Raises:
        DataError: many images in a row cannot be read.
    """
    for place in range(index, index + _REPLACEMENTS):
        chosen = indices[place % len(indices)]
        try:
            return sample(chosen)
        except DataError as error:
            last = error
            if error.message not in _named:
                _named.add(error.message)
                print(f"left out: {error.message}", file=sys.stderr)
    raise last
