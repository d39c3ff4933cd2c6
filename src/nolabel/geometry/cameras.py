"""Cameras: 3D points in the camera frame (x right, y down, z forward, metres) <-> pixels.

Integer pixel coordinates are pixel centres. Everything is batched: leading axes of the parameters broadcast with
those of the points.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nolabel.geometry._precision import common_precision, full_precision
from nolabel.geometry.warp import pixel_grid

__all__ = ["FisheyeCamera", "PinholeCamera", "distort_radius", "undistort_radius"]


@dataclass(frozen=True, eq=False)
class PinholeCamera:
    """The pinhole model.

    Args:
        matrix: (..., 3, 3) = [[fx, s, cx], [0, fy, cy], [0, 0, 1]] in pixels.
    """

    matrix: Tensor

    def __post_init__(self) -> None:
        if self.matrix.shape[-2:] != (3, 3):
            raise ValueError(f"matrix: expected shape (..., 3, 3), got {tuple(self.matrix.shape)}")

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Project points.

        Args:
            points: (..., N, 3) metres.

        Returns:
            pixels: (..., N, 2) = (u, v); meaningful where the depth is positive, finite everywhere but z = 0.
            depth: (..., N) metres = z.
        """
        points, matrix = common_precision(points, self.matrix.to(points.device))
        image = points @ matrix.mT
        return image[..., :2] / image[..., 2:], points[..., 2]

    def unproject(self, pixels: Tensor, depth: Tensor) -> Tensor:
        """The points seen at the pixels.

        Args:
            pixels: (..., N, 2) = (u, v).
            depth: (..., N) metres along z.

        Returns:
            (..., N, 3) metres.
        """
        pixels, depth, matrix = common_precision(pixels, depth, self.matrix.to(pixels.device))
        ray = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1) @ _inverse(matrix).mT
        return ray * depth[..., None]

    def backproject(self, depth: Tensor) -> Tensor:
        """The points of a depth map.

        Args:
            depth: (..., H, W) metres along z, 0 = unknown.

        Returns:
            (..., H, W, 3) metres; unknown depth gives the origin.
        """
        depth = full_precision(depth)
        height, width = depth.shape[-2:]
        pixels = pixel_grid(height, width, dtype=depth.dtype, device=depth.device).reshape(2, -1).T
        return self.unproject(pixels, depth.flatten(-2)).unflatten(-2, (height, width))


def _inverse(matrix: Tensor) -> Tensor:
    """The inverse of an upper triangular 3x3 matrix, written out: no solver, the same on every device."""
    fx, skew, cx = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 0, 2]
    fy, cy, last = matrix[..., 1, 1], matrix[..., 1, 2], matrix[..., 2, 2]
    zero = torch.zeros_like(fx)
    rows = [
        torch.stack([1 / fx, -skew / (fx * fy), (skew * cy - cx * fy) / (fx * fy * last)], dim=-1),
        torch.stack([zero, 1 / fy, -cy / (fy * last)], dim=-1),
        torch.stack([zero, zero, 1 / last], dim=-1),
    ]
    return torch.stack(rows, dim=-2)


