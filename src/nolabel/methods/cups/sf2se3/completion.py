"""Objects grow over the pixels without trusted motion around them, up to where the depth jumps.

Depth edges are not trusted, so every object comes out thinner than it is, and thin ones (people, bicycles) mostly
edge. Not in the original, whose images are 1280 pixels wide: there the band is a small part of an object.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def grow_objects(
    instances: Tensor, disparity: Tensor, trusted: Tensor, reach: int, tolerance: float
) -> Tensor:
    """Let objects take over adjacent pixels of their own disparity that have no trusted motion.

    Trusted pixels have been decided by their motion and stay what they are; so the road at an object's foot, which
    has the object's disparity but no depth edge, is never taken.

    Args:
        instances: (H, W) int64, 0 = none.
        disparity: (H, W) pixels.
        trusted: (H, W) bool, pixels with trusted scene flow.
        reach: pixels that an object may grow.
        tolerance: greatest difference to the object's disparity next to the pixel, as a share of it.

    Returns:
        (H, W) int64, with the same ids.
    """
    height, width = instances.shape
    labels, level = instances, torch.where(instances > 0, disparity, 0.0)
    free = ~trusted & (disparity > 0)
    for _ in range(reach):
        around = F.unfold(torch.stack([labels.to(level), level])[None], 3, padding=1).view(
            2, 9, height, width
        )
        gap = torch.where(around[0] > 0, (around[1] - disparity).abs(), torch.inf)
        nearest, place = gap.min(dim=0)
        taken = free & (labels == 0) & (nearest <= tolerance * disparity)
        if not taken.any():
            break
        labels = torch.where(taken, around[0].gather(0, place[None])[0].long(), labels)
        # The level is the object's, not the pixel's: else it would creep along a slanted edge.
        level = torch.where(taken, around[1].gather(0, place[None])[0], level)
    return labels
