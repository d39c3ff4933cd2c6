"""The loss of every stage: cross entropy over the hardest pixels of a batch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from nolabel.labels import VOID

__all__ = ["hard_pixel_cross_entropy"]


def hard_pixel_cross_entropy(
    logits: Tensor, targets: Tensor, *, fraction: float = 0.2, ignore_index: int = VOID
) -> Tensor:
    """Return the mean cross entropy of the worst pixels of the whole batch.

    Void pixels have loss 0 and stay in the pool, so where less than ``fraction`` of the pixels has a label they pull
    the mean down. Source: Co-Training specification, section 3 (DeepLabCE).

    Args:
        logits: (B, C, H, W).
        targets: (B, H, W) integer classes.
        fraction: part of all pixels that counts, in (0, 1].
        ignore_index: void in ``targets``.
    """
    losses = F.cross_entropy(logits, targets.long(), ignore_index=ignore_index, reduction="none").flatten()
    if fraction >= 1:
        return losses.mean()
    return losses.topk(max(1, int(fraction * losses.numel())), sorted=False).values.mean()
