"""A small convolutional network that says of every region which domain its prediction comes from (AdvSeg).

Source: Tsai et al., Learning to Adapt Structured Output Space, CVPR 2018; UDASS image specification, 2.12.
"""

from __future__ import annotations

import itertools
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["DomainDiscriminator"]


class DomainDiscriminator(nn.Module):
    """Five 4x4 convolutions with stride 2.

    Args:
        num_classes: channels of the predictions.
        width: channels after the first convolution; the next three double them.
    """

    def __init__(self, num_classes: int, width: int = 64) -> None:
        super().__init__()
        channels = (num_classes, width, 2 * width, 4 * width, 8 * width)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 4, 2, 1) for before, after in itertools.pairwise(channels)
        )
        self.classifier = nn.Conv2d(channels[-1], 1, 4, 2, 1)

    def forward(self, probabilities: Tensor) -> Tensor:
        """Map class probabilities (B, num_classes, H, W) to scores (B, 1, H / 32, W / 32), about 0 source, 1 target."""
        maps = probabilities
        for convolution in self.convolutions:
            maps = F.leaky_relu(convolution(maps), 0.2)
        return cast(Tensor, self.classifier(maps))
