"""The statistics of ImageNet, on which backbones are trained."""

from __future__ import annotations

from torch import Tensor

__all__ = ["normalise_imagenet"]

# In steps of 1/255, as detectron2 and mmsegmentation write them.
MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)


def normalise_imagenet(images: Tensor) -> Tensor:
    """Map images (B, 3, H, W) RGB in [0, 1] to values with the mean 0 and the deviation 1 of ImageNet."""
    mean, deviation = images.new_tensor((MEAN, DEVIATION))[..., None, None]
    return (images * 255 - mean) / deviation
