"""How well a rigid motion explains the flow and disparity of every point (spec 5.4)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from nolabel.methods.cups.sf2se3.scene_flow import Noise, PointFlow

TINY = 1e-10


class Consensus(NamedTuple):
    """Agreement of K motions with N points.

    Attributes:
        soft: (K, N) in [0, 1], probability of a residual at least as large under the noise model.
        log_likelihood: (K, N) log density of the residuals.
    """

    soft: Tensor
    log_likelihood: Tensor


def gaussian_tail(residual: Tensor) -> Tensor:
    """Return the two-sided tail 2 (1 - Phi(r)) of residuals >= 0 in units of their standard deviation.

    Written so that float32 gives exactly 0 beyond about 5.4: later steps take that zero as "no support".
    """
    return 2 * (1 - 0.5 * (1 + torch.erf(residual / math.sqrt(2))))


def motion_residuals(
    points: PointFlow, motions: Tensor, noise: Noise, reference_compat: bool = False
) -> Tensor:
    """Return |flow x|, |flow y| and |disparity| errors (3, K, N) in standard deviations.

    Args:
        points: N points with their flow.
        motions: (K, 4, 4) from t0 to t1.
        noise: standard deviations in pixels.
        reference_compat: as the original, mirror points that a motion puts behind the camera to its front;
            otherwise their errors are infinite.
    """
    camera = points.camera
    x, y, z = (
        torch.einsum("kij,nj->ikn", motions[:, :3, :3], points.points_0) + motions[:, :3, 3].T[:, :, None]
    )
    depth = z.abs() + TINY
    error_x = camera.fx * x / depth + camera.cx - (points.pixels[:, 0] + points.flow[:, 0])
    error_y = camera.fy * y / depth + camera.cy - (points.pixels[:, 1] + points.flow[:, 1])
    measured = points.points_1[:, 2]
    disparity = camera.fx * camera.baseline
    measured_disparity = disparity / (measured.abs() + TINY) * measured.sign()
    error_disparity = disparity / (depth + TINY) - measured_disparity
    residuals = torch.stack(
        [error_x.abs() / noise.flow_x, error_y.abs() / noise.flow_y, error_disparity.abs() / noise.disparity]
    )
    return residuals if reference_compat else residuals.masked_fill(z <= 0, math.inf)


def motion_consensus(
    points: PointFlow, motions: Tensor, noise: Noise, reference_compat: bool = False
) -> Consensus:
    """Score K motions (K, 4, 4) against N points.

    Invalid points have soft agreement 0 and the density of a perfect fit; ``reference_compat`` multiplies the
    two flow terms of that density, where their sum was meant.
    """
    residuals = motion_residuals(points, motions, noise, reference_compat)
    tails = gaussian_tail(residuals)
    soft = tails[0] * tails[1] * tails[2] * points.valid
    peaks = [
        -math.log(s) - 0.5 * math.log(2 * math.pi) for s in (noise.flow_x, noise.flow_y, noise.disparity)
    ]
    log_likelihood = -0.5 * residuals.square().sum(dim=0) + sum(peaks)
    perfect = peaks[0] * peaks[1] + peaks[2] if reference_compat else sum(peaks)
    return Consensus(soft, torch.where(points.valid, log_likelihood, perfect))
