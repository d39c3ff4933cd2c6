"""Pasting some classes of one image onto another: the part that every class-mixing method shares.

Which classes are pasted is a table (B, 256) of booleans, one row for each source image, so that any label map, 255
included, is looked up in one step. Nothing here draws random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["first_present", "listed_classes", "paste", "pixels_of", "present_classes", "random_half"]

NUM_IDS = 256


def present_classes(labels: Tensor) -> Tensor:
    """Return (B, 256) bool: the ids that occur in each of the maps (B, ..., H, W)."""
    table = torch.zeros(len(labels), NUM_IDS, dtype=torch.bool, device=labels.device)
    return table.scatter_(1, labels.flatten(1).long(), True)


def listed_classes(classes: Sequence[int] | Tensor, batch: int) -> Tensor:
    """Return (B, 256) bool with the same classes for each image."""
    table = torch.zeros(NUM_IDS, dtype=torch.bool)
    table[torch.as_tensor(classes, dtype=torch.int64)] = True
    return table.expand(batch, NUM_IDS)


def first_present(present: Tensor, keys: Tensor, number: Tensor) -> Tensor:
    """Choose, of the ids present in each image, the ones with the smallest keys.

    Args:
        present: (B, 256) bool.
        keys: (256,) or (B, 256), the order in which ids are chosen; of equal keys the lower id comes first.
        number: (B,) how many to choose at most.

    Returns:
        (B, 256) bool.
    """
    order = keys.expand(present.shape).argsort(dim=1, stable=True)
    in_order = present.gather(1, order)
    chosen = in_order & (in_order.cumsum(1) <= number[:, None])
    return torch.zeros_like(present).scatter_(1, order, chosen)


def random_half(present: Tensor, keys: Tensor) -> Tensor:
    """Choose a random half of the ids present in each image.

    Args:
        present: (B, 256) bool.
        keys: (B, 256) random numbers: the floor(n / 2) present ids with the smallest are left out, the others chosen.
            ``torch.rand(B, 256, generator=...)``.

    Returns:
        (B, 256) bool.
    """
    return present & ~first_present(present, keys.to(present.device), present.sum(1) // 2)


def pixels_of(labels: Tensor, chosen: Tensor) -> Tensor:
    """Return (B, ..., H, W) bool: the pixels whose id is chosen for their image.

    Args:
        labels: (B, ..., H, W): one map for each image, or several that share their classes (the frames of a clip).
        chosen: (B, 256) bool.
    """
    return chosen.to(labels.device).gather(1, labels.flatten(1).long()).view(labels.shape)


def paste(mask: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Take ``source`` where the mask (..., H, W) is True and ``target`` elsewhere.

    Args:
        mask: (..., H, W) bool.
        source, target: images (..., C, H, W), label maps or weights (..., H, W), of one type and of shapes that
            broadcast: one source may be pasted onto several targets.
    """
    shaped = mask.unsqueeze(-3) if source.ndim == mask.ndim + 1 else mask
    return torch.where(shaped, source, target)
