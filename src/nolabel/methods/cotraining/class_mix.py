"""ClassMix: half the classes of a synthetic image are pasted onto a pseudo-labelled real one.

Source: Co-Training specification, 2.11.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nolabel.data.mixing import NUM_IDS, first_present, paste, pixels_of, present_classes, random_half

__all__ = ["Mixed", "classes_on_demand", "mix", "random_classes"]


class Mixed(NamedTuple):
    """Images (B, 3, H, W) and label maps (B, H, W) after pasting."""

    images: Tensor
    labels: Tensor


def classes_on_demand(labels: Tensor, thresholds: Tensor) -> Tensor:
    """Choose the half of the classes of each source map on which the network is least sure.

    Args:
        labels: (B, H, W), labels below L (the last is void, which is a candidate like the others).
        thresholds: (L,) of this cycle. Labels with threshold 0 are no candidates; of equal thresholds the lower label
            comes first.

    Returns:
        (B, 256) bool. Of n labels in a map floor(n / 2) are chosen, the only one if it is alone.
    """
    present = present_classes(labels)
    keys = torch.full((NUM_IDS,), torch.inf, dtype=torch.float64, device=labels.device)
    keys[: len(thresholds)] = thresholds.to(keys)
    number = (present.sum(1) // 2).clamp(min=1)
    return first_present(present & torch.isfinite(keys) & (keys != 0), keys, number)


def random_classes(labels: Tensor, keys: Tensor) -> Tensor:
    """Choose a random half of the classes of each source map, void included.

    Args:
        labels: (B, H, W) integers below 256.
        keys: (B, 256) random numbers: the floor(n / 2) present labels with the smallest are left out, the others
            chosen. ``torch.rand(B, 256, generator=...)``.

    Returns:
        (B, 256) bool.
    """
    return random_half(present_classes(labels), keys)


def mix(
    source_images: Tensor, source_labels: Tensor, images: Tensor, labels: Tensor, chosen: Tensor
) -> Mixed:
    """Paste the chosen classes of each source onto its target, in place and without blending.

    Args:
        source_images, images: (B, 3, H, W), of equal size.
        source_labels, labels: (B, H, W).
        chosen: (B, 256) bool: :func:`classes_on_demand`, :func:`random_classes` or
            :func:`nolabel.data.mixing.listed_classes`.
    """
    mask = pixels_of(source_labels, chosen)
    return Mixed(paste(mask, source_images, images), paste(mask, source_labels, labels))
