"""Fisheye images (MEI model) of which the edges lie at -1 and 1, and perspective pictures looked up in them.

The model itself is :class:`~nolabel.geometry.cameras.FisheyeCamera`; its parameters are xi, k1, k2, gamma1, gamma2, u0,
v0, and it does not care whether the last four count pixels or half images (spec ``scenedino.md`` 4 and 10.1).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nolabel.geometry._precision import common_precision, full_precision
from nolabel.geometry.cameras import FisheyeCamera

__all__ = [
    "fisheye_grid",
    "normalised_fisheye",
    "pixel_fisheye",
    "project_fisheye_normalised",
    "sample_fisheye",
]

NEAREST_COSINE = 1e-6
"""Rays with a smaller z of their unit vector count as behind the camera."""


def normalised_fisheye(parameters: Tensor, height: int, width: int, first_centre: float = 0.0) -> Tensor:
    """MEI parameters (..., 7) in pixels as those of an image from -1 to 1.

    Args:
        parameters: xi, k1, k2, gamma1, gamma2, u0, v0; the last four in pixels of an image of this size.
        height: rows.
        width: columns.
        first_centre: the coordinate of the first pixel's centre: 0 in this house; 0.5 where coordinates count from
            the edge of the image, as SceneDINO reads KITTI-360's calibration.
    """
    parameters = full_precision(parameters)
    size = parameters.new_tensor([width, height])
    centre = 2 * (parameters[..., 5:7] + 0.5 - first_centre) / size - 1
    return torch.cat([parameters[..., :3], 2 * parameters[..., 3:5] / size, centre], dim=-1)


def pixel_fisheye(parameters: Tensor, height: int, width: int, first_centre: float = 0.0) -> Tensor:
    """The inverse of :func:`normalised_fisheye`: parameters (..., 7) in pixels of an image of this size."""
    parameters = full_precision(parameters)
    half = parameters.new_tensor([width, height]) / 2
    centre = (parameters[..., 5:7] + 1) * half + first_centre - 0.5
    return torch.cat([parameters[..., :3], parameters[..., 3:5] * half, centre], dim=-1)


def project_fisheye_normalised(points: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Project points into a fisheye image that spans -1..1.

    Args:
        points: (..., P, 3) metres, camera frame.
        parameters: (..., 7) as :func:`normalised_fisheye` gives them.

    Returns:
        image: (..., P, 2) = (x, y).
        cosine: (..., P) = z of the unit ray.
        outside: (..., P) bool: behind the camera, or beyond an edge of the image. (The model sees further back than
            90 degrees; like the original, this test does not.)
    """
    image, cosine = FisheyeCamera(parameters).project(points)
    return image, cosine, (cosine <= NEAREST_COSINE) | (image.abs() > 1).any(dim=-1)


def fisheye_grid(
    matrix: Tensor,
    rotation: Tensor,
    parameters: Tensor,
    size: tuple[int, int],
    *,
    reference_compat: bool = False,
) -> Tensor:
    """Where each pixel of a perspective picture lies in a fisheye image.

    Args:
        matrix: (3, 3) pinhole matrix of the picture, normalised to -1..1.
        rotation: (3, 3): a ray r of the picture's camera is rotation r in the fisheye's frame.
        parameters: (7,) MEI parameters, normalised to -1..1.
        size: (H, W) of the picture.
        reference_compat: the original puts the first and last pixel CENTRES at -1 and 1, in the picture and (see
            :func:`sample_fisheye`) in the fisheye image, against the convention it uses everywhere else.

    Returns:
        (H, W, 2) float32 = (x, y) in -1..1.
    """
    height, width = size
    dtype = torch.float64
    ends = [0.0 if reference_compat else 1 / count for count in (height, width)]
    rows, columns = (
        torch.linspace(-1 + end, 1 - end, count, dtype=dtype, device=matrix.device)
        for end, count in zip(ends, size, strict=True)
    )
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    rays = pixels @ torch.linalg.inv(matrix.to(dtype)).mT @ rotation.to(matrix.device, dtype).mT
    image, _ = FisheyeCamera(parameters.to(matrix.device, dtype)).project(rays.reshape(-1, 3))
    return image.reshape(height, width, 2).float()


def sample_fisheye(image: Tensor, grid: Tensor, *, reference_compat: bool = False) -> Tensor:
    """Look a perspective picture up: bilinear, black outside.

    Args:
        image: (C, h, w) the fisheye image.
        grid: (H, W, 2) from :func:`fisheye_grid`.
        reference_compat: see :func:`fisheye_grid`.

    Returns:
        (C, H, W) in the image's type.
    """
    pixels, places = common_precision(image, grid.to(image.device))
    picture = F.grid_sample(pixels[None], places[None], "bilinear", "zeros", reference_compat)
    return picture[0].to(image.dtype)
