"""The samples of a training on images: a part of a source image with its labels, and a part of a target image.

Source: UDASS specification (image) 2.4, 2.11 and 4.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from nolabel.data.domain_images import SourceImages, TargetImages
from nolabel.data.files import read_image_bytes
from nolabel.data.photometric import distort_colours
from nolabel.data.sampling import ClassStatistics, RareClassSampler
from nolabel.data.views import View, ViewConfig, draw_view
from nolabel.engine.seeding import generator_of
from nolabel.errors import DataError
from nolabel.labels import VOID
from nolabel.methods.quadmix.settings import CropSamplingConfig, ImageConfig, TargetViewConfig
from nolabel.models.segmentation.normalise import MEAN

__all__ = ["DomainPair", "DomainPairs", "Kept", "draw_view_with", "trusted_pixels"]

FILL = tuple(value / 255 for value in MEAN)
"""Colour beyond an image: what the networks' normalisation makes 0."""
TRIES = 10
ROOM = 2**27
"""Bytes of decoded images that a data set keeps, in each process that reads."""


class DomainPair(NamedTuple):
    """A source and a target image; as a batch with a first axis B.

    Attributes:
        source: (3, h, w) float32 in [0, 1].
        labels: (h, w) uint8 of the source, 255 void.
        target: (3, h', w') float32 in [0, 1].
        trusted: (h', w') bool: where pseudo labels count.
        number: of the sample, from which draws may be seeded.
    """

    source: Tensor
    labels: Tensor
    target: Tensor
    trusted: Tensor
    number: int


class Kept:
    """Keeps what was read as long as there is room, so that small data sets are decoded once.

    Nothing is thrown out again: images are drawn at random, so one is as good as another.

    Args:
        read: gives the tensors of an index.
        room: bytes that may be kept.
    """

    def __init__(self, read: Callable[[int], tuple[Tensor, ...]], room: int = ROOM) -> None:
        self.read, self.room = read, room
        self.kept: dict[int, tuple[Tensor, ...]] = {}

    def __call__(self, index: int) -> tuple[Tensor, ...]:
        """Return the tensors of an index, which must not be changed."""
        if index in self.kept:
            return self.kept[index]
        found = self.read(index)
        size = sum(part.nbytes for part in found)
        if size <= self.room:
            self.kept[index] = found
            self.room -= size
        return found


class DomainPairs(Dataset[DomainPair]):
    """As many samples as a training takes; each depends on nothing but the seed and its index.

    Args:
        source: labelled images.
        target: images to adapt to.
        config: settings.
        count: number of samples: steps, times batch, times processes.
        statistics: of the source's classes, for ``config.rare_classes``.

    Raises:
        DataError: statistics are wanted and missing, or no image has enough of any class.
    """

    def __init__(
        self,
        source: SourceImages,
        target: TargetImages,
        config: ImageConfig,
        count: int,
        *,
        statistics: ClassStatistics | None = None,
    ) -> None:
        self.source, self.target, self.config, self.count = source, target, config, count
        self.labelled = Kept(source.__getitem__)
        self.unlabelled = Kept(self._read_target)
        self.seed, self.num_classes = config.fit.seed, source.space.num_classes
        self.drawn: RareClassSampler | None = None
        if config.rare_classes is not None:
            if statistics is None:
                raise DataError("drawing rare classes needs statistics of the source's labels")
            self.drawn = RareClassSampler(
                statistics,
                count,
                generator_of(self.seed, "rare classes"),
                temperature=config.rare_classes.temperature,
                min_pixels=config.rare_classes.min_pixels,
            )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> DomainPair:
        if not 0 <= index < self.count:
            raise IndexError(index)
        maps: tuple[Tensor, ...] = (*self._source(index), *self._target(index))
        if self.config.common_crop is not None:
            maps = self._common(index, maps, self.config.common_crop)
        source, labels, target, trusted = maps
        return DomainPair(source, labels, target, trusted, index)

    def _common(self, index: int, maps: Sequence[Tensor], crop: tuple[int, int]) -> tuple[Tensor, ...]:
        """Cut the same part out of all maps (..., H, W)."""
        generator = generator_of(self.seed, "common crop", index)
        size = [min(part.shape[axis] for part in maps) for axis in (-2, -1)]
        rows, columns = (
            slice(start, start + length)
            for start, length in (
                (int(torch.randint(max(side - cut, 0) + 1, (), generator=generator)), cut)
                for side, cut in zip(size, crop, strict=True)
            )
        )
        return tuple(part[..., rows, columns] for part in maps)

    def _source(self, index: int) -> tuple[Tensor, Tensor]:
        generator = generator_of(self.seed, "source image", index)
        wanted = None
        if self.drawn is not None:
            place, wanted = self.drawn.images[index], self.drawn.classes[index]
        else:
            place = int(torch.randint(len(self.source), (), generator=generator))
        image, labels = self.labelled(place)
        view = draw_view_with(
            wanted, labels, self.config.source_view, self.config.rare_classes, generator, self.num_classes
        )
        part = self._coloured(view.image(image, FILL), self.config.source_view, generator)
        return part, view.labels(labels)

    def _coloured(self, part: Tensor, config: ViewConfig, generator: torch.Generator) -> Tensor:
        return distort_colours(part, generator) if config.distortion else part

    def _read_target(self, place: int) -> tuple[Tensor]:
        return (read_image_bytes(self.target.paths[place]),)

    def _target(self, index: int) -> tuple[Tensor, Tensor]:
        generator = generator_of(self.seed, "target image", index)
        place = int(torch.randint(len(self.target), (), generator=generator))
        (image,) = self.unlabelled(place)
        size = (image.shape[-2], image.shape[-1])
        view = draw_view(size, self.config.target_view, generator)
        part = self._coloured(view.image(image, FILL), self.config.target_view, generator)
        return part, view.labels(trusted_pixels(size, self.config.target_view), fill=0)


def draw_view_with(
    wanted: int | None,
    labels: Tensor,
    config: ViewConfig,
    sampling: CropSamplingConfig | None,
    generator: torch.Generator,
    num_classes: int = VOID,
) -> View:
    """Draw a part of an image; if it was chosen for a class, one that shows enough of it, if ten more draws find any.

    Args:
        wanted: the class.
        labels: (H, W) of the image.
        config: settings of the part.
        sampling: how many pixels are enough.
        generator: source of the draws.
        num_classes: ids from here on are void.
    """
    size = (labels.shape[0], labels.shape[1])
    for attempt in range(TRIES + 1):
        view = draw_view(size, config, generator, labels=labels, num_classes=num_classes)
        if wanted is None or sampling is None or attempt == TRIES:
            break
        if int((view.labels(labels) == wanted).sum()) > sampling.min_crop_pixels:
            break
    return view


def trusted_pixels(size: tuple[int, int], config: TargetViewConfig) -> Tensor:
    """Return (H, W) bool, False in the margins of a stored image of a size."""
    trusted = torch.ones(size, dtype=torch.bool)
    top, bottom, left, right = config.margins
    trusted[:top] = trusted[size[0] - bottom :] = False
    trusted[:, :left] = trusted[:, size[1] - right :] = False
    return trusted
