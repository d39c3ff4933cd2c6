"""Do features of different views of one place agree? (spec ``scenedino.md`` 11.3)"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from nolabel.geometry import backward_warp, forward_backward_visible

__all__ = ["FeatureConsistency", "FeatureConsistencyScores"]


class FeatureConsistencyScores(NamedTuple):
    """Means over all pixels seen in both views.

    Attributes:
        l1: sum over the channels of absolute differences.
        l2: length of the difference.
        cosine: cosine similarity.
        visible: share of the pixels that are seen in both views, 0..1.
    """

    l1: float
    l2: float
    cosine: float
    visible: float


class FeatureConsistency(Metric):
    """Distances of the features of two views, brought together along optical flow.

    ``update(first, second, forward, backward)`` takes features of two images (B, C, h, w), enlarged bilinearly to the
    flow's grid, the flow (B, 2, H, W) from the first to the second image in pixels, and back. Pixels that leave the image
    or are hidden in the second one (forward-backward check) do not count.
    """

    full_state_update = False
    higher_is_better = False
    is_differentiable = False
    sums: Tensor
    pixels: Tensor
    seen: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("sums", torch.zeros(3, dtype=torch.float64), "sum")
        self.add_state("seen", torch.zeros((), dtype=torch.int64), "sum")
        self.add_state("pixels", torch.zeros((), dtype=torch.int64), "sum")

    def update(self, first: Tensor, second: Tensor, forward: Tensor, backward: Tensor) -> None:
        """Add pairs of views."""
        visible = forward_backward_visible(forward, backward)[:, 0]
        size = forward.shape[-2:]
        one, other = (_enlarged(features, size) for features in (first, second))
        moved, inside = backward_warp(other, forward)
        visible = visible & inside[:, 0]
        difference = (one - moved).movedim(1, -1)[visible]
        cosine = F.cosine_similarity(one, moved, dim=1)[visible]
        sums = [difference.abs().sum(-1), difference.norm(dim=-1), cosine]
        self.sums += torch.stack([value.double().sum() for value in sums]).to(self.sums.device)
        self.seen += visible.sum().to(self.seen.device)
        self.pixels += visible.numel()

    def compute(self) -> FeatureConsistencyScores:
        """Score all pairs."""
        l1, l2, cosine = (self.sums / self.seen).tolist()
        return FeatureConsistencyScores(l1, l2, cosine, float(self.seen / self.pixels))


def _enlarged(features: Tensor, size: tuple[int, ...]) -> Tensor:
    if features.shape[-2:] == torch.Size(size):
        return features.float()
    return F.interpolate(features.float(), size=tuple(size), mode="bilinear", align_corners=False)
