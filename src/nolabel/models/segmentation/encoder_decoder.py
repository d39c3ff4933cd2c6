"""A backbone and a head: networks that look at an image once, such as DAFormer and DeepLab-V2."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from nolabel.models.segmentation.boxes import Box
from nolabel.models.segmentation.heads import DAFormerHead, DeepLabV2Head
from nolabel.models.segmentation.normalise import normalise_imagenet
from nolabel.models.segmentation.outputs import FeatureSegmentor, TrainingOutputs

__all__ = ["EncoderDecoder"]


class EncoderDecoder(FeatureSegmentor):
    """Backbone and head.

    Args:
        backbone: maps normalised images (B, 3, H, W) to four maps, finest first.
        head: maps these to logits.
    """

    def __init__(self, backbone: nn.Module, head: DAFormerHead | DeepLabV2Head) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.num_logits, self.stride = head.num_logits, head.stride

    def features(self, images: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) in [0, 1] to the four maps of the backbone, finest first."""
        return cast("list[Tensor]", self.backbone(normalise_imagenet(images)))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [0, 1] to logits (B, num_logits, ceil(H / stride), ceil(W / stride))."""
        return cast(Tensor, self.head(self.features(images)))

    def draw_box(self, size: tuple[int, int], generator: torch.Generator | None = None) -> Box | None:
        """Return None and draw nothing: this network has no detail window."""
        return None

    def training_outputs(self, images: Tensor, box: Box | None = None) -> TrainingOutputs:
        """Return the logits as ``fused`` beside the features they came from."""
        features = self.features(images)
        return TrainingOutputs({"fused": self.head(features).float()}, features)
