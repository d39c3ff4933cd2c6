"""Mixing the features of the two composites (UDASS specification, video 4.1 and 4.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["mix_features"]


def mix_features(source: Tensor, target: Tensor, mask: Tensor, *, weight: float = 0.3) -> Tensor:
    """Blend features of the source composite into those of the target composite where both got something pasted.

    Args:
        source, target: (B, C, h, w) of the source and the target composite.
        mask: (B, H, W) bool at the size of the frames.
        weight: share of the source's features inside the mask.

    Returns:
        (B, C, h, w). The blending happens at a quarter of the frames' size.
    """
    size = mask.shape[-2] // 4, mask.shape[-1] // 4
    inside = F.interpolate(mask[:, None].float(), size=size, mode="nearest").to(target.dtype)
    larger, kept = (_resize(features, size) for features in (source, target))
    mixed = torch.lerp(kept, larger, weight * inside)
    return _resize(mixed, (target.shape[-2], target.shape[-1]))


def _resize(features: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(features.shape[-2:]) == size:
        return features
    return F.interpolate(features, size=size, mode="bilinear", align_corners=True)
