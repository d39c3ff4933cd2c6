"""Semantic segmentation head on a feature pyramid."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nolabel.models.backbones import ConvNorm

__all__ = ["SemanticHead"]

VOID = 255
_STRIDE = 4


class _NormReLU(ConvNorm):
    """Convolution, group normalisation, ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(super().forward(x))


class SemanticHead(nn.Module):
    """Brings p2 .. p5 to stride 4, sums them and classifies every cell.

    Source: CUPS specification 2.8. Level p(l) passes l - 2 times through (convolution, bilinear x2), p2 once through
    a convolution alone.

    Args:
        in_channels: channels of the pyramid.
        channels: channels of the convolutions.
        num_classes: semantic channels (S + 1).
        norm_groups: groups of the group normalisations.
        class_weights: factor of each channel in the loss, or ``None``.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_classes: int,
        norm_groups: int,
        class_weights: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__()
        for level in (2, 3, 4, 5):
            branch = nn.Sequential()
            for step in range(max(1, level - 2)):
                width = in_channels if step == 0 else channels
                branch.append(_NormReLU(width, channels, 3, norm_groups=norm_groups))
                if level > 2:
                    branch.append(nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False))
            self.add_module(f"p{level}", branch)
        self.predictor = nn.Conv2d(channels, num_classes, 1)
        nn.init.kaiming_normal_(self.predictor.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(cast(Tensor, self.predictor.bias))
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, pyramid: dict[str, Tensor]) -> Tensor:
        """Map p2 .. p5 to logits (B, num_classes, H / 4, W / 4)."""
        merged: Tensor = self.p2(pyramid["p2"])  # type: ignore[operator]
        for level in ("p3", "p4", "p5"):
            merged = merged + getattr(self, level)(pyramid[level])
        logits = cast(Tensor, self.predictor(merged))
        return logits.contiguous()  # few channels: faster to enlarge one by one

    @staticmethod
    def upsample(logits: Tensor) -> Tensor:
        """Bring logits (B, C, H / 4, W / 4) to the resolution of the network input, float32."""
        return F.interpolate(logits.float(), scale_factor=_STRIDE, mode="bilinear", align_corners=False)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross entropy over labelled pixels; 0 where nothing is labelled.

        Args:
            logits: (B, num_classes, H / 4, W / 4).
            targets: (B, H, W) int64 channels, 255 = void.
        """
        if not bool((targets != VOID).any()):
            return logits.sum() * 0.0
        weights = cast("Tensor | None", self.class_weights)
        return F.cross_entropy(self.upsample(logits), targets, weight=weights, ignore_index=VOID)
