"""Joining the semantic map with the moving objects (CUPS section 3.1; spec cups_pseudo section 9).

Every object gets the one class that most of its pixels have, so that "which classes move" can be counted.
"""

from __future__ import annotations

import torch
from torch import Tensor

MAX_OBJECTS = 255  # the instance maps are 8-bit files


def clear_border_columns(instances: Tensor, columns: int) -> Tensor:
    """Remove objects from the outer columns, where flow and disparity leave the image.

    Args:
        instances: (H, W) int64 object ids, 0 = none.
        columns: width of the cleared band on each side, pixels.
    """
    cleared = instances.clone()
    if columns > 0:
        cleared[:, :columns] = 0
        cleared[:, -columns:] = 0
    return cleared


def renumber(instances: Tensor, limit: int = MAX_OBJECTS) -> Tensor:
    """Make the ids 1..N without gaps, in their old order; of more than ``limit`` objects the largest stay."""
    ids, inverse, counts = torch.unique(instances, return_inverse=True, return_counts=True)
    order_key = torch.where(ids > 0, counts, -1)
    keep = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    keep[order_key.argsort(descending=True, stable=True)[:limit]] = True
    keep &= ids > 0
    new_ids = torch.where(keep, keep.cumsum(0), 0)
    return new_ids[inverse]


def align_semantic_to_instances(
    semantic: Tensor, instances: Tensor, num_classes: int, *, reference_compat: bool = False
) -> Tensor:
    """Set all pixels of each object to the most frequent class inside it.

    Args:
        semantic: (H, W) int64 pseudo classes.
        instances: (H, W) int64 object ids, 0 = none.
        num_classes: number of pseudo classes.
        reference_compat: ties go to the smallest class, but class 0 loses every tie (the original treats it as
            255 while counting). Otherwise ties go to the smallest class.

    Returns:
        (H, W) int64: the fused semantic map.
    """
    ids, inverse = torch.unique(instances, return_inverse=True)
    pairs = inverse.flatten() * num_classes + semantic.flatten()
    counts = torch.bincount(pairs, minlength=len(ids) * num_classes).reshape(len(ids), num_classes)
    preference = torch.arange(num_classes, device=semantic.device)
    if reference_compat:
        preference = torch.where(preference == 0, num_classes, preference)
    majority = (counts * (num_classes + 1) - preference).argmax(dim=1)
    return torch.where(instances > 0, majority[inverse], semantic)
