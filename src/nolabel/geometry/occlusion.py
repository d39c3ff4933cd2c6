"""Where a pixel of one image has no partner in the other, from flow alone.

Forward-backward consistency is :func:`nolabel.geometry.forward_backward_visible`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nolabel.geometry._precision import full_precision
from nolabel.geometry.warp import pixel_grid

__all__ = ["range_map"]


def range_map(flow: Tensor) -> Tensor:
    """How many pixels of the other image come to lie on each pixel: below 1 nothing does, the pixel is occluded there.

    Every pixel's unit of weight is spread bilinearly over the four around its goal. Wang et al., "Occlusion Aware
    Unsupervised Learning of Optical Flow", CVPR 2018, section 3.2; SMURF calls it so.

    Args:
        flow: (B, 2, H, W) pixels, from the other image to the one whose pixels are counted.

    Returns:
        (B, 1, H, W) >= 0.
    """
    flow = full_precision(flow)
    batch, _, height, width = flow.shape
    goal = pixel_grid(height, width, dtype=flow.dtype, device=flow.device) + flow
    corner = goal.floor()
    part = goal - corner
    counts = flow.new_zeros(batch, height * width)
    for right in (0, 1):
        for below in (0, 1):
            u, v = corner[:, 0] + right, corner[:, 1] + below
            weight = (part[:, 0] if right else 1 - part[:, 0]) * (part[:, 1] if below else 1 - part[:, 1])
            inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
            index = torch.where(inside, v * width + u, 0.0).long()
            counts.scatter_add_(1, index.flatten(1), torch.where(inside, weight, 0.0).flatten(1))
    return counts.view(batch, 1, height, width)
