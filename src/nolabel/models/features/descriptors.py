"""Dense descriptors without any training: colour, contrast, place and, with stereo, geometry.

They stand in where no learned features are at hand, so that the whole pipeline runs without a download. Each
group of channels is scaled so that a typical difference between two kinds of surface has length about one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from nolabel.models.features.extractor import FeatureExtractor, SceneGeometry

COLOUR_CHANNELS, CONTRAST_CHANNELS, GEOMETRY_CHANNELS = 5, 3, 6
ROW_WEIGHT = 1.4  # rows run from -1 (top) to 1 (bottom)


class DenseDescriptors(FeatureExtractor):
    """Colour, local contrast, position and stereo geometry on a grid of 4-pixel cells.

    The weights were chosen on streets of the procedural world, where the clusters of these channels follow the
    kinds of surface far better than those of colours do: hue counts more than lightness, lightness counts
    relative to the image, and heights count as steps (ground, knee, storey) rather than as metres.

    Args:
        colour: weight of the mean colours, absolute and relative to the image's median.
        contrast: weight of the deviations of the colours in the surroundings.
        place: weight of the image row.
        geometry: weight of height, depth and orientation of the surface; without stereo these channels are zero.
    """

    uses_windows = False
    uses_geometry = True

    def __init__(
        self, colour: float = 1.0, contrast: float = 1.0, place: float = 1.0, geometry: float = 1.0
    ) -> None:
        super().__init__()
        self.weights = {"colour": colour, "contrast": contrast, "place": place, "geometry": geometry}
        self.stride = 4
        self.channels = COLOUR_CHANNELS + CONTRAST_CHANNELS + 1 + GEOMETRY_CHANNELS

    def forward(self, images: Tensor, geometry: SceneGeometry | None = None) -> Tensor:
        """Return the descriptors (B, channels, ceil(H / 4), ceil(W / 4)) of (B, 3, H, W) images in [0, 1]."""
        lab = lab_colours(images) / 50.0  # lightness 0..2, opponent colours about -1..1
        cell = _cell_means(lab, self.stride)
        groups = [
            self.weights["colour"] * _colours(cell),
            self.weights["contrast"] * _contrasts(lab, cell, self.stride),
        ]
        batch, _, rows, columns = cell.shape
        row = torch.linspace(-1, 1, rows, device=images.device)[None, None, :, None]
        groups.append(self.weights["place"] * ROW_WEIGHT * row.expand(batch, 1, rows, columns))
        if geometry is None:
            groups.append(images.new_zeros(batch, GEOMETRY_CHANNELS, rows, columns))
        else:
            groups.append(self.weights["geometry"] * _geometry_channels(geometry, (rows, columns)))
        return torch.cat(groups, dim=1)


def lab_colours(images: Tensor) -> Tensor:
    """Convert sRGB (B, 3, H, W) in [0, 1] to CIE L*a*b* (D65): lightness 0..100, a and b about -100..100."""
    linear = torch.where(images <= 0.04045, images / 12.92, ((images + 0.055) / 1.055).clamp(min=0).pow(2.4))
    to_xyz = images.new_tensor(
        [
            [0.4124 / 0.9505, 0.3576 / 0.9505, 0.1805 / 0.9505],
            [0.2126, 0.7152, 0.0722],
            [0.0193 / 1.089, 0.1192 / 1.089, 0.9505 / 1.089],
        ]
    )
    xyz = torch.einsum("ij,bjhw->bihw", to_xyz, linear)
    f = torch.where(xyz > 0.008856, xyz.clamp(min=1e-8).pow(1 / 3), 7.787 * xyz + 4 / 29)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def _cell_means(maps: Tensor, stride: int) -> Tensor:
    return F.avg_pool2d(maps, stride, ceil_mode=True, count_include_pad=False)


def _colours(cell: Tensor) -> Tensor:
    """Opponent colours, and all three relative to the image's median, of cell means (B, 3, h, w): (B, 5, h, w)."""
    median = cell.flatten(2).median(dim=-1).values[..., None, None]
    relative = cell - median
    return torch.cat([4.8 * cell[:, 1:], 2.4 * relative[:, :1], 1.9 * relative[:, 1:]], dim=1)


def _contrasts(lab: Tensor, cell: Tensor, stride: int) -> Tensor:
    """Deviation of the three colours in the surroundings of each cell: (B, 3, h, w)."""
    surround = _blur(cell, 2.0)
    variance = _blur(_cell_means(lab.square(), stride), 2.0) - surround.square()
    return 1.8 * variance.clamp(min=1e-6).sqrt()


def _geometry_channels(geometry: SceneGeometry, size: tuple[int, int]) -> Tensor:
    """Soft steps of height, log depth and orientation: (B, 6, h, w)."""
    height, depth, upward, _ = F.interpolate(
        geometry.stacked(), size=size, mode="bilinear", align_corners=False
    ).chunk(4, dim=1)
    upward = _blur(upward.clamp(0, 1), 1.5)  # negative: noise on upright surfaces
    ground = torch.sigmoid((0.12 - height) / 0.05) * torch.sigmoid((upward - 0.5) / 0.15)
    return torch.cat(
        [
            3.0 * ground,
            2.4 * torch.sigmoid((height - 0.4) / 0.1),
            0.9 * torch.tanh((height - 1.0) / 0.8),
            2.0 * torch.sigmoid((height - 3.5) / 0.5),
            0.4 * (depth.clamp(1, 300) / 15).log(),
            upward,
        ],
        dim=1,
    )


def _blur(maps: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (B, C, H, W) with replicated borders."""
    radius = max(1, math.ceil(2.5 * sigma))
    x = torch.arange(-radius, radius + 1, device=maps.device, dtype=maps.dtype)
    kernel = torch.exp(-0.5 * (x / sigma).square())
    kernel = kernel / kernel.sum()
    channels = maps.shape[1]
    padded = F.pad(maps, [radius] * 4, mode="replicate")
    rows = F.conv2d(padded, kernel.expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(rows, kernel[:, None].expand(channels, 1, -1, 1), groups=channels)
