"""Resizing to the byte as Pillow does, which is what the original systems trained and tested with."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nolabel.errors import DataError

__all__ = ["resize_image", "resize_labels", "to_bytes"]

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def to_bytes(image: Tensor) -> Tensor:
    """Return an image (..., H, W) with values in [0, 1] as uint8, rounded: what was read from a file comes back."""
    return (image * 255).round().clamp(0, 255).to(torch.uint8)


def resize_image(
    image: Tensor, size: tuple[int, int], filter: Literal["bilinear", "bicubic"] = "bilinear"
) -> Tensor:
    """Resize an image (3, H, W) uint8 to (height, width); when shrinking, the filter is as wide as the new pixels."""
    if image.dtype != torch.uint8:
        raise DataError(f"an image of bytes is wanted, not {image.dtype}")
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    picture = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
    resized = picture.resize((size[1], size[0]), _FILTERS[filter])
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


def resize_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a label map (..., H, W) of any type to (height, width): every pixel takes the nearest label."""
    rows, columns = (
        _nearest(old, new).to(labels.device) for old, new in zip(labels.shape[-2:], size, strict=True)
    )
    return labels[..., rows[:, None], columns]


def _nearest(old: int, new: int) -> Tensor:
    """Which of ``old`` pixels each of ``new`` takes; asked from Pillow, whose rounding of ties is its own."""
    ramp = Image.fromarray(np.arange(old, dtype=np.int32)[None])
    return torch.from_numpy(np.array(ramp.resize((new, 1), Image.Resampling.NEAREST))[0]).long()
