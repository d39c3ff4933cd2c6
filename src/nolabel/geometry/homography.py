"""Planes as two cameras see them: points moved by 3x3 matrices."""

from __future__ import annotations

import torch
from torch import Tensor

from nolabel.geometry._precision import common_precision

__all__ = ["move_points"]


def move_points(matrix: Tensor, points: Tensor) -> Tensor:
    """Where a homography takes image points.

    Args:
        matrix: (B, 3, 3) or (3, 3).
        points: (B, 2, H, W) or (2, H, W) pixels = (u, v).

    Returns:
        (B, 2, H, W); points on the line that goes to infinity become infinite.
    """
    matrix, points = common_precision(matrix, points)
    points = torch.cat([points, torch.ones_like(points[..., :1, :, :])], dim=-3)
    moved = torch.einsum("...ij,...jhw->...ihw", matrix, points)
    return moved[..., :2, :, :] / moved[..., 2:, :, :]
