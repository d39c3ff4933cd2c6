"""How two patches of colour differ, and how smooth a map is where its image is (SceneDINO specification, 7).

The census is in :mod:`nolabel.geometry.census`.

Patches are (..., C, H, W); colours lie in [0, 1].
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Criterion", "edge_aware_roughness", "photometric_error", "ssim_error"]

Criterion = Literal["l1+ssim", "l1", "l2", "cosine"]
SSIM_SHARE = 0.85  # of l1+ssim
CORNER, EDGE, CENTRE = 0.0947, 0.1183, 0.1478  # of the Gaussian window; they sum to 0.9998
STABILISERS = (0.01**2, 0.03**2)


def photometric_error(one: Tensor, other: Tensor, criterion: Criterion = "l1+ssim") -> Tensor:
    """The difference (..., H, W) of patches of colour (..., 3, H, W).

    Args:
        one: a patch.
        other: another.
        criterion: ``l1+ssim``: 0.15 of the mean absolute difference, 0.85 of :func:`ssim_error`; ``l1``; ``l2``: half the
            mean square; ``cosine``: 1 - cosine of the colour vectors.
    """
    if criterion == "cosine":
        return 1 - F.cosine_similarity(one, other, dim=-3)
    if criterion == "l2":
        return (one - other).square().mean(dim=-3) / 2
    difference = (one - other).abs().mean(dim=-3)
    if criterion == "l1":
        return difference
    return SSIM_SHARE * ssim_error(one, other).mean(dim=-3) + (1 - SSIM_SHARE) * difference


def ssim_error(one: Tensor, other: Tensor, window: Literal["gaussian", "mean"] = "gaussian") -> Tensor:
    """Structural difference in 3x3 windows, 0..1 for each pixel and channel: (..., C, H, W).

    Args:
        one: a patch.
        other: another.
        window: ``gaussian``: weighted, zeros around the patch, clamp(1 - SSIM, 0, 1) / 2. ``mean``: unweighted, mirrored
            borders, clamp((1 - SSIM) / 2, 0, 1).
    """
    products = torch.stack(torch.broadcast_tensors(one, other, one * one, other * other, one * other))
    means = _window_means(products.flatten(0, -3)[:, None], window)[:, 0]
    mean_one, mean_other, square_one, square_other, both = means.unflatten(0, products.shape[:-2])
    first, second = STABILISERS
    # Differences of nearly equal numbers: grouped as the original does, they round as the original's.
    spread = (square_one - mean_one.square()) + (square_other - mean_other.square()) + second
    alike = (2 * mean_one * mean_other + first) * (2 * (both - mean_one * mean_other) + second)
    different = 1 - alike / ((mean_one.square() + mean_other.square() + first) * spread)
    return different.clamp(0, 1) / 2 if window == "gaussian" else (different / 2).clamp(0, 1)


def _window_means(maps: Tensor, window: str) -> Tensor:
    """Means of maps (B, 1, H, W) in 3x3 windows."""
    if window == "mean":
        return F.avg_pool2d(F.pad(maps, (1, 1, 1, 1), mode="reflect"), 3, 1)
    rows = [[CORNER, EDGE, CORNER], [EDGE, CENTRE, EDGE], [CORNER, EDGE, CORNER]]
    return F.conv2d(maps, maps.new_tensor(rows)[None, None], padding=1)


def edge_aware_roughness(
    values: Tensor, image: Tensor, sharpness: float = 1.0, *, order: Literal[1, 2] = 1
) -> Tensor:
    """How much values change between neighbours, counted less where the image does: (..., H, W).

    Args:
        values: (..., C, H, W); the mean of the channels' absolute differences counts.
        image: (..., 3, H, W).
        sharpness: of the weight exp(-sharpness * mean absolute difference of the image).
        order: 1: forward differences; 2: second differences, which let slanted planes pass; the image's differences are
            then taken over the same two pixels (SMURF, section 3.1).
    """
    across, down = _steps(values, order), _steps(values.mT, order).mT
    edge_across, edge_down = _steps(image, 1, order), _steps(image.mT, 1, order).mT
    return across * torch.exp(-sharpness * edge_across) + down * torch.exp(-sharpness * edge_down)


def _steps(values: Tensor, order: int = 1, stride: int = 1) -> Tensor:
    """Mean over channels of absolute differences to the right: (..., H, W).

    The last columns, for which there is no neighbour, are 0. First differences reach over ``stride`` pixels; second ones
    over two.
    """
    change = values.diff(dim=-1, n=order) if stride == 1 else values[..., stride:] - values[..., :-stride]
    return F.pad(change.abs().mean(dim=-3), (0, values.shape[-1] - change.shape[-1]))
