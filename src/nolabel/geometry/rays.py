"""Viewing rays of cameras, and the two meanings of depth along them."""

from __future__ import annotations

import torch
from torch import Tensor

from nolabel.geometry._precision import common_precision
from nolabel.geometry.cameras import PinholeCamera

__all__ = ["camera_rays", "depth_from_distance", "distance_from_depth"]


def camera_rays(
    matrix: Tensor, height: int, width: int, camera_to_world: Tensor | None = None, unit: bool = True
) -> tuple[Tensor, Tensor]:
    """The rays through all pixel centres.

    Args:
        matrix: (..., 3, 3) pinhole matrix, pixels.
        height: rows.
        width: columns.
        camera_to_world: (..., 4, 4); the camera frame by default.
        unit: directions of length 1, so that a sample's parameter is its distance; else with z = 1 in the camera
            frame, so that it is the depth.

    Returns:
        origins, directions: (..., height, width, 3) in the world frame.
    """
    depth = torch.ones(height, width, dtype=matrix.dtype, device=matrix.device)
    directions = PinholeCamera(matrix).backproject(depth.expand(*matrix.shape[:-2], height, width))
    if unit:
        directions = directions / directions.norm(dim=-1, keepdim=True)
    if camera_to_world is None:
        return torch.zeros_like(directions), directions
    directions, pose = common_precision(directions, camera_to_world)
    directions = directions @ pose[..., None, :3, :3].mT
    origins = pose[..., None, None, :3, 3].expand_as(directions)
    return origins, directions


def distance_from_depth(depth: Tensor, matrix: Tensor) -> Tensor:
    """Depth along z to distance along the ray: (..., H, W) metres, 0 stays 0."""
    return depth * _stretch(depth, matrix)


def depth_from_distance(distance: Tensor, matrix: Tensor) -> Tensor:
    """Distance along the ray to depth along z: (..., H, W) metres, 0 stays 0."""
    return distance / _stretch(distance, matrix)


def _stretch(depth: Tensor, matrix: Tensor) -> Tensor:
    depth, matrix = common_precision(depth, matrix)
    _, directions = camera_rays(matrix, depth.shape[-2], depth.shape[-1], unit=False)
    return directions.norm(dim=-1) / directions[..., 2]  # z is 1 unless the matrix is scaled as a whole
