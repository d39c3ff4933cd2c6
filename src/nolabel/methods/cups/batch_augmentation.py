"""The augmentations that both trainings apply to a whole batch: copy-paste, size, colours (spec cups_model 4.4, 4.6)."""

from __future__ import annotations

from collections.abc import Sequence

import pydantic
import torch
from torch import Tensor

from nolabel.config import Config
from nolabel.methods.cups import augment
from nolabel.models.panoptic import PanopticTarget

__all__ = ["BatchAugmentationConfig", "Labelled", "change_colours", "change_size", "paste_objects"]

Labelled = tuple[Tensor, PanopticTarget]
"""An image (3, H, W) and its labels."""


class BatchAugmentationConfig(Config):
    """How batches are changed; the defaults are the published ones of stage 2."""

    most_pasted: int = pydantic.Field(8, ge=0)
    """Most objects pasted into an image; 0 switches copy-paste off."""
    paste_scales: tuple[float, float] = (0.25, 1.5)
    """Size factor of pasted objects."""
    paste_min_side: int = pydantic.Field(32, ge=1)
    """Only objects wider and higher than this are pasted, in pixels."""
    resolutions: tuple[float, ...] = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1)
    """Size factors of which one is drawn for each batch; sizes are rounded to multiples of 32."""
    photometric: bool = True
    """Blur, colour jitter and grey images."""


def paste_objects(
    batch: Sequence[Labelled],
    source: Sequence[Labelled],
    settings: BatchAugmentationConfig,
    generator: torch.Generator,
) -> list[Labelled]:
    """Paste objects of ``source`` (it may be the batch itself) into every image of ``batch``."""
    if not settings.most_pasted or not source:
        return list(batch)
    cutouts = augment.ObjectCutouts(
        [image for image, _ in source], [target for _, target in source], min_side=settings.paste_min_side
    )
    return [
        augment.copy_paste(
            image,
            target,
            cutouts,
            augment.draw_pastes(generator, len(cutouts), settings.most_pasted, settings.paste_scales),
        )
        for image, target in batch
    ]


def change_size(
    batch: Sequence[Labelled],
    sizes: Sequence[tuple[int, int]],
    settings: BatchAugmentationConfig,
    generator: torch.Generator,
) -> list[Labelled]:
    """Resize the whole batch by one drawn factor.

    Args:
        batch: images with labels.
        sizes: for each of them the (height, width) in pixels that the factor counts from.
        settings: the factors.
        generator: draws one of them.
    """
    scale = settings.resolutions[int(torch.randint(len(settings.resolutions), (), generator=generator))]
    changed = []
    for (image, target), (height, width) in zip(batch, sizes, strict=True):
        size = max(32, round(height * scale / 32) * 32), max(32, round(width * scale / 32) * 32)
        changed.append(augment.resize(image, target, size))
    return changed


def change_colours(
    batch: Sequence[Labelled], settings: BatchAugmentationConfig, generator: torch.Generator
) -> list[Labelled]:
    """Blur, jitter and turn grey every image by itself; labels stay."""
    if not settings.photometric:
        return list(batch)
    return [(augment.photometric(image, generator), target) for image, target in batch]
