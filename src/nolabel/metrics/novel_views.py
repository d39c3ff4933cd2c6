"""How like the photograph is a rendered view? (spec ``scenedino.md`` 11.4)"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["structural_similarity", "view_scores"]

WINDOW = 7


def structural_similarity(prediction: Tensor, target: Tensor) -> Tensor:
    """SSIM (B,) of images (B, C, H, W) in [0, 1]: plain 7x7 windows and sample variances, as scikit-image has it.

    Windows that reach over the border do not count.
    """
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    a, b = prediction.double(), target.double()

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, WINDOW, stride=1)

    mean_a, mean_b = mean(a), mean(b)
    variance = unbiased * (mean(a * a) + mean(b * b) - mean_a**2 - mean_b**2)
    covariance = unbiased * (mean(a * b) - mean_a * mean_b)
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similarity = similarity / ((mean_a**2 + mean_b**2 + c1) * (variance + c2))
    return similarity.flatten(1).mean(dim=1)


def view_scores(prediction: Tensor, target: Tensor, border: float = 0.05) -> dict[str, Tensor]:
    """Scores of rendered views, one value for each.

    Args:
        prediction, target: ``(B, 3, H, W)`` in [0, 1].
        border: share of rows and columns at each side that does not count.

    Returns:
        ``(B,)`` each: psnr (dB) and ssim.
    """
    height, width = target.shape[-2:]
    rows, columns = int(border * height), int(border * width)
    inner = (..., slice(rows, height - rows), slice(columns, width - columns))
    a, b = prediction[inner], target[inner]
    error = (a.double() - b.double()).square().flatten(1).mean(dim=1)
    return {"psnr": -10 * torch.log10(error), "ssim": structural_similarity(a, b)}
