"""Connected parts of what a crop's fields call object (unMORE specification, 6.2.7)."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

__all__ = ["component_boxes", "enlarged"]

# Pixels touch their eight neighbours in the same map, never those of another map.
_NEIGHBOURS = np.zeros((3, 3, 3), dtype=bool)
_NEIGHBOURS[1] = True


def component_boxes(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Find the boxes of the connected parts (8 neighbours) of all masks at once.

    Args:
        masks: (N, S, S) bool.

    Returns:
        Boxes (M, 4) int64 XYXY with exclusive maxima, mask by mask, in the raster order of each part's first pixel;
        and the mask of each, (M,) int64; both on the masks' device.
    """
    labels, _ = ndimage.label(masks.cpu().numpy(), structure=_NEIGHBOURS)
    found = [
        (depth.start, columns.start, rows.start, columns.stop, rows.stop)
        for depth, rows, columns in ndimage.find_objects(labels)
    ]
    table = torch.tensor(found, dtype=torch.long).reshape(-1, 5).to(masks.device)
    return table[:, 1:], table[:, 0]


def enlarged(corners: Tensor, limits: Tensor, factor: float = 1.5) -> Tensor:
    """Boxes (N, 4) enlarged about their centres, clipped to the images and cut to whole pixels.

    Args:
        corners: XYXY.
        limits: (N, 4): width, height, width, height of each box's image.
        factor: of both sides.
    """
    corners = corners.double()
    centre = (corners[:, :2] + corners[:, 2:]) / 2
    half = (corners[:, 2:] - corners[:, :2]) / 2 * factor
    grown = torch.cat([centre - half, centre + half], dim=1)
    return torch.minimum(grown.clamp(min=0), limits.double()).trunc()
