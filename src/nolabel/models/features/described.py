"""Learned features with the descriptors beside them.

A network that learns from crops can know neither where in the picture they were nor how far away and how high things are;
descriptors tell exactly that, and fine colours. The learned part tells surfaces of one colour apart.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.models.features.descriptors import DenseDescriptors
from nolabel.models.features.extractor import FeatureExtractor, SceneGeometry

__all__ = ["DescribedFeatures"]


class DescribedFeatures(FeatureExtractor):
    """Descriptors, then the unit vectors of a network, on the grid of the descriptors: distances tell what is alike.

    Args:
        extractor: the network.
        weight: length of its vectors; typical descriptors of two kinds of surface are about one apart in each group.
        place: weight of the row among the descriptors.
    """

    uses_windows = False
    uses_geometry = True

    def __init__(self, extractor: FeatureExtractor, weight: float = 1.0, place: float = 1.0) -> None:
        super().__init__()
        self.extractor, self.weight = extractor, weight
        self.descriptors = DenseDescriptors(place=place)
        self.stride = self.descriptors.stride
        self.channels = self.descriptors.channels + extractor.channels

    def forward(self, images: Tensor, geometry: SceneGeometry | None = None) -> Tensor:
        """Return the features (B, channels, ceil(H / 4), ceil(W / 4)) of (B, 3, H, W) images in [0, 1]."""
        described = self.descriptors(images, geometry)
        learned = self.weight * F.normalize(self.extractor(images), dim=1)
        size = described.shape[-2:]
        enlarged = F.interpolate(learned, size=size, mode="bilinear", align_corners=False)
        return torch.cat([described, enlarged.to(described.dtype)], dim=1)
