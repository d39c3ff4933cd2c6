"""Label maps made to follow the colours of their image (spec ``scenedino.md`` 11.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.models.dense_crf import dense_crf

__all__ = ["refine_labels", "refined_beliefs"]


def refined_beliefs(labels: Tensor, image: Tensor) -> Tensor:
    """Class probabilities of a label map after ten steps of a dense CRF, as behind the published 2D scores.

    The labels as 0 and 1 are the scores that the CRF starts from: a pixel's own label is only e times as likely as
    any other.

    Args:
        labels: (H, W) integer, >= 0.
        image: (3, H, W) RGB in [0, 1].

    Returns:
        (largest label + 1, H, W) float32.
    """
    scores = F.one_hot(labels.long()).permute(2, 0, 1).float()
    return dense_crf(
        scores,
        (image * 255).to(torch.uint8),
        iterations=10,
        gaussian_sxy=0.3,
        gaussian_strength=3.0,
        bilateral_sxy=20.0,
        bilateral_srgb=3.0,
        bilateral_strength=4.0,
    )


def refine_labels(labels: Tensor, image: Tensor) -> Tensor:
    """The most probable labels (H, W) int64; see :func:`refined_beliefs`."""
    return refined_beliefs(labels, image).argmax(dim=0)
