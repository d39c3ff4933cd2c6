"""Noise of flow and disparity, estimated from their own inconsistency (spec 4.3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nolabel.geometry.flow import disparity_as_flow
from nolabel.geometry.warp import backward_warp
from nolabel.methods.cups.sf2se3.config import ObjectProposalConfig
from nolabel.methods.cups.sf2se3.scene_flow import Noise
from nolabel.models.motion import StereoMotion

TRUNCATIONS = 100  # trial values of the share of the range that one truncated standard deviation takes


def truncated_std(
    deviation: Tensor, valid: Tensor, std_min: float, std_max: float, min_valid_fraction: float
) -> Tensor:
    """Return the standard deviation (C,) of zero-mean deviations seen only up to ``std_max``.

    The standard deviation of a Gaussian cut at D is smaller than its true one; the ratio r solves g(r) = 0 and
    is found among fixed trial values (spec 4.3).

    Args:
        deviation: (C, H, W).
        valid: (H, W) or (C, H, W) bool.
        std_min: returned least, and where too little is valid.
        std_max: returned most; larger deviations are left out.
        min_valid_fraction: of all pixels, after leaving out.
    """
    inside = valid & (deviation.abs() <= std_max)
    count = inside.sum(dim=(1, 2))
    seen = (torch.where(inside, deviation, 0).square().sum(dim=(1, 2)) / count.clamp(min=1)).sqrt()
    ratio = torch.linspace(0.1, 1, TRUNCATIONS, device=deviation.device)
    a = std_max / (math.sqrt(2) * seen.clamp(min=1e-12))[:, None]
    shrinkage = 2 / math.sqrt(math.pi) * a * ratio * torch.exp(-((a * ratio) ** 2))
    residual = 1 - shrinkage / (torch.erf(a * ratio) + 1e-10) - ratio**2
    best = torch.where(residual.abs() < 0.01, ratio, ratio[0]).amax(dim=1)
    std = (seen / best).clamp(std_min, std_max)
    return torch.where(count / deviation[0].numel() < min_valid_fraction, std_min, std)


def estimate_noise(motion: StereoMotion, config: ObjectProposalConfig) -> Noise:
    """Return the standard deviations in pixels for one sample (batch of one).

    A consistency error is the difference of two equally noisy fields: its standard deviation is sqrt(2) times
    that of a field.

    Args:
        motion: flow and disparity of one sample.
        config: settings already scaled to the image (``for_image``).
    """
    compat = config.reference_compat
    limit = config.max_noise * math.sqrt(2)
    floor = config.min_noise * math.sqrt(2)
    to_right = disparity_as_flow(motion.disparity_0, "left")
    right, right_inside = backward_warp(
        motion.disparity_right_0, to_right, padding_mode="zeros", reference_compat=compat
    )
    back, back_inside = backward_warp(
        motion.flow_backward, motion.flow_forward, padding_mode="zeros", reference_compat=compat
    )
    disparity_error = (motion.disparity_0 - right)[0].abs()
    flow_error = (motion.flow_forward + back)[0]
    fraction = config.min_valid_fraction
    disparity_ok = right_inside[0] & (disparity_error < limit)
    flow_ok = back_inside[0] & (flow_error.norm(dim=0, keepdim=True) < limit)
    disparity = truncated_std(disparity_error, disparity_ok, floor, limit, fraction) / math.sqrt(2)
    flow = truncated_std(flow_error, flow_ok, floor, limit, fraction) / math.sqrt(2)
    return Noise(flow_x=float(flow[0]), flow_y=float(flow[1]), disparity=float(disparity[0]))
