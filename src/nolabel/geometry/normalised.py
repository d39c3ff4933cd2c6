"""Images measured from -1 to 1: the left edge of the first column at x = -1, the right edge of the last at x = 1.

In these coordinates (SceneDINO's, and those of ``torch.nn.functional.grid_sample``) a camera matrix does not depend on
the resolution of its image (spec ``scenedino.md`` 4).
"""

from __future__ import annotations

import torch
from torch import Tensor

from nolabel.geometry._precision import common_precision, full_precision
from nolabel.geometry.rigid import transform

__all__ = ["normalised_intrinsics", "pixel_intrinsics", "project_normalised"]

NEAREST_DEPTH = 1e-3  # metres; closer points count as being at this depth, and as outside


def normalised_intrinsics(matrix: Tensor, height: int, width: int, first_centre: float = 0.0) -> Tensor:
    """Pinhole matrices (..., 3, 3) in pixels as matrices of the image from -1 to 1.

    Args:
        matrix: in pixels of an image of this size.
        height: rows.
        width: columns.
        first_centre: the coordinate of the first pixel's centre: 0 in this house; 0.5 where coordinates count from
            the edge of the image, as SceneDINO reads KITTI-360's calibration.
    """
    return _image_to_normalised(matrix, height, width, first_centre) @ full_precision(matrix)


def pixel_intrinsics(matrix: Tensor, height: int, width: int, first_centre: float = 0.0) -> Tensor:
    """The inverse of :func:`normalised_intrinsics`: matrices (..., 3, 3) in pixels of an image of this size."""
    scale = _image_to_normalised(matrix, height, width, first_centre)
    scale_back = torch.diag(1 / scale.diagonal())
    scale_back[:2, 2] = -scale[:2, 2] / scale.diagonal()[:2]
    return scale_back @ full_precision(matrix)


def _image_to_normalised(like: Tensor, height: int, width: int, first_centre: float) -> Tensor:
    """The 3x3 map of pixels to -1..1: x = 2 (u + 0.5 - first_centre) / width - 1."""
    half = 1 - 2 * first_centre
    rows = [[2 / width, 0.0, half / width - 1], [0.0, 2 / height, half / height - 1], [0.0, 0.0, 1.0]]
    return torch.tensor(rows, dtype=full_precision(like[..., :0]).dtype, device=like.device)


def project_normalised(
    points: Tensor, matrix: Tensor, world_to_camera: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Project points into an image that spans -1..1.

    Args:
        points: (..., P, 3) metres; in the camera frame where no motion is given.
        matrix: (..., 3, 3) as :func:`normalised_intrinsics` gives it; leading axes broadcast with the points'.
        world_to_camera: (..., 4, 4).

    Returns:
        image: (..., P, 2) = (x, y); points nearer than 1 mm are divided by that depth.
        depth: (..., P) metres; the third row of the matrix times the point.
        outside: (..., P) bool: behind the camera (or nearer than 1 mm), or beyond an edge of the image.
    """
    if world_to_camera is not None:
        points = transform(world_to_camera, points)
    points, matrix = common_precision(points, matrix)
    projected = points @ matrix.mT
    depth = projected[..., 2]
    image = projected[..., :2] / depth[..., None].clamp(min=NEAREST_DEPTH)
    outside = (depth <= NEAREST_DEPTH) | (image.abs() > 1).any(dim=-1)
    return image, depth, outside
