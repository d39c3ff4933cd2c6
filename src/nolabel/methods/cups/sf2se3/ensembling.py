"""Keep the proposals that several runs agree on, and one of each (spec 6.1, 6.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Suppressed(NamedTuple):
    """Proposals that survive matrix NMS, best first.

    Attributes:
        indices: (K,) int64 into the given masks.
        scores: (K,) decayed scores.
    """

    indices: Tensor
    scores: Tensor


def mean_votes(masks: Tensor) -> Tensor:
    """Return, for each mask (P, H, W) bool, how many masks cover its pixels on average: (P,)."""
    flat = masks.flatten(1).float()
    return flat @ flat.sum(dim=0) / flat.sum(dim=1).clamp(min=1)


def matrix_nms(masks: Tensor, scores: Tensor, sigma: float, threshold: float) -> Suppressed:
    """Decay the score of each mask by its overlap with better ones; keep scores of at least ``threshold``.

    Wang et al., "SOLOv2: Dynamic and Fast Instance Segmentation", NeurIPS 2020, Gaussian kernel, one class.

    Args:
        masks: (P, H, W) bool.
        scores: (P,).
        sigma: decay strength.
        threshold: least decayed score.
    """
    order = scores.argsort(descending=True, stable=True)
    if not len(order):
        return Suppressed(order, scores)
    covered = masks.any(dim=0)
    flat = masks[order][:, covered].float()
    areas = flat.sum(dim=1)
    both = flat @ flat.T
    overlap = (both / (areas[:, None] + areas[None] - both)).triu(1)
    compensation = overlap.amax(dim=0)
    decay = torch.exp(-sigma * overlap**2) / torch.exp(-sigma * compensation**2)[:, None]
    decayed = scores[order] * decay.amin(dim=0)
    kept = (decayed >= threshold).nonzero()[:, 0]
    kept = kept[decayed[kept].argsort(descending=True, stable=True)]
    return Suppressed(order[kept], decayed[kept])
