"""ResNet with bottleneck blocks, in detectron2's naming and, unless asked otherwise, torchvision's arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from nolabel.models.backbones.convolution import ConvNorm

__all__ = ["ResNet", "ResNetConfig"]


@dataclass(frozen=True)
class ResNetConfig:
    """Widths and depths of a bottleneck ResNet; the defaults are ResNet-50.

    Attributes:
        stem_channels: output channels of the 7x7 convolution; several numbers stand for as many 3x3 convolutions, the
            first with the stride (the "deep" stem: ResNet-103, v1c).
        res2_channels: output channels of the first stage; every later stage doubles them.
        bottleneck_channels: channels of the 3x3 convolutions of the first stage; every later stage doubles them.
        blocks: number of blocks of each of the four stages.
        strides: of each stage, in its first block.
        dilations: of the 3x3 convolutions, for each stage one number, or one for each of its blocks.
        caffe: the first networks' arithmetic: the stride of a block sits in its first 1x1 convolution instead of the 3x3
            one, and the pooling of the stem keeps windows that hang over the border (``ceil_mode``).
    """

    stem_channels: int | tuple[int, ...] = 64
    res2_channels: int = 256
    bottleneck_channels: int = 64
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    strides: tuple[int, int, int, int] = (1, 2, 2, 2)
    dilations: tuple[int | tuple[int, ...], ...] = (1, 1, 1, 1)
    caffe: bool = False

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Output channels of res2, res3, res4 and res5."""
        return tuple(self.res2_channels * 2**stage for stage in range(4))

    def block_dilations(self, stage: int) -> tuple[int, ...]:
        """Dilation of every block of a stage (0 .. 3)."""
        given = self.dilations[stage]
        return (given,) * self.blocks[stage] if isinstance(given, int) else tuple(given)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around a shortcut; ``strides`` are those of the first two."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bottleneck_channels: int,
        strides: tuple[int, int],
        dilation: int,
    ) -> None:
        super().__init__()
        stride = strides[0] * strides[1]
        first = stride != 1 or in_channels != out_channels
        self.shortcut = ConvNorm(in_channels, out_channels, 1, stride) if first else None
        self.conv1 = ConvNorm(in_channels, bottleneck_channels, 1, strides[0])
        self.conv2 = ConvNorm(bottleneck_channels, bottleneck_channels, 3, strides[1], dilation=dilation)
        self.conv3 = ConvNorm(bottleneck_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / stride, W / stride)."""
        residual = self.conv3(F.relu_(self.conv2(F.relu_(self.conv1(x)))))
        identity = x if self.shortcut is None else self.shortcut(x)
        return F.relu_(residual + identity)


class ResNet(nn.Module):
    """The four stages of a ResNet.

    Source: CUPS specification 2.2 and Co-Training specification 3; the layout of detectron2's
    ``build_resnet_backbone`` and ``build_resnet_deeplab_backbone``, and of DINO's ResNet-50.
    """

    def __init__(self, config: ResNetConfig | None = None) -> None:
        super().__init__()
        config = config or ResNetConfig()
        stem = config.stem_channels
        self.ceil_pooling = config.caffe
        self.stem = nn.ModuleDict()
        if isinstance(stem, int):
            self.stem["conv1"] = ConvNorm(3, stem, 7, 2)
        else:
            for number, (before, after) in enumerate(pairwise((3, *stem)), start=1):
                self.stem[f"conv{number}"] = ConvNorm(before, after, 3, 2 if number == 1 else 1)
        in_channels = stem if isinstance(stem, int) else stem[-1]
        for stage, out_channels in enumerate(config.out_channels):
            bottleneck = config.bottleneck_channels * 2**stage
            blocks = nn.Sequential()
            for block, dilation in enumerate(config.block_dilations(stage)):
                stride = config.strides[stage] if block == 0 else 1
                strides = (stride, 1) if config.caffe else (1, stride)
                blocks.append(Bottleneck(in_channels, out_channels, bottleneck, strides, dilation))
                in_channels = out_channels
            self.add_module(f"res{stage + 2}", blocks)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map normalised images (B, 3, H, W) to ``res2`` .. ``res5`` at strides 4, 8, 16, 32 (or as configured)."""
        x = images
        for conv in self.stem.values():
            x = F.relu_(conv(x))
        x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1, ceil_mode=self.ceil_pooling)
        features = {}
        for name in ("res2", "res3", "res4", "res5"):
            x = cast(nn.Module, getattr(self, name))(x)
            features[name] = x
        return features
