"""The batches of a training as a function of the seed and the step: source images, and pseudo-labelled targets.

Source: Co-Training specification, 2.4, 2.5 and 2.11.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from nolabel.data.colour_transfer import LabStatistics, transfer
from nolabel.data.domain_images import LabelledImage, SourceImages, read_labelled
from nolabel.data.sampling import ClassStatistics, RareClassSampler
from nolabel.data.void_labels import void_as_label
from nolabel.engine.seeding import generator_of
from nolabel.errors import ConfigError, DataError
from nolabel.methods.cotraining.augment import AugmentConfig, augment
from nolabel.methods.cotraining.batches import Batch, collate
from nolabel.methods.cotraining.selection import SelectedLabel
from nolabel.methods.cotraining.settings import MixedTrainingConfig, TrainingConfig

__all__ = ["StepBatch", "StepBatches"]


class StepBatch(NamedTuple):
    """What one step is made of; labels (B, H, W) uint8 with the number of classes for void.

    source: images with true labels. target: pseudo-labelled images, None for the baseline. number: of the batch, from
    which draws are seeded.
    """

    source: Batch
    target: Batch | None
    number: int


class StepBatches(Dataset[StepBatch]):
    """As many batches as a training takes; each depends on nothing but the seed and its index.

    Args:
        source: labelled images.
        pseudo_labels: of the target; none for the baseline.
        config: the training's settings.
        count: number of batches.
        colours: statistics of target images, one of which every source image takes on; None changes no colours.
        statistics: of the source's classes, for ``config.rare_classes``.
    """

    def __init__(
        self,
        source: SourceImages,
        pseudo_labels: Sequence[SelectedLabel],
        config: TrainingConfig,
        count: int,
        *,
        colours: LabStatistics | None = None,
        statistics: ClassStatistics | None = None,
    ) -> None:
        self.source, self.config, self.colours, self.count = source, config, colours, count
        self.files = [(entry.image, entry.label) for entry in pseudo_labels]
        self.seed, self.num_classes = config.fit.seed, source.space.num_classes
        self.sources, self.targets = _shares(config)
        self.target_changes: AugmentConfig | None = None
        self.merged = False
        if isinstance(config, MixedTrainingConfig):
            self.target_changes, self.merged = config.target, config.merged
            if not self.files:
                raise DataError(
                    "no target image has a pseudo-label", hint="lower the thresholds, or keep more images"
                )
        self.drawn: Sequence[int] | None = None
        if config.rare_classes is not None:
            if config.alternate_sources:
                raise ConfigError(
                    "rare_classes draws from all sources together, alternate_sources from each in turn",
                    hint="choose one of them",
                )
            if statistics is None:
                raise DataError("drawing rare classes needs statistics of the source's labels")
            self.drawn = RareClassSampler(
                statistics,
                count * max(1, self.sources),
                generator_of(self.seed, "rare classes"),
                temperature=config.rare_classes.temperature,
                min_pixels=config.rare_classes.min_pixels,
            ).images

    def __len__(self) -> int:
        return self.count

    def summary(self) -> str:
        """Return how many images a step takes of how many."""
        size, source = self.config.fit.batch_size, len(self.source)
        if self.merged:
            return f"{size} of {source} source and {len(self.files)} target images together"
        if not self.targets:
            return f"{size} of {source} source images"
        pasted = self.sources + self.targets - size
        more = f" ({pasted} more to paste)" if pasted else ""
        return (
            f"{size - self.targets}{more} of {source} source images and "
            f"{self.targets} of {len(self.files)} target images"
        )

    def __getitem__(self, index: int) -> StepBatch:
        if self.merged:
            size = self.config.fit.batch_size
            positions = range(index * size, (index + 1) * size)
            return StepBatch(collate([self._either(p) for p in positions], self.num_classes), None, index)
        sources = [self._source(index * self.sources + place) for place in range(self.sources)]
        targets = [self._target(index * self.targets + place) for place in range(self.targets)]
        # All in one: the two parts of a batch must have one size.
        images, labels = collate([*sources, *targets], self.num_classes)
        count = len(sources)
        if not targets:
            return StepBatch((images, labels), None, index)
        return StepBatch((images[:count], labels[:count]), (images[count:], labels[count:]), index)

    def _either(self, position: int) -> LabelledImage:
        place = _nth(self.seed, "merged", position, len(self.source) + len(self.files))
        if place < len(self.source):
            return self._changed_source(place, position)
        return self._changed_target(place - len(self.source), position)

    def _source(self, position: int) -> LabelledImage:
        if self.drawn is not None:
            return self._changed_source(self.drawn[position], position)
        parts = self.source.parts
        if self.config.alternate_sources and len(parts) > 1:
            part, turn = position % len(parts), position // len(parts)
            inside = _nth(self.seed, f"source {part}", turn, len(parts[part]))
            return self._changed_source(self.source.starts[part] + inside, position)
        return self._changed_source(_nth(self.seed, "source", position, len(self.source)), position)

    def _target(self, position: int) -> LabelledImage:
        return self._changed_target(_nth(self.seed, "target", position, len(self.files)), position)

    def _changed_source(self, place: int, position: int) -> LabelledImage:
        image, labels = self.source[place]
        generator = generator_of(self.seed, "source image", position)
        if self.colours is not None:
            chosen = torch.randint(len(self.colours.mean), (), generator=generator)
            image = transfer(image, LabStatistics(self.colours.mean[chosen], self.colours.deviation[chosen]))
        return self._changed(image, labels, self.config.source, generator)

    def _changed_target(self, place: int, position: int) -> LabelledImage:
        assert self.target_changes is not None
        generator = generator_of(self.seed, "target image", position)
        return self._changed(*read_labelled(*self.files[place]), self.target_changes, generator)

    def _changed(
        self, image: Tensor, labels: Tensor, changes: AugmentConfig, generator: torch.Generator
    ) -> LabelledImage:
        image, labels, _ = augment(image, labels, changes, generator, num_classes=self.num_classes)
        return image, void_as_label(labels, self.num_classes)


def _shares(config: TrainingConfig) -> tuple[int, int]:
    """Return how many source and target images a batch takes; those that are only pasted come on top."""
    size = config.fit.batch_size
    if not isinstance(config, MixedTrainingConfig):
        return size, 0
    if config.targets > size:
        raise ConfigError(
            f"targets={config.targets} is more than the {size} images of a batch", hint="raise fit.batch_size"
        )
    shown = size - config.targets
    receiving, pasted = config.mix_ratio or (0, config.targets)
    if not (0 <= receiving <= shown and 0 <= pasted <= config.targets):
        raise ConfigError(
            f"mix_ratio={receiving, pasted}: a batch has {shown} source and {config.targets} target images",
            hint="(source images, targets) of the batch that receive a paste",
        )
    return shown + (pasted if config.mix != "none" else 0), config.targets


def _nth(seed: int, stream: str, position: int, count: int) -> int:
    """Return the item at a position of an endless stream of shuffled epochs."""
    epoch, place = divmod(position, count)
    return _order(seed, stream, epoch, count)[place]


@lru_cache(maxsize=16)
def _order(seed: int, stream: str, epoch: int, count: int) -> list[int]:
    order: list[int] = torch.randperm(count, generator=generator_of(seed, stream, epoch)).tolist()
    return order
