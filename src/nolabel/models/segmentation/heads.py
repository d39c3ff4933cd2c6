"""Heads that turn the four maps of a backbone into logits: DAFormer's and the reduced one of DeepLab-V2.

Source: DAFormer (Hoyer et al., CVPR 2022), section 3.2; UDASS image specification, 3.3 - 3.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nolabel.models.backbones import ConvNorm
from nolabel.models.pointwise import Linear

__all__ = ["DAFormerHead", "DeepLabV2Head", "DilatedSum", "Fusion"]

Fusion = Literal["separable_aspp", "aspp", "conv1", "conv3"]


class ConvReLU(ConvNorm):
    """Convolution, normalisation, ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H, W)."""
        return F.relu_(super().forward(x))


class SeparableConvReLU(nn.Module):
    """A 3x3 convolution within every channel, and one of single cells across them."""

    def __init__(self, in_channels: int, channels: int, dilation: int) -> None:
        super().__init__()
        self.depthwise = ConvReLU(in_channels, in_channels, 3, dilation=dilation, groups=in_channels)
        self.pointwise = ConvReLU(in_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, channels, H, W)."""
        return cast(Tensor, self.pointwise(self.depthwise(x)))


class DilatedFusion(nn.Module):
    """Convolutions at several dilations side by side, joined by a 3x3 convolution (ASPP without image pooling)."""

    def __init__(self, in_channels: int, channels: int, dilations: Sequence[int], separable: bool) -> None:
        super().__init__()
        self.branches = nn.ModuleList()
        for dilation in dilations:
            if dilation == 1:
                self.branches.append(ConvReLU(in_channels, channels))
            elif separable:
                self.branches.append(SeparableConvReLU(in_channels, channels, dilation))
            else:
                self.branches.append(ConvReLU(in_channels, channels, 3, dilation=dilation))
        self.bottleneck = ConvReLU(channels * len(dilations), channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, channels, H, W)."""
        return cast(Tensor, self.bottleneck(torch.cat([branch(x) for branch in self.branches], dim=1)))


class DAFormerHead(nn.Module):
    """Brings all maps to one width and to the size of the finest, and fuses them with context at several dilations.

    Args:
        in_channels: of the backbone's maps.
        num_logits: channels of the result.
        width: channels of every embedded map and of the fused one.
        fusion: ``separable_aspp`` (DAFormer), ``aspp`` with full convolutions, or one convolution ``conv1`` (1x1; what
            HRDA's attention uses) or ``conv3`` (3x3).
        dilations: of the ASPP.
        dropout: chance of a fused channel to be left out in training.
    """

    stride = 4
    """Pixels per cell of the logits."""

    def __init__(
        self,
        in_channels: Sequence[int],
        num_logits: int,
        *,
        width: int = 256,
        fusion: Fusion = "separable_aspp",
        dilations: Sequence[int] = (1, 6, 12, 18),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.num_logits, self.width = num_logits, width
        self.embeddings = nn.ModuleList(Linear(channels, width) for channels in in_channels)
        joined = width * len(in_channels)
        self.fusion: nn.Module
        if fusion in ("separable_aspp", "aspp"):
            self.fusion = DilatedFusion(joined, width, dilations, fusion == "separable_aspp")
        else:
            self.fusion = ConvReLU(joined, width, 1 if fusion == "conv1" else 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(width, num_logits, 1)
        _initialise_classifier(self.classifier)

    def embed(self, features: Sequence[Tensor]) -> Tensor:
        """Map the maps (B, C_i, h_i, w_i), finest first, to (B, 4 * width, h_0, w_0)."""
        size, embedded = features[0].shape[-2:], []
        for layer, feature in zip(self.embeddings, features, strict=True):
            tokens = layer(feature.flatten(2).transpose(1, 2))
            wide = tokens.transpose(1, 2).unflatten(2, tuple(feature.shape[-2:]))
            if wide.shape[-2:] != size:
                wide = F.interpolate(wide, size=size, mode="bilinear", align_corners=False)
            embedded.append(wide)
        return torch.cat(embedded, dim=1)

    def classify(self, embedding: Tensor) -> Tensor:
        """Map what :meth:`embed` returns to logits (B, num_logits, h_0, w_0)."""
        return cast(Tensor, self.classifier(self.dropout(self.fusion(embedding))))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Map the maps (B, C_i, h_i, w_i), finest first, to logits (B, num_logits, h_0, w_0)."""
        return self.classify(self.embed(features))


class DilatedSum(nn.Module):
    """The sum of 3x3 convolutions of a map at several dilations.

    Args:
        in_channels: of the map.
        out_channels: of the result.
        dilations: one convolution for each.
    """

    def __init__(self, in_channels: int, out_channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.dilations = tuple(dilations)
        self.branches = nn.ModuleList(
            nn.Conv2d(in_channels, out_channels, 3, padding=rate, dilation=rate) for rate in dilations
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, in, h, w) to (B, out, h, w)."""
        first, *others = (cast(Tensor, branch(features)) for branch in self.branches)
        return sum(others, first)


class DeepLabV2Head(DilatedSum):
    """The dilated sum of the coarsest map; nothing else.

    Args:
        in_channels: of the coarsest map.
        num_logits: channels of the result.
        dilations: (6, 12) is the reduced head ("dlv2red") of UDASS and MIC, (6, 12, 18, 24) that of DeepLab-V2.
    """

    stride = 8
    """Pixels per cell of the logits, on a backbone whose last two stages are dilated."""

    def __init__(self, in_channels: int, num_logits: int, dilations: Sequence[int] = (6, 12)) -> None:
        super().__init__(in_channels, num_logits, dilations)
        self.num_logits = num_logits
        for branch in self.branches:
            _initialise_classifier(cast(nn.Conv2d, branch))

    def forward(self, features: Sequence[Tensor]) -> Tensor:  # type: ignore[override]
        """Map the maps, of which only the last (B, C, h, w) is used, to logits (B, num_logits, h, w)."""
        return super().forward(features[-1])


def _initialise_classifier(layer: nn.Conv2d) -> None:
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(cast(Tensor, layer.bias))
