"""Dense descriptors without any training: colour, texture, place and, with stereo, geometry.

They stand in where no learned features are at hand, so that the whole pipeline runs without a download. Each
group of channels is scaled so that a typical difference between two kinds of surface has length about one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from nolabel.models.features.extractor import FeatureExtractor, SceneGeometry

ORIENTATIONS = 4
TEXTURE_SCALES = (1.0, 2.5)  # standard deviations of the derivative filters, pixels


class DenseDescriptors(FeatureExtractor):
    """Colour statistics, oriented texture energies, position and stereo geometry on a grid of 4-pixel cells.

    Args:
        colour: weight of the colour means (2 scales) and deviations.
        texture: weight of the oriented gradient energies.
        place: weight of the image row.
        geometry: weight of height, depth and orientation of the surface; they are zero without stereo.
    """

    uses_windows = False
    uses_geometry = True

    def __init__(
        self, colour: float = 1.0, texture: float = 0.7, place: float = 0.7, geometry: float = 1.0
    ) -> None:
        super().__init__()
        self.weights = {"colour": colour, "texture": texture, "place": place, "geometry": geometry}
        self.stride = 4
        self.channels = 9 + len(TEXTURE_SCALES) * (ORIENTATIONS + 1) + 1 + 5

    def forward(self, images: Tensor, geometry: SceneGeometry | None = None) -> Tensor:
        """Return the descriptors (B, channels, ceil(H / 4), ceil(W / 4)) of (B, 3, H, W) images in [0, 1]."""
        lab = lab_colours(images) / 50.0  # lightness 0..2, opponent colours about -1..1
        groups = [
            self.weights["colour"] * _colour_statistics(lab, self.stride),
            self.weights["texture"] * _texture_energies(lab[:, :1], self.stride),
        ]
        batch, _, rows, columns = groups[0].shape
        row = torch.linspace(-1, 1, rows, device=images.device)[None, None, :, None]
        groups.append(self.weights["place"] * row.expand(batch, 1, rows, columns))
        if geometry is None:
            groups.append(images.new_zeros(batch, 5, rows, columns))
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


def _colour_statistics(lab: Tensor, stride: int) -> Tensor:
    """Mean colour of the cell and of a wider surround, and the deviation in the surround: (B, 9, h, w)."""
    cell = F.avg_pool2d(lab, stride, ceil_mode=True, count_include_pad=False)
    square = F.avg_pool2d(lab.square(), stride, ceil_mode=True, count_include_pad=False)
    surround = _blur(cell, 2.0)
    deviation = (_blur(square, 2.0) - surround.square()).clamp(min=1e-6).sqrt()
    return torch.cat([cell, surround, 3 * deviation], dim=1)


def _texture_energies(lightness: Tensor, stride: int) -> Tensor:
    """Logarithms of gradient energies by scale, and their distribution over orientations: (B, S (O + 1), h, w)."""
    angles = torch.arange(ORIENTATIONS, device=lightness.device) * (math.pi / ORIENTATIONS)
    direction = torch.stack([angles.cos(), angles.sin()], dim=1)[:, :, None, None]
    found = []
    for scale in TEXTURE_SCALES:
        smooth = F.pad(_blur(lightness, scale), [1, 1, 1, 1], mode="replicate")
        across = (smooth[..., 1:-1, 2:] - smooth[..., 1:-1, :-2]) / 2
        down = (smooth[..., 2:, 1:-1] - smooth[..., :-2, 1:-1]) / 2
        energy = F.conv2d(torch.cat([across, down], dim=1), direction).square()
        pooled = _blur(F.avg_pool2d(energy, stride, ceil_mode=True, count_include_pad=False), 1.5)
        total = pooled.sum(1, keepdim=True)
        found += [0.25 * (total + 1e-6).log() + 2.0, pooled / (total + 1e-5)]
    return torch.cat(found, dim=1)


def _geometry_channels(geometry: SceneGeometry, size: tuple[int, int]) -> Tensor:
    """Compressed height (fine near the ground, and coarse), log depth, orientation, confidence: (B, 5, h, w)."""
    height, depth, upward, confidence = F.interpolate(
        geometry.stacked(), size=size, mode="bilinear", align_corners=False
    ).chunk(4, dim=1)
    return torch.cat(
        [
            2 * (height / 0.3).tanh(),
            1.5 * torch.asinh(height.clamp(-2, 30) / 1.0),
            0.5 * (depth.clamp(1, 200) / 15).log(),
            2 * upward * confidence,
            confidence,
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
