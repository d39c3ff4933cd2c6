"""The losses of the region heads, with labels that are trusted to a degree (soft targets).

A foreground box of an object with the score q is an object with probability q and background with 1 - q; its box and
mask count q times. With q = 1 these are the plain losses. Source: CuVLER and unMORE, specification unmore 9.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["box_loss", "classification_loss", "mask_loss"]


def classification_loss(
    logits: Tensor, classes: Tensor, quality: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """Return the cross entropy, summed over the boxes and divided by their number.

    Args:
        logits: (R, classes + 1); the background comes last.
        classes: (R,) int64.
        quality: (R,) scores of the matched objects, 0 .. 1; those of background boxes are not looked at.
        weights: (R,) factors (DropLoss); a box that is dropped still counts in the number.
    """
    background = logits.shape[1] - 1
    entropy = F.cross_entropy(logits, classes, reduction="none")
    if quality is not None:
        trust = torch.where(classes < background, quality.to(entropy.dtype), 1.0)
        doubted = F.cross_entropy(logits, torch.full_like(classes, background), reduction="none")
        entropy = trust * entropy + (1 - trust) * doubted
    if weights is not None:
        entropy = entropy * weights
    return entropy.sum() / max(len(classes), 1)


def box_loss(deltas: Tensor, wanted: Tensor, total: int, quality: Tensor | None = None) -> Tensor:
    """Return the L1 distance of the deltas (K, 4) of foreground boxes, divided by the ``total`` of all sampled boxes."""
    if quality is None:
        return F.l1_loss(deltas, wanted, reduction="sum") / max(total, 1)
    distance = F.l1_loss(deltas, wanted, reduction="none").sum(dim=1)
    return (distance * quality.to(distance.dtype)).sum() / max(total, 1)


def mask_loss(logits: Tensor, wanted: Tensor, quality: Tensor | None = None) -> Tensor:
    """Return the binary cross entropy of masks (K, m, m), mean over all pixels; 0 where there are none."""
    if len(logits) == 0:
        return logits.sum() * 0.0
    if quality is None:
        return F.binary_cross_entropy_with_logits(logits, wanted)
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (entropy * quality.to(entropy.dtype)[:, None, None]).mean()
