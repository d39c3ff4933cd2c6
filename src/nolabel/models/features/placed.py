"""Features of any network with the row of the picture beside them.

In pictures from a car the row alone tells much (sky, walls, road). Networks that learn from crops cannot know it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.models.features.extractor import FeatureExtractor, SceneGeometry

__all__ = ["PlacedFeatures"]


class PlacedFeatures(FeatureExtractor):
    """Unit vectors of a network, and the row as a point on a half circle: all results have one length.

    Only for whole pictures: in an enlarged window a row means something else, so windows are not used.

    Args:
        extractor: the network.
        place: radius of the half circle: how much the row counts beside the features.
    """

    uses_windows = False

    def __init__(self, extractor: FeatureExtractor, place: float) -> None:
        super().__init__()
        self.extractor, self.place = extractor, place
        self.stride, self.channels = extractor.stride, extractor.channels + 2

    def forward(self, images: Tensor, geometry: SceneGeometry | None = None) -> Tensor:
        """Return the features (B, channels, h, w) of (B, 3, H, W) images in [0, 1]; the row is in the last two."""
        cells = F.normalize(self.extractor(images, geometry), dim=1)
        batch, _, rows, columns = cells.shape
        angle = torch.linspace(-0.5, 0.5, rows, device=cells.device, dtype=cells.dtype) * math.pi
        row = self.place * torch.stack([angle.sin(), angle.cos()])
        return torch.cat([cells, row[None, :, :, None].expand(batch, 2, rows, columns)], dim=1)
