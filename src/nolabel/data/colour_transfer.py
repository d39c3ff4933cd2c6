"""Giving an image the colours of another domain: by the statistics of CIE LAB, or by the histograms of RGB.

Source: Co-Training specification 2.1 and section 6 (constants: D65, two degrees, as scikit-image has them); spec
``udass_video.md`` 2.3 (histograms).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nolabel.errors import DataError

__all__ = [
    "LabStatistics",
    "collect_statistics",
    "lab_statistics",
    "lab_to_rgb",
    "match_histograms",
    "rgb_to_lab",
    "transfer",
]

XYZ_FROM_RGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
WHITE = (0.95047, 1.0, 1.08883)
LAB_FROM_CURVE = ((0.0, 116.0, 0.0), (500.0, -500.0, 0.0), (0.0, 200.0, -200.0))
LEAST_DEVIATION = 1e-6  # a channel without contrast is moved, not stretched


class LabStatistics(NamedTuple):
    """Mean and population standard deviation of L, a and b of one image or of several: (..., 3) float64."""

    mean: Tensor
    deviation: Tensor

    def __getitem__(self, index: Tensor | slice) -> LabStatistics:  # type: ignore[override]
        """Select images."""
        return LabStatistics(self.mean.__getitem__(index), self.deviation.__getitem__(index))


def rgb_to_lab(images: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """Map RGB (..., 3, H, W), uint8 or floats in [0, 1], to L (0 .. 100), a and b of ``dtype``."""
    if images.dtype == torch.uint8:
        linear = _linear_of_byte(dtype, images.device).index_select(0, images.flatten().int())
        linear = linear.view(images.shape)
    else:
        linear = _linear(images.to(dtype))
    curve = _apply(_rgb_to_white(dtype, linear.device), linear)
    low = curve <= 0.008856
    root = curve.clamp(min=0.008856).pow_(1 / 3)
    curve = torch.where(low, curve * 7.787 + 16 / 116, root)
    lab = _apply(torch.tensor(LAB_FROM_CURVE, dtype=dtype, device=linear.device), curve)
    lab.select(-3, 0).sub_(16)
    return lab


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Map L, a and b (..., 3, H, W) to RGB in [0, 1], clipped to what RGB can show."""
    factors = torch.tensor(LAB_FROM_CURVE, dtype=torch.float64).inverse().to(lab)
    offset = lab.new_tensor([16.0, 0.0, 0.0])[:, None, None]
    curve = _apply(factors, lab + offset)
    curve.select(-3, 2).clamp_(min=0)
    white = torch.where(curve > 0.2068966, curve * curve * curve, (curve - 16 / 116) / 7.787)
    linear = _apply(_rgb_to_white(torch.float64, lab.device).inverse().to(lab), white).clamp_(0, 1)
    encoded = linear.clamp(min=0.0031308).pow_(1 / 2.4).mul_(1.055).sub_(0.055)
    return torch.where(linear > 0.0031308, encoded, linear * 12.92)


def lab_statistics(images: Tensor) -> LabStatistics:
    """Return the statistics of images (..., 3, H, W), uint8 or floats in [0, 1], over all their pixels."""
    return _statistics(rgb_to_lab(images))


def collect_statistics(images: Iterable[Tensor]) -> LabStatistics:
    """Return the statistics of images (3, H, W) of any sizes, stacked: six numbers an image, to be kept.

    Raises:
        DataError: there are no images.
    """
    parts = [lab_statistics(image) for image in images]
    if not parts:
        raise DataError("colour statistics need at least one image")
    return LabStatistics(torch.stack([p.mean for p in parts]), torch.stack([p.deviation for p in parts]))


def transfer(images: Tensor, target: LabStatistics) -> Tensor:
    """Give images the LAB means and deviations of target images.

    Args:
        images: (..., 3, H, W) RGB, uint8 or floats in [0, 1].
        target: (..., 3) statistics, one for each image.

    Returns:
        Images of the type given (floats: float32); bytes are rounded.
    """
    # Single precision is enough here: a byte is five orders of magnitude coarser.
    lab = rgb_to_lab(images, torch.float32)
    source = _statistics(lab)
    spread = target.deviation.to(lab.device) / source.deviation.clamp(min=LEAST_DEVIATION)
    spread = torch.where(source.deviation > LEAST_DEVIATION, spread, 1.0)[..., None, None]
    shift = target.mean.to(lab.device)[..., None, None] - source.mean[..., None, None] * spread
    rgb = lab_to_rgb(lab.mul_(spread.float()).add_(shift.float()))
    return rgb.mul_(255).round_().to(torch.uint8) if images.dtype == torch.uint8 else rgb


def match_histograms(image: Tensor, reference: Tensor) -> Tensor:
    """Give every channel of an image the cumulative histogram of a reference's.

    A value goes to where the reference has as large a share of smaller pixels, between two of the reference's values
    linearly.

    Args:
        image: (3, H, W) RGB, uint8 or floats in [0, 1] (which are taken as bytes).
        reference: (3, h, w) likewise.

    Returns:
        (3, H, W) float32 in [0, 1], not rounded to bytes.
    """
    values, wanted = (
        (part * 255).round() if part.is_floating_point() else part for part in (image, reference)
    )
    matched = [_matched(one.long(), other.long()) for one, other in zip(values, wanted, strict=True)]
    return torch.stack(matched) / 255


def _matched(values: Tensor, reference: Tensor) -> Tensor:
    """Map the bytes of one channel; the table has 256 entries, so pixels are only counted and looked up."""
    shares = []
    for part in (values, reference):
        counts = torch.bincount(part.flatten(), minlength=256).cpu().numpy()
        shares.append((counts > 0, np.cumsum(counts) / counts.sum()))
    (_, share), (known, wanted) = shares
    table = np.interp(share, wanted[known], np.flatnonzero(known))
    return torch.from_numpy(table).float().to(values.device)[values]


def _statistics(lab: Tensor) -> LabStatistics:
    deviation, mean = torch.std_mean(lab.double(), dim=(-2, -1), correction=0)
    return LabStatistics(mean, deviation)


def _linear(values: Tensor) -> Tensor:
    return torch.where(values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92)


@cache
def _linear_of_byte(dtype: torch.dtype, device: torch.device) -> Tensor:
    return _linear(torch.arange(256, dtype=torch.float64) / 255).to(device, dtype)


@cache
def _rgb_to_white(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Linear RGB to XYZ relative to white."""
    matrix = (
        torch.tensor(XYZ_FROM_RGB, dtype=torch.float64) / torch.tensor(WHITE, dtype=torch.float64)[:, None]
    )
    return matrix.to(device, dtype)


def _apply(matrix: Tensor, channels: Tensor) -> Tensor:
    """Multiply the channels of (..., 3, H, W) with a 3x3 matrix."""
    return (matrix @ channels.flatten(-2)).view(channels.shape)
