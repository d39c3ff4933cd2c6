"""Feature pyramid on top of a ResNet: p2 .. p6 with equal channels at strides 4 .. 64."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from nolabel.models.backbones.convolution import ConvNorm
from nolabel.models.backbones.resnet import ResNet, ResNetConfig

__all__ = ["FeaturePyramid"]


class FeaturePyramid(nn.Module):
    """ResNet and top-down pathway with normalised lateral and output convolutions, no activation.

    Source: CUPS specification 2.3 (detectron2's FPN with ``NORM: BN``, sum fusion, p6 by striding p5).

    Args:
        resnet: widths and depths of the ResNet below.
        channels: channels of every pyramid level.
    """

    strides: tuple[int, ...] = (4, 8, 16, 32, 64)
    size_divisibility: int = 32

    def __init__(self, resnet: ResNetConfig | None = None, channels: int = 256) -> None:
        super().__init__()
        resnet = resnet or ResNetConfig()
        self.bottom_up = ResNet(resnet)
        for level, in_channels in enumerate(resnet.out_channels, start=2):
            for name, conv in (
                (f"fpn_lateral{level}", ConvNorm(in_channels, channels)),
                (f"fpn_output{level}", ConvNorm(channels, channels, 3)),
            ):
                nn.init.kaiming_uniform_(conv.weight, a=1)
                self.add_module(name, conv)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map normalised images (B, 3, H, W), H and W multiples of 32, to ``p2`` .. ``p6``, finest first."""
        features = self.bottom_up(images)
        inner: Tensor | None = None
        pyramid: dict[str, Tensor] = {}
        for level in (5, 4, 3, 2):
            lateral = self._conv(f"fpn_lateral{level}")(features[f"res{level}"])
            inner = (
                lateral if inner is None else lateral + F.interpolate(inner, scale_factor=2.0, mode="nearest")
            )
            pyramid[f"p{level}"] = self._conv(f"fpn_output{level}")(inner)
        pyramid = dict(sorted(pyramid.items()))
        pyramid["p6"] = pyramid["p5"][:, :, ::2, ::2]
        return pyramid

    def _conv(self, name: str) -> ConvNorm:
        return cast(ConvNorm, getattr(self, name))
