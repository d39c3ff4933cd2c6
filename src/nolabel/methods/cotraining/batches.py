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


def mixed_batch(source: Batch, target: Batch, choose: Callable[[Tensor], Tensor] | None = None) -> Batch:
    """Join source and target images to the batch of a step.

    Args:
        source: a + b images with their true labels.
        target: b images with pseudo-labels.
        choose: maps the labels (b, H, W) of the last b source images to the classes to paste, (b, 256) bool; these
            images are then used up by the paste. None: nothing is pasted and all source images stay.

    Returns:
        The first a source images and the b targets.
    """
    (images, labels), (target_images, target_labels) = source, target
    if choose is not None:
        first = len(images) - len(target_images)
        pasted = labels[first:]
        target_images, target_labels = mix(
            images[first:], pasted, target_images, target_labels, choose(pasted)
        )
        images, labels = images[:first], labels[:first]
    return torch.cat([images, target_images]), torch.cat([labels, target_labels])
