"""What a network answers for each class on average, and how far source and target are apart in it.

Source: UDASS specification (video) 5.3 (4) and 5.7 (4), (5).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["class_vectors", "maximum_mean_discrepancy", "temporal_mean"]


def class_vectors(scores: Tensor, labels: Tensor | None = None, *, min_pixels: int = 5) -> Tensor:
    """Return the mean scores of the pixels of each class, with gradients.

    A pixel belongs to the class with its largest score; with labels, only if that is the true one.

    Args:
        scores: (B, C, h, w) logits.
        labels: (B, h, w) of the same grid.
        min_pixels: a class with fewer pixels has no vector.

    Returns:
        (C, C) float32, a row for each class; zeros where it has no vector.
    """
    classes = scores.shape[1]
    pixels = scores.float().movedim(1, -1).flatten(0, -2)
    members = F.one_hot(pixels.argmax(1), classes)
    if labels is not None:
        members = members * (pixels.argmax(1) == labels.flatten())[:, None]
    counts = members.sum(0)
    # A product rather than a scatter: its sums have one order on every device.
    sums = members.to(pixels).T @ pixels
    means = sums / counts.clamp(min=1)[:, None]
    return means.where((counts >= min_pixels)[:, None], 0.0)


def temporal_mean(vectors: Tensor, other: Tensor) -> Tensor:
    """Return the mean (C, C) of the class vectors of two pairs of frames; a class that one of them lacks counts as 0."""
    return 0.5 * (vectors + other)


def maximum_mean_discrepancy(
    source: Tensor, target: Tensor, *, kernels: int = 5, spacing: float = 2.0
) -> Tensor:
    """Return the discrepancy of two sets of vectors under Gaussian kernels of several widths.

    The widths are powers of ``spacing`` around the mean squared distance, which is taken as a constant.

    Args:
        source, target: (n, d) each.
        kernels: number of widths.
        spacing: factor between neighbouring widths.
    """
    vectors = torch.cat([source, target]).float()
    count = len(vectors)
    distances = (vectors[:, None] - vectors[None]).square().sum(-1)
    width = distances.detach().sum() / (count**2 - count) / spacing ** (kernels // 2)
    widths = width * spacing ** torch.arange(kernels, device=vectors.device)
    # Sets that hold one vector only have no width, and no discrepancy.
    widths = widths.clamp(min=torch.finfo(torch.float32).tiny)
    values = (-distances[None] / widths[:, None, None]).exp().sum(0)
    n = len(source)
    return (values[:n, :n] + values[n:, n:] - values[:n, n:] - values[n:, :n]).mean()
