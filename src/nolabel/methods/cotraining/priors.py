"""Where in an image each class is usually found, and what that says of a pixel's label (off in the published runs).

Source: Co-Training specification, 2.8 (prior option) and section 8 (helper tools).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from nolabel.errors import DataError

__all__ = ["class_priors", "least_prior", "prior_factor"]

FIRST_LEAST, FALL = 0.1, 0.05


def class_priors(maps: Iterable[Tensor], num_labels: int, sigma: float = 0.0) -> Tensor:
    """Return (L, H, W) float32: in which part of the maps (H, W) each label is at each place.

    Args:
        maps: label maps of one size, labels below ``num_labels``, read one by one.
        num_labels: L.
        sigma: of a Gaussian that smooths the result, in pixels (the original: 70 at 1024x2048); 0 for none.

    Raises:
        DataError: there are no maps, or their sizes differ.
    """
    counts: Tensor | None = None
    number = 0
    for labels in maps:
        if counts is None:
            counts = torch.zeros(num_labels, *labels.shape, device=labels.device)
        if labels.shape != counts.shape[1:]:
            raise DataError(f"label maps differ in size: {tuple(labels.shape)} and {tuple(counts.shape[1:])}")
        counts.scatter_add_(0, labels[None].long(), torch.ones_like(counts[:1]))
        number += 1
    if counts is None:
        raise DataError("class priors need at least one label map")
    priors = counts / number
    if sigma > 0:
        # Reflection cannot reach farther than the image.
        reach = [2 * min(round(3 * sigma), side - 1) + 1 for side in (priors.shape[2], priors.shape[1])]
        priors = gaussian_blur(priors, reach, [sigma, sigma])
    return priors


def least_prior(cycle: int) -> float:
    """Return the prior from which on a pixel is usual, in a cycle: 0.1, 0.05, then 0 (no priors any more)."""
    return max(0.0, FIRST_LEAST - FALL * cycle)


def prior_factor(labels: Tensor, prior: Tensor, least: float) -> Tensor:
    """Return the factor of every pixel's confidence that says how usual its class is at this place.

    Args:
        labels: (N, H, W) uint8.
        prior: (L, H, W) float32 in [0, 1], see :func:`class_priors`.
        least: from this prior on the factor is 1, below it prior / least. 0 switches priors off.

    Returns:
        (N, H, W) float32, for :func:`~nolabel.methods.cotraining.pseudo_labels.drop_unsure`.
    """
    if least <= 0:
        return torch.ones(labels.shape, device=labels.device)
    at_pixel = prior.expand(len(labels), *prior.shape).gather(1, labels[:, None].long())[:, 0]
    return (at_pixel / least).clamp(max=1)
