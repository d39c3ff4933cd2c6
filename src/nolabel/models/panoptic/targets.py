"""What a panoptic network is trained on."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nolabel.models.detection import InstanceTarget

__all__ = ["PanopticTarget"]


@dataclass(frozen=True)
class PanopticTarget(InstanceTarget):
    """Objects and semantics of one image.

    Attributes:
        boxes: (N, 4) float, x0, y0, x1, y1 in pixels.
        classes: (N,) int64 thing clusters 0 .. T - 1.
        instances: (H, W) integer ids 0 .. N, 0 = no object; row n - 1 describes id n.
        semantic: (H, W) integer channel of the semantic head: 0 = some thing, 1 .. S = stuff cluster + 1, 255 = void.
    """

    semantic: Tensor
