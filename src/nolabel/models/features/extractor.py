"""What every dense feature extractor offers, whatever network or filter bank is behind it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class SceneGeometry:
    """What stereo tells about each pixel of a batch, for extractors that can use it.

    Attributes:
        height: (B, 1, H, W) metres above the estimated ground plane.
        depth: (B, 1, H, W) metres; where the disparity is unknown, a smooth guess from the surroundings.
        upwardness: (B, 1, H, W) in [-1, 1], 1 where the surface faces up (road), 0 where it is upright (wall).
        confidence: (B, 1, H, W) in [0, 1]: the part of the neighbourhood with a known disparity.
    """

    height: Tensor
    depth: Tensor
    upwardness: Tensor
    confidence: Tensor

    def stacked(self) -> Tensor:
        """All channels as (B, 4, H, W) in the order of the attributes."""
        return torch.cat([self.height, self.depth, self.upwardness, self.confidence], dim=1)


class FeatureExtractor(nn.Module):
    """Base of the dense extractors: images in, one feature vector for each cell of ``stride`` pixels out.

    Attributes:
        stride: pixels of the image per feature cell, both axes.
        channels: length of the feature vectors.
        uses_windows: whether features of enlarged windows see more than those of the whole image (networks with
            coarse cells); dense filters do not gain by it.
        uses_geometry: whether ``forward`` makes use of :class:`SceneGeometry`.
    """

    stride: int
    channels: int
    uses_windows: bool = True
    uses_geometry: bool = False

    def forward(self, images: Tensor, geometry: SceneGeometry | None = None) -> Tensor:
        """Return the features of RGB images.

        Args:
            images: (B, 3, H, W) float in [0, 1], any size.
            geometry: stereo geometry on the same grid, or None.

        Returns:
            (B, channels, h, w) with h and w about H / stride and W / stride; cells tile the image evenly.
        """
        raise NotImplementedError

    def image_and_cells(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return one vector (B, channels) of each image, and its features as :meth:`forward` gives them.

        The vector is the mean of the cells, unless a network has something better.
        """
        cells = self(images)
        return cells.mean((2, 3)), cells


class HalfPrecision(FeatureExtractor):
    """Runs a network in bfloat16: about twice as fast where the processor knows it, features good to two digits.

    Args:
        extractor: the network.
    """

    def __init__(self, extractor: FeatureExtractor) -> None:
        super().__init__()
        self.extractor = extractor
        self.stride, self.channels = extractor.stride, extractor.channels
        self.uses_windows, self.uses_geometry = extractor.uses_windows, extractor.uses_geometry

    def forward(self, images: Tensor, geometry: SceneGeometry | None = None) -> Tensor:
        """Return the features in single precision."""
        with torch.autocast(images.device.type, torch.bfloat16):
            return self.extractor(images, geometry).float()


class ImageNetNormalised(nn.Module):
    """Subtracts the ImageNet mean and divides by the standard deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise (B, 3, H, W) images in [0, 1]."""
        return (images - self.mean) / self.std


def resize_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Resize (B, C, H, W) bilinearly to the nearest size whose sides are multiples of ``multiple``."""
    height, width = images.shape[-2:]
    size = tuple(max(1, round(side / multiple)) * multiple for side in (height, width))
    if size == (height, width):
        return images
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)
