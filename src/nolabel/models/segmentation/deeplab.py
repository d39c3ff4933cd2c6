"""DeepLabV3+: a dilated ResNet, pooling at several rates, and a decoder that adds detail from the first stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nolabel.models.backbones import ConvNorm, ResNet, ResNetConfig
from nolabel.models.segmentation.contract import Segmentor
from nolabel.models.segmentation.normalise import normalise_imagenet

__all__ = ["DeepLabConfig", "DeepLabV3Plus"]

# ResNet-101 with a stem of three 3x3 convolutions; its last stage keeps stride 16 with rates 2 * (1, 2, 4).
RESNET_103 = ResNetConfig((64, 64, 128), 256, 64, (3, 4, 23, 3), (1, 2, 2, 1), (1, 1, 1, (2, 4, 8)))


@dataclass(frozen=True)
class DeepLabConfig:
    """Sizes of a DeepLabV3+; the defaults are the network of the released Co-Training checkpoints.

    Source: Co-Training specification, section 3.

    Attributes:
        num_logits: channels of the result: the classes, and one more where void has a logit.
        resnet: widths and depths of the backbone.
        pyramid_channels: channels of every branch of the pyramid pooling, and of its result.
        pyramid_rates: dilations of its three 3x3 branches.
        low_level_channels: channels to which the first stage is reduced.
        decoder_channels: channels of the two decoder convolutions.
        pooling_window: (rows, columns), in cells of stride 16, that the pooling branch averages over: the training crop
            divided by 16. None is the whole image. No matter of the weights, so any checkpoint takes any window.
        dropout: part of the pooled features dropped in training.
    """

    num_logits: int = 20
    resnet: ResNetConfig = field(default_factory=lambda: RESNET_103)
    pyramid_channels: int = 256
    pyramid_rates: tuple[int, ...] = (6, 12, 18)
    low_level_channels: int = 48
    decoder_channels: int = 256
    pooling_window: tuple[int, int] | None = (32, 64)
    dropout: float = 0.1

    @classmethod
    def tiny(cls, num_logits: int = 20, **changes: Any) -> Self:
        """Return a network of about a million parameters for small images and processors without an accelerator."""
        settings: dict[str, Any] = {
            "resnet": ResNetConfig((16, 16, 32), 64, 16, (2, 2, 3, 2), (1, 2, 2, 1), (1, 1, 1, 2)),
            "pyramid_channels": 64,
            "pyramid_rates": (3, 6, 9),
            "low_level_channels": 24,
            "decoder_channels": 64,
            "pooling_window": None,
        }
        return cls(num_logits=num_logits, **(settings | changes))


class PyramidPooling(nn.Module):
    """Atrous spatial pyramid pooling: 1x1, three dilated 3x3 and a wide average, joined by a 1x1 convolution."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        rates: tuple[int, ...],
        window: tuple[int, int] | None,
        dropout: float,
    ) -> None:
        super().__init__()
        self.window, self.dropout = window, dropout
        self.branches = nn.ModuleList([ConvNorm(in_channels, channels)])
        self.branches.extend(ConvNorm(in_channels, channels, 3, dilation=rate) for rate in rates)
        # No normalisation here: with a window of the whole image it would see one cell per image.
        self.pooled = nn.Conv2d(in_channels, channels, 1)
        self.project = ConvNorm(channels * (2 + len(rates)), channels)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, in, h, w) to (B, channels, h, w)."""
        size = features.shape[-2:]
        maps = [F.relu_(branch(features)) for branch in self.branches]
        average = F.relu_(self.pooled(self._average(features)))
        maps.append(F.interpolate(average, size=size, mode="bilinear", align_corners=False))
        joined = F.relu_(self.project(torch.cat(maps, dim=1)))
        return F.dropout(joined, self.dropout, training=self.training)

    def _average(self, features: Tensor) -> Tensor:
        """Mean over the window around every place it fits; the two axes one after the other cost a tenth."""
        rows, columns = self.window or features.shape[-2:]
        rows, columns = min(rows, features.shape[-2]), min(columns, features.shape[-1])
        return F.avg_pool2d(F.avg_pool2d(features, (rows, 1), stride=1), (1, columns), stride=1)


class DeepLabV3Plus(Segmentor):
    """Semantic segmentation with logits at stride 4.

    Source: Co-Training specification, section 3 (detectron2's DeepLab project).
    """

    stride = 4

    def __init__(self, config: DeepLabConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DeepLabConfig()
        self.num_logits = config.num_logits
        self.backbone = ResNet(config.resnet)
        first, *_, last = config.resnet.out_channels
        self.aspp = PyramidPooling(
            last, config.pyramid_channels, config.pyramid_rates, config.pooling_window, config.dropout
        )
        self.low_level = ConvNorm(first, config.low_level_channels)
        joined = config.low_level_channels + config.pyramid_channels
        self.fuse = nn.Sequential(
            ConvNorm(joined, config.decoder_channels, 3),
            nn.ReLU(),
            ConvNorm(config.decoder_channels, config.decoder_channels, 3),
            nn.ReLU(),
        )
        self.classifier = nn.Conv2d(config.decoder_channels, config.num_logits, 1)
        self._initialise()

    def _initialise(self) -> None:
        for head in (self.aspp, self.low_level, self.fuse):
            for module in head.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_uniform_(module.weight, a=1)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)
        nn.init.normal_(self.classifier.weight, std=0.001)
        nn.init.zeros_(cast(Tensor, self.classifier.bias))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [0, 1] to logits (B, num_logits, ceil(H / 4), ceil(W / 4))."""
        stages = self.backbone(normalise_imagenet(images))
        pooled = self.aspp(stages["res5"])
        detail = F.relu_(self.low_level(stages["res2"]))
        pooled = F.interpolate(pooled, size=detail.shape[-2:], mode="bilinear", align_corners=False)
        fused: Tensor = self.fuse(torch.cat([detail, pooled], dim=1))
        return cast(Tensor, self.classifier(fused))
