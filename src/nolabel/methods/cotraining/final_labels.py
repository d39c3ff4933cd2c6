"""The labels of the final training: both branches together, each pixel as the surer of the two sees it.

Source: Co-Training specification, 2.13.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nolabel.engine.segmentation_inference import Prediction
from nolabel.methods.cotraining.pseudo_labels import drop_unsure

__all__ = ["ensemble", "final_labels"]


def ensemble(logits: Sequence[Tensor]) -> Prediction:
    """Take for every pixel the label of the largest softmax of any network.

    Args:
        logits: of each network, (B, L, H, W).
    """
    best = logits[0].softmax(1)
    for other in logits[1:]:
        torch.maximum(best, other.softmax(1), out=best)
    confidence, labels = best.max(1)
    return Prediction(labels.to(torch.uint8), confidence)


def final_labels(
    logits: Sequence[Tensor], thresholds: Sequence[Tensor] | None = None, mask: Tensor | None = None
) -> Tensor:
    """Return the final pseudo-labels of a batch, (B, H, W) uint8, L - 1 for void.

    Args:
        logits: of each network, (B, L, H, W) at the size of the label maps.
        thresholds: of each network's last cycle, (L,) each; a pixel must exceed the smallest. None keeps every pixel.
        mask: (H, W) bool, pixels that get no label.
    """
    labels, confidence = ensemble(logits)
    num_labels = logits[0].shape[1]
    if thresholds is not None:
        limits = torch.stack([torch.as_tensor(values) for values in thresholds]).amin(0)
        return drop_unsure(labels, confidence, limits, mask=mask)
    return labels if mask is None else labels.masked_fill(mask, num_labels - 1)
