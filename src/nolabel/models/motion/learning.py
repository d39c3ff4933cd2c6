"""RAFT as it learns: pairs of a batch of images, each image encoded once, the flow after every update, gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.optical_flow import RAFT

from nolabel.models.motion.correlation import CorrelationPyramid
from nolabel.models.motion.raft import recurrent_updates, upsampled

__all__ = ["MotionLearner"]


class MotionLearner(nn.Module):
    """A RAFT over pairs of images, for training.

    The pairs of a batch share encodings: the four images of a stereo video sample make eight directed pairs.

    Args:
        network: a torchvision ``RAFT``.
    """

    def __init__(self, network: RAFT) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, first: Tensor, second: Tensor, updates: int) -> list[Tensor]:
        """Return the flow of each pair after each update.

        Args:
            images: (N, 3, H, W) RGB in [0, 1]; sides are multiples of 8 and at least 128.
            first: (P,) positions of the images on whose grid the flow lies.
            second: (P,) positions of those it leads to.
            updates: recurrent updates.

        Returns:
            ``updates`` flows (P, 2, H, W) in pixels, float32.
        """
        images = 2 * images - 1
        features = self.network.feature_encoder(images).float()
        context = self.network.context_encoder(images)[first]
        block = self.network.corr_block
        with torch.autocast(features.device.type, enabled=False):  # positions need more than bfloat16
            pyramid = CorrelationPyramid(features[first], features[second], block.num_levels, block.radius)
        steps = recurrent_updates(self.network, pyramid, context, updates)
        return [upsampled(self.network, flow, hidden).float() for flow, hidden in steps]
