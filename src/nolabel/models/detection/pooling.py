"""Fixed-size features of boxes, read from the pyramid level that suits their size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

from nolabel.models.detection.gathered_pooling import gathered_roi_align

__all__ = ["box_levels", "pool_boxes"]

_CANONICAL_SIZE, _CANONICAL_LEVEL = 224.0, 4.0


def box_levels(boxes: Tensor, lowest: int, highest: int) -> Tensor:
    """Return the pyramid level (N,) int64 for boxes (N, 4): 4 at 224 pixels, one less for each halving of the size."""
    sizes = torch.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    levels = torch.floor(_CANONICAL_LEVEL + torch.log2(sizes / _CANONICAL_SIZE + 1e-8))
    return levels.clamp(lowest, highest).to(torch.int64)


def pool_boxes(features: Sequence[Tensor], boxes: Sequence[Tensor], size: int) -> Tensor:
    """Pool every box to size x size features.

    torchvision's ``MultiScaleRoIAlign`` is not used: it pools without the half-pixel correction (``aligned``) and
    rounds the levels of boxes at a limit differently.

    Args:
        features: p2, p3, ... (B, C, H / 4, W / 4), ...; each level halves the one before.
        boxes: for each of the B images (N_i, 4) boxes in pixels.
        size: output rows and columns.

    Returns:
        (sum N_i, C, size, size) in the order of the boxes.
    """
    counts = torch.tensor([len(image_boxes) for image_boxes in boxes], device=boxes[0].device)
    joined = torch.cat(list(boxes))
    image_index = torch.repeat_interleave(counts).to(joined.dtype)
    regions = torch.cat([image_index[:, None], joined], dim=1)
    levels = box_levels(joined, 2, 1 + len(features))
    pooled = joined.new_zeros((len(joined), features[0].shape[1], size, size), dtype=features[0].dtype)
    for level, feature in enumerate(features, start=2):
        rows = (levels == level).nonzero().squeeze(1)
        if feature.device.type == "cpu":
            crops = gathered_roi_align(feature, regions[rows], size, 0.5**level)
        else:
            crops = roi_align(
                feature, regions[rows], size, spatial_scale=0.5**level, sampling_ratio=0, aligned=True
            )
        pooled.index_copy_(0, rows, crops)
    return pooled
