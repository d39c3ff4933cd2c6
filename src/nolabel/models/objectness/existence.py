"""Networks that tell whether a crop holds an object (unMORE specification, 4.2)."""

from __future__ import annotations

from typing import Any

import timm
from torch import Tensor, nn

from nolabel.errors import ConfigError
from nolabel.models.backbones import ResNet, ResNetConfig
from nolabel.models.objectness.contract import ExistenceModule
from nolabel.models.segmentation.normalise import normalise_imagenet
from nolabel.models.segmentation.pyramid import TINY_RESNET

__all__ = ["ResNetExistence", "SmallExistence", "TinyExistence"]

IMAGENET_CLASSES = 1000


class ResNetExistence(ExistenceModule):
    """The published network: a ResNet-50 with its 1000 outputs, and one linear layer on them.

    Args:
        config: sizes of the ResNet; ResNet-50 by default.
    """

    def __init__(self, config: ResNetConfig | None = None) -> None:
        super().__init__()
        config = config or ResNetConfig()
        self.backbone = ResNet(config)
        self.outputs = nn.Linear(config.out_channels[-1], IMAGENET_CLASSES)
        self.head = nn.Linear(IMAGENET_CLASSES, 1)

    def logits(self, crops: Tensor) -> Tensor:
        """Map crops (N, 3, S, S), RGB in [0, 1], which the network takes as they are, to logits (N,)."""
        pooled = self.backbone(crops)["res5"].mean((-2, -1))
        return self.head(self.outputs(pooled))[:, 0]


class SmallExistence(ExistenceModule):
    """Any image classifier of timm with one output; nothing is downloaded.

    Args:
        architecture: timm model name.

    Raises:
        ConfigError: timm has no such model.
    """

    def __init__(self, architecture: str = "resnet18") -> None:
        super().__init__()
        if not timm.is_model(architecture):
            near = timm.list_models(f"*{architecture.split('.')[0][:8]}*")[:5]
            raise ConfigError(
                f"there is no existence network {architecture!r}, nor a timm model of that name",
                hint=f"near names: {', '.join(near)}" if near else "resnet50 is the published one",
            )
        self.network: Any = timm.create_model(architecture, pretrained=False, num_classes=1)

    def logits(self, crops: Tensor) -> Tensor:
        """Map crops (N, 3, S, S), RGB in [0, 1], normalised here, to logits (N,)."""
        return self.network(normalise_imagenet(crops))[:, 0]


class TinyExistence(ExistenceModule):
    """A ResNet of 0.3 million parameters that trains on a laptop."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ResNet(TINY_RESNET)
        self.head = nn.Linear(TINY_RESNET.out_channels[-1], 1)

    def logits(self, crops: Tensor) -> Tensor:
        """Map crops (N, 3, S, S), RGB in [0, 1], normalised here, to logits (N,)."""
        return self.head(self.backbone(normalise_imagenet(crops))["res5"].amax((-2, -1)))[:, 0]
