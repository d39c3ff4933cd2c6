"""Batches of one step: source images, and targets with or without a paste.

Source: Co-Training specification, 2.4, 2.11 and 2.14.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nolabel.labels import VOID
from nolabel.methods.cotraining.class_mix import mix
from nolabel.models.segmentation.normalise import MEAN

__all__ = ["Batch", "collate", "mixed_batch"]

Batch = tuple[Tensor, Tensor]
"""Images (B, 3, H, W) in [0, 1] and labels (B, H, W)."""


def collate(samples: Sequence[tuple[Tensor, Tensor]], void: int = VOID) -> Batch:
    """Stack images (3, h, w) uint8 and labels (h, w) of several sizes, padded at the right and bottom.

    The padding is ImageNet's mean, 0 for the network, and ``void``.

    Returns:
        Images (B, 3, H, W) float32 in [0, 1] and labels (B, H, W) of the type given.
    """
    height = max(labels.shape[0] for _, labels in samples)
    width = max(labels.shape[1] for _, labels in samples)
    mean = torch.tensor(MEAN)[:, None, None] / 255
    images = mean.expand(len(samples), 3, height, width).clone()
    maps = torch.full((len(samples), height, width), void, dtype=samples[0][1].dtype)
    for index, (image, labels) in enumerate(samples):
        h, w = labels.shape
        images[index, :, :h, :w] = image / 255
        maps[index, :h, :w] = labels
    return images, maps


def mixed_batch(
    source: Batch,
    target: Batch,
    choose: Callable[[Tensor], Tensor] | None = None,
    *,
    ratio: tuple[int, int] | None = None,
) -> Batch:
    """Join source and target images to the batch of a step.

    Args:
        source: a + n images with their true labels.
        target: b images with pseudo-labels.
        choose: maps the labels (k, H, W) of images to the classes of theirs to paste, (k, 256) bool. None: nothing is
            pasted and all source images stay.
        ratio: (m, n): the last n source images are used up by pasting them onto the first n targets, and the last m of
            those that stay receive classes of the targets, as these were before. (0, b) by default.

    Returns:
        The a source images and the b targets.
    """
    (images, labels), (target_images, target_labels) = source, target
    if choose is None:
        return torch.cat([images, target_images]), torch.cat([labels, target_labels])
    receiving, pasted = (0, len(target_images)) if ratio is None else ratio
    stay = len(images) - pasted
    givers = [
        (images[stay:], labels[stay:], choose(labels[stay:])),
        *_repeated(target_images, target_labels, receiving, choose),
    ]
    places = [(target_images[:pasted], target_labels[:pasted])]
    if receiving:
        places.append((images[stay - receiving : stay], labels[stay - receiving : stay]))
    mixed = [mix(*giver[:2], *place, giver[2]) for giver, place in zip(givers, places, strict=True)]
    parts = [(images[: stay - receiving], labels[: stay - receiving]), *mixed[1:], mixed[0]]
    parts.append((target_images[pasted:], target_labels[pasted:]))
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _repeated(
    images: Tensor, labels: Tensor, number: int, choose: Callable[[Tensor], Tensor]
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """So many images, from the first on and over again, with the classes to paste."""
    if not number:
        return []
    chosen = torch.arange(number, device=images.device) % len(images)
    return [(images[chosen], labels[chosen], choose(labels[chosen]))]
