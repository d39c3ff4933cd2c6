"""Networks that label target images for the one that learns.

Source: UDASS specification, image 2.3.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from nolabel.engine.ema import ramped_rate, update_average
from nolabel.models.segmentation import Segmentor

__all__ = ["AverageTeacher", "Teacher"]


class Teacher(Protocol):
    """What a training asks of its teacher."""

    def update(self, step: int) -> None:
        """Learn from the student; called at the start of a step, before the student is used."""

    def scores(self, images: Tensor) -> Tensor:
        """Return logits (B, C, H, W) of images (B, 3, H, W) in [0, 1], without gradients."""


class AverageTeacher:
    """The running average of a student.

    It stays in training mode, without dropout: its batch normalisations take the statistics of the target images that
    it labels, for the average is one of parameters only.

    Args:
        network: the teacher's network, of the student's structure; it learns nothing by itself any more.
        student: the network that learns.
        rate: how much of the teacher stays in a step, at most; 0 makes it a copy in every step.
    """

    def __init__(self, network: Segmentor, student: Segmentor, rate: float) -> None:
        self.network, self.student, self.rate = network.requires_grad_(False), student, rate

    def update(self, step: int) -> None:
        """Move towards the student; in step 0 become its copy."""
        update_average(self.network, self.student, ramped_rate(step, self.rate))

    @torch.no_grad()
    def scores(self, images: Tensor) -> Tensor:
        """Return logits (B, C, H, W) in float32."""
        self.network.train()
        for module in self.network.modules():
            if isinstance(module, nn.Dropout | nn.Dropout2d | StochasticDepth):
                module.eval()
        return self.network.full_size_logits(images).float()
