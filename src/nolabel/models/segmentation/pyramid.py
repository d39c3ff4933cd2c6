"""A light decoder on any pyramid of features: small networks that train on a laptop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import timm
import torch.nn.functional as F
from torch import Tensor, nn

from nolabel.errors import ConfigError
from nolabel.models.backbones import ConvNorm, ResNet, ResNetConfig
from nolabel.models.segmentation.contract import Segmentor
from nolabel.models.segmentation.normalise import normalise_imagenet

__all__ = ["PyramidSegmentor", "timm_pyramid", "tiny_pyramid"]

TINY_RESNET = ResNetConfig(16, 32, 8, (1, 2, 2, 2))


class ResNetMaps(nn.Module):
    """The four stages of our ResNet as a list of maps at strides 4, 8, 16 and 32."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.resnet = ResNet(config)
        self.channels = config.out_channels

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps, finest first."""
        return list(self.resnet(images).values())


class PyramidSegmentor(Segmentor):
    """Adds up a backbone's maps from coarse to fine, mixes them with one 3x3 convolution and classifies every cell.

    The coarsest map also gives the mean of the whole image, so that every cell knows the scene.

    Args:
        backbone: maps normalised images to a list of maps, finest first, at growing strides.
        channels: of the backbone's maps.
        num_logits: channels of the result.
        width: channels of the decoder.
        stride: pixels per cell of the finest map.
        divisor: images are padded at the right and bottom to multiples of this, the stride of the coarsest map.
        dropout: part of the mixed channels dropped in training.
    """

    def __init__(
        self,
        backbone: nn.Module,
        channels: Sequence[int],
        num_logits: int,
        *,
        width: int = 64,
        stride: int = 4,
        divisor: int = 32,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.num_logits, self.stride, self.divisor = num_logits, stride, divisor
        self.backbone = backbone
        self.lateral = nn.ModuleList(ConvNorm(count, width) for count in channels)
        self.scene = nn.Conv2d(channels[-1], width, 1)
        self.mix = ConvNorm(width, width, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(width, num_logits, 1)
        nn.init.normal_(self.classifier.weight, std=0.001)
        nn.init.zeros_(cast(Tensor, self.classifier.bias))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [0, 1] to logits (B, num_logits, ceil(H / stride), ceil(W / stride))."""
        height, width = images.shape[-2:]
        padding = (0, -width % self.divisor, 0, -height % self.divisor)
        maps: list[Tensor] = self.backbone(F.pad(normalise_imagenet(images), padding))
        merged = self.scene(maps[-1].mean((-2, -1), keepdim=True))
        for lateral, features in zip(reversed(self.lateral), reversed(maps), strict=True):
            coarse = F.interpolate(merged, size=features.shape[-2:], mode="bilinear", align_corners=False)
            merged = F.relu(lateral(features) + coarse)
        rows, columns = -(-height // self.stride), -(-width // self.stride)
        merged = merged[..., :rows, :columns]
        return cast(Tensor, self.classifier(self.dropout(F.relu(self.mix(merged)))))


def tiny_pyramid(num_logits: int, **options: Any) -> PyramidSegmentor:
    """Return a network of about 0.4 million parameters, from random weights."""
    backbone = ResNetMaps(TINY_RESNET)
    return PyramidSegmentor(backbone, backbone.channels, num_logits, **options)


def timm_pyramid(architecture: str, num_logits: int, *, finest: int = 4, **options: Any) -> PyramidSegmentor:
    """Return a network on a convolutional backbone of timm (``resnet18``, ``mobilenetv3_small_100``, ``convnext_atto``).

    Args:
        architecture: timm model name; nothing is downloaded.
        num_logits: channels of the result.
        finest: maps of smaller strides are not used.
        options: of :class:`PyramidSegmentor`.

    Raises:
        ConfigError: timm has no such model, or it has no pyramid of maps.
    """
    if not timm.is_model(architecture):
        near = timm.list_models(f"*{architecture.split('.')[0][:8]}*")[:5]
        raise ConfigError(
            f"there is no segmentation network {architecture!r}, nor a timm model of that name",
            hint=f"near names: {', '.join(near)}" if near else "`timm.list_models()` lists them",
        )
    try:
        whole: Any = timm.create_model(architecture, pretrained=False, features_only=True)
    except (AttributeError, RuntimeError, TypeError) as error:
        raise ConfigError(
            f"timm's {architecture} gives no pyramid of features: {error}",
            hint="take a convolutional or hierarchical backbone such as resnet18 or convnext_atto",
        ) from None
    strides = whole.feature_info.reduction()
    levels = tuple(level for level, stride in enumerate(strides) if stride >= finest)
    if len({strides[level] for level in levels}) != len(levels) or not levels:
        raise ConfigError(
            f"timm's {architecture} has maps at strides {strides}, which is no pyramid",
            hint="take a convolutional or hierarchical backbone such as resnet18 or convnext_atto",
        )
    backbone: Any = timm.create_model(architecture, pretrained=False, features_only=True, out_indices=levels)
    sizes = {"stride": int(strides[levels[0]]), "divisor": int(strides[-1])}
    return PyramidSegmentor(backbone, backbone.feature_info.channels(), num_logits, **sizes, **options)
