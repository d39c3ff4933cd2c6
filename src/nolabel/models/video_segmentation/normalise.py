"""The input of the networks that descend from caffe's: blue first, steps of 1/255, mean subtracted, not divided."""

from __future__ import annotations

from torch import Tensor

__all__ = ["add_mean", "subtract_mean"]

MEAN = (104.00698793, 116.66876762, 122.67891434)  # blue, green, red


def subtract_mean(images: Tensor) -> Tensor:
    """Map images (B, 3, H, W) RGB in [0, 1] to BGR values around 0, from about -123 to 151."""
    return images.flip(-3) * 255 - images.new_tensor(MEAN)[:, None, None]


def add_mean(values: Tensor) -> Tensor:
    """Return the images (B, 3, H, W) that :func:`subtract_mean` maps to these values."""
    return ((values + values.new_tensor(MEAN)[:, None, None]) / 255).flip(-3)