@dataclass(frozen=True, eq=False)
class FisheyeCamera:
    """The unified omnidirectional (MEI) model, as calibrated for KITTI-360's side cameras.

    A unit ray (x, y, z) lands at (x, y) / (z + xi), is distorted radially by 1 + k1 r^2 + k2 r^4 and scaled:
    u = gamma1 x + u0, v = gamma2 y + v0 (spec ``scenedino.md`` 4).

    Args:
        parameters: (..., 7) = xi, k1, k2, gamma1, gamma2, u0, v0; the last four in pixels.
    """

    parameters: Tensor

    def __post_init__(self) -> None:
        if self.parameters.shape[-1:] != (7,):
            raise ValueError(f"parameters: expected shape (..., 7), got {tuple(self.parameters.shape)}")

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Project points.

        Args:
            points: (..., N, 3) metres.

        Returns:
            pixels: (..., N, 2) = (u, v).
            cosine: (..., N) = z of the unit ray, -1..1: how far in front of the camera the point is. The model
                can see points with cosine > -1 / xi for xi > 1, > -xi otherwise.
        """
        points, parameters = common_precision(points, self.parameters.to(points.device))
        xi, k1, k2, gamma, centre = _split(parameters)
        ray = points / points.norm(dim=-1, keepdim=True)
        plane = ray[..., :2] / (ray[..., 2:] + xi)
        square = plane.square().sum(dim=-1, keepdim=True)
        return plane * (1 + k1 * square + k2 * square.square()) * gamma + centre, ray[..., 2]

    def unproject(self, pixels: Tensor, iterations: int = 20) -> tuple[Tensor, Tensor]:
        """The unit rays of pixels.

        Args:
            pixels: (..., N, 2) = (u, v).
            iterations: Newton steps for the radial distortion; quadratic convergence needs far fewer.

        Returns:
            rays: (..., N, 3), unit length.
            seen: (..., N) bool: False where no ray lands at the pixel (beyond the fold of the distortion or
                outside the model's field of view); the ray there is meaningless but finite.
        """
        pixels, parameters = common_precision(pixels, self.parameters.to(pixels.device))
        xi, k1, k2, gamma, centre = _split(parameters)
        distorted = (pixels - centre) / gamma
        radius = distorted.norm(dim=-1, keepdim=True)
        undistorted, seen = undistort_radius(radius, k1, k2, iterations)
        tiny = torch.finfo(radius.dtype).tiny
        plane = distorted * torch.where(radius > 0, undistorted / radius.clamp(min=tiny), 1.0)
        square = undistorted.square()
        discriminant = 1 + (1 - xi.square()) * square
        scale = (xi + discriminant.clamp(min=0).sqrt()) / (1 + square)
        rays = torch.cat([plane * scale, scale - xi], dim=-1)
        return rays, (seen & (discriminant >= 0))[..., 0]


def _split(parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """xi, k1, k2 as (..., 1, 1); gamma and centre as (..., 1, 2): ready for (..., N, C) points."""
    expanded = parameters[..., None, :]
    return (
        expanded[..., 0:1],
        expanded[..., 1:2],
        expanded[..., 2:3],
        expanded[..., 3:5],
        expanded[..., 5:7],
    )


def distort_radius(radius: Tensor, k1: Tensor, k2: Tensor) -> Tensor:
    """r (1 + k1 r^2 + k2 r^4)."""
    square = radius.square()
    return radius * (1 + k1 * square + k2 * square.square())


def undistort_radius(
    distorted: Tensor, k1: Tensor, k2: Tensor, iterations: int = 20
) -> tuple[Tensor, Tensor]:
    """The inverse of :func:`distort_radius` on its branch through zero, by Newton steps kept on that branch.

    Returns:
        The radius, and bool where it was found: not where ``distorted`` lies beyond the largest value that the
        branch reaches (the fold, where the derivative 1 + 3 k1 r^2 + 5 k2 r^4 vanishes).
    """
    # Before the fold the factor 1 + k1 r^2 + k2 r^4 is never below 4/9, which bounds the root by 9/4 of the
    # distorted radius. Newton steps that leave the bracket fall back to halving it.
    low, high = torch.zeros_like(distorted), torch.minimum(_fold(k1, k2), 2.25 * distorted)
    limit = distort_radius(high, k1, k2)
    found = distorted <= limit
    target = torch.minimum(distorted, limit)
    radius = torch.minimum(target, high)
    for _ in range(iterations):
        value = distort_radius(radius, k1, k2) - target
        low = torch.where(value < 0, radius, low)
        high = torch.where(value > 0, radius, high)
        square = radius.square()
        slope = 1 + 3 * k1 * square + 5 * k2 * square.square()
        step = radius - value / torch.where(slope > 1e-12, slope, torch.ones_like(slope))
        good = (slope > 1e-12) & (step >= low) & (step <= high)
        radius = torch.where(good, step, (low + high) / 2)
    return radius, found


def _fold(k1: Tensor, k2: Tensor) -> Tensor:
    """The smallest r > 0 with 1 + 3 k1 r^2 + 5 k2 r^4 = 0; infinite where there is none."""
    a, b = 5 * k2, 3 * k1
    discriminant = b.square() - 4 * a
    root = discriminant.clamp(min=0).sqrt()
    # Both roots as 2 / (-b +- root): finite for a = 0, free of cancellation.
    first, second = -b + root, -b - root
    infinite = torch.full_like(root, torch.inf)
    candidates = [torch.where(d > 0, 2 / torch.where(d > 0, d, 1.0), infinite) for d in (first, second)]
    smallest = torch.minimum(*candidates).sqrt()
    return torch.where(discriminant >= 0, smallest, infinite)
