"""Mixing the feature maps of two passes inside a network (QuadMix in feature space).

Source: spec ``udass_video.md`` 4.1 and 4.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["FeatureMix", "mix_features"]

STRIDE = 4
"""Pixels per cell of the grid on which features are mixed."""


@dataclass(frozen=True)
class FeatureMix:
    """A feature map of another pass, and where it is mixed in.

    Attributes:
        feature: (B, K, h, w), the ``feature`` of another pass' :class:`FrameScores`; gradients reach it.
        mask: (B, H, W) or (B, 1, H, W) in pixels of the image, above 0 where the two are mixed.
        weight: share of the other pass there.
    """

    feature: Tensor
    mask: Tensor
    weight: float = 0.3

    def apply(self, feature: Tensor) -> Tensor:
        """Mix into this pass' feature map (B, K, h, w); on its own grid."""
        mixed = mix_features(feature, self.feature, self.mask, self.weight)
        size = (feature.shape[-2], feature.shape[-1])
        if tuple(mixed.shape[-2:]) == size:
            return mixed
        return F.interpolate(mixed, size, mode="bilinear", align_corners=True)


def mix_features(feature: Tensor, other: Tensor, mask: Tensor, weight: float = 0.3) -> Tensor:
    """Mix two feature maps on the grid of a quarter of the image.

    Args:
        feature: (B, K, h, w) of this pass.
        other: (B, K, h, w) of the other pass.
        mask: (B, H, W) or (B, 1, H, W) in pixels of the image, above 0 where they are mixed.
        weight: share of the other pass where they are mixed; elsewhere only this pass counts.

    Returns:
        (B, K, H // 4, W // 4).
    """
    size = (mask.shape[-2] // STRIDE, mask.shape[-1] // STRIDE)
    here = F.interpolate(mask.reshape(mask.shape[0], 1, *mask.shape[-2:]).float(), size, mode="nearest") > 0
    this, that = (_resized(values, size) for values in (feature, other))
    return torch.where(here, torch.lerp(this, that, weight), this)


def _resized(values: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(values.shape[-2:]) == size:
        return values
    return F.interpolate(values, size, mode="bilinear", align_corners=True)
