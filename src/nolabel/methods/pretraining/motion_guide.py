"""Classical matching as a first teacher of a motion network.

DIS and SGBM know nothing of scenes, but pull flow over any distance from the first step on, where the census pulls over a
few pixels only. A network takes from them what forward and backward motion agree on, and outgrows them by the other lessons.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nolabel.methods.pretraining.motion_data import MotionBatch
from nolabel.models.motion import OpenCVMotion

__all__ = ["classical_flow"]


@torch.no_grad()
def classical_flow(batch: MotionBatch) -> Tensor:
    """Match all pairs of a batch by OpenCV: DIS flow over time, SGBM disparity between stereo views.

    Args:
        batch: images and pairs.

    Returns:
        Flow (P, 2, H, W) in pixels on the grids of the first images.
    """
    matcher = OpenCVMotion()
    first, second = batch.images[batch.first], batch.images[batch.second]
    flow = torch.zeros_like(first[:, :2])
    over_time, leftward, rightward = (batch.sideways == way for way in (0, -1, 1))
    if over_time.any():
        flow[over_time] = matcher.flow(first[over_time], second[over_time])
    if leftward.any():  # from a left view to its right one
        flow[leftward, :1] = -matcher.disparity(first[leftward], second[leftward])
    if rightward.any():
        flow[rightward, :1] = matcher.disparity(second[rightward], first[rightward], reference="right")
    return flow
