"""The small networks that look at pooled boxes: features, class and box, mask."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["BoxHead", "BoxPredictor", "MaskHead"]


class BoxHead(nn.Module):
    """Two fully connected layers on pooled features."""

    def __init__(self, in_features: int, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_features, channels)
        self.fc2 = nn.Linear(channels, channels)
        for layer in (self.fc1, self.fc2):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map (R, C, size, size) to (R, channels)."""
        return F.relu_(self.fc2(F.relu_(self.fc1(pooled.flatten(1)))))


class BoxPredictor(nn.Module):
    """Class logits (background last) and one class-agnostic box delta."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(channels, num_classes + 1)
        self.bbox_pred = nn.Linear(channels, 4)
        nn.init.normal_(self.cls_score.weight, std=0.01)
        nn.init.normal_(self.bbox_pred.weight, std=0.001)
        nn.init.zeros_(self.cls_score.bias)
        nn.init.zeros_(self.bbox_pred.bias)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Map (R, channels) to float32 logits (R, classes + 1) and deltas (R, 4)."""
        return self.cls_score(hidden).float(), self.bbox_pred(hidden).float()


class MaskHead(nn.Module):
    """Four convolutions, one upsampling, and a mask of logits for every class (or one for all).

    Args:
        in_channels: channels of the pooled features.
        channels: channels of the convolutions.
        num_masks: masks of a box: the number of classes, or 1 for class-agnostic masks.
    """

    num_convs = 4

    def __init__(self, in_channels: int, channels: int, num_masks: int) -> None:
        super().__init__()
        for index in range(self.num_convs):
            conv = nn.Conv2d(in_channels if index == 0 else channels, channels, 3, padding=1)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(cast(Tensor, conv.bias))
            self.add_module(f"mask_fcn{index + 1}", conv)
        self.deconv = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.predictor = nn.Conv2d(channels, num_masks, 1)
        nn.init.kaiming_normal_(self.deconv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(cast(Tensor, self.deconv.bias))
        nn.init.normal_(self.predictor.weight, std=0.001)
        nn.init.zeros_(cast(Tensor, self.predictor.bias))

    def forward(self, pooled: Tensor, classes: Tensor) -> Tensor:
        """Map pooled features (R, C, s, s) to the float32 mask logits (R, 2 s, 2 s) of the boxes' ``classes`` (R,)."""
        x = pooled
        for index in range(self.num_convs):
            x = F.relu_(getattr(self, f"mask_fcn{index + 1}")(x))
        x = F.relu_(self.deconv(x))
        if self.predictor.out_channels == 1:
            return self.predictor(x)[:, 0].float()
        logits = self.predictor(x)
        return logits[torch.arange(len(classes), device=classes.device), classes].float()
