"""The ground in front of a stereo camera: how high the camera is above it, by its own calibration.

On a plane the disparity is linear in the pixel coordinates, d = a u + b v + c. With Z = fx B / d the plane's normal n
and the height h of the camera above it follow: n / h = K^T (a, b, c) / (fx B). A wrong baseline scales the height, a
wrong principal point tilts the plane, so both show without any reference measurement.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nolabel.geometry.warp import pixel_grid

__all__ = ["GroundPlane", "fit_ground", "fit_plane"]

TRIALS, SAMPLES = 256, 2000
LEAST_CANDIDATES = 50
STEEPEST = math.radians(40)  # between the plane's normal and the camera's vertical


@dataclass(frozen=True)
class GroundPlane:
    """The plane below the camera.

    Attributes:
        height: metres between camera and plane.
        pitch: radians by which the camera looks down onto the plane (negative: up).
        roll: radians by which the plane falls to the right.
        share: of the known pixels in the lower half of the image, how many lie on it, in [0, 1].
        coefficients: (3,): (a, b, c) of d = a u + b v + c in pixels.
    """

    height: float
    pitch: float
    roll: float
    share: float
    coefficients: Tensor

    def disparity(self, height: int, width: int) -> Tensor:
        """Return the plane's disparity (H, W) in pixels; 0 and below from the horizon upwards."""
        u, v = pixel_grid(height, width, dtype=self.coefficients.dtype, device=self.coefficients.device)
        a, b, c = self.coefficients
        return a * u + b * v + c


def fit_ground(
    disparity: Tensor, known: Tensor, matrix: Tensor, baseline: float, least_share: float = 1 / 3
) -> GroundPlane | None:
    """Fit the dominant plane below the camera to the lower half of a disparity map.

    No height is preferred: what comes out judges the calibration.

    Args:
        disparity: (H, W) pixels, left image.
        known: (H, W) bool, where it can be trusted.
        matrix: (3, 3) intrinsics.
        baseline: metres.
        least_share: of the lower half's known pixels that must lie on the plane.

    Returns:
        The plane, or None where there is none.
    """
    height, width = disparity.shape
    u, v = pixel_grid(height, width, dtype=disparity.dtype, device=disparity.device)
    matrix = matrix.to(disparity)
    lower = known & (disparity > 0) & (v >= height // 2)
    if float(lower.float().mean()) < 0.025:
        return None

    def upright(planes: Tensor) -> Tensor:
        normal = planes @ matrix
        return normal[:, 1] > math.cos(STEEPEST) * normal.norm(dim=1)

    plane = fit_plane(disparity, lower, u, v, upright)
    if plane is None:
        return None
    near = (plane[0] * u + plane[1] * v + plane[2] - disparity).abs() < tolerance(disparity)
    share = float(near[lower].float().mean())
    if share < least_share:
        return None
    normal = (matrix.T @ plane).double()
    length = float(normal.norm())
    return GroundPlane(
        float(matrix[0, 0]) * baseline / length,
        math.atan2(float(normal[2]), float(normal[1])),
        math.atan2(float(normal[0]), float(normal[1])),
        share,
        plane,
    )


def fit_plane(
    disparity: Tensor,
    candidates: Tensor,
    u: Tensor,
    v: Tensor,
    plausible: Callable[[Tensor], Tensor],
) -> Tensor | None:
    """Fit a plane (a, b, c) of disparity that nothing lies below: RANSAC with a fixed seed, then least squares.

    Args:
        disparity: (H, W) pixels.
        candidates: (H, W) bool, pixels that vote.
        u: (H, W) columns.
        v: (H, W) rows.
        plausible: tells for planes (N, 3) which may be the ground, (N,) bool.

    Returns:
        (3,), or None where too few pixels agree on a plausible plane.
    """
    places = candidates.flatten().nonzero()[:, 0]
    if len(places) < LEAST_CANDIDATES:
        return None
    generator = torch.Generator().manual_seed(0)
    device = disparity.device
    chosen = places[torch.randint(len(places), (SAMPLES,), generator=generator).to(device)]
    points = torch.stack([u.flatten()[chosen], v.flatten()[chosen], torch.ones_like(u.flatten()[chosen])], 1)
    values = disparity.flatten()[chosen]
    triples = torch.randint(SAMPLES, (TRIALS, 3), generator=generator).to(device)
    systems = points[triples].double()
    solvable = torch.linalg.det(systems).abs() > 100.0  # twice the area of the triangle, square pixels
    if not solvable.any():
        return None
    planes = torch.linalg.solve(systems[solvable], values[triples[solvable]].double()[..., None])[..., 0]
    planes = planes.to(values.dtype)
    residual = planes @ points.T - values
    allowed = tolerance(values)
    inliers = residual.abs() < allowed
    # Nothing lies below the ground: what would be counts against a plane.
    below = residual > 2 * allowed
    score = torch.where(plausible(planes), inliers.sum(1) - below.sum(1), -1)
    best = int(score.argmax())
    if int(inliers[best].sum()) < 0.05 * SAMPLES or int(score[best]) < 0:
        return None
    agreeing = inliers[best]
    system, right_side = points[agreeing].double().cpu(), values[agreeing].double().cpu()[:, None]
    refined = torch.linalg.lstsq(system, right_side).solution[:, 0].to(values)
    return refined if bool(plausible(refined[None])) else planes[best]


def tolerance(disparity: Tensor) -> Tensor:
    """Distance from a plane that counts as on it: half a pixel, or 4 % of the disparity."""
    return (0.04 * disparity).clamp(min=0.5)
