"""Masked image consistency (MIC): the masks. Source: UDASS specification, image 2.8."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from nolabel.config import Config

__all__ = ["MaskConfig", "block_mask", "draw_mask_grid", "mask_images"]


class MaskConfig(Config):
    """Which part of a masked image is hidden."""

    block: int = Field(64, ge=1)
    """Side of the hidden squares, in pixels (64 for images of 1024, 32 for 512)."""
    ratio: float = Field(0.7, ge=0, le=1)
    """Share that is hidden."""


def draw_mask_grid(
    generator: torch.Generator, batch: int, size: tuple[int, int], config: MaskConfig
) -> Tensor:
    """Return (B, 1, h, w) uniform numbers, one for each block of images of a size (height, width)."""
    cells = [max(1, round(side / config.block)) for side in size]
    return torch.rand(batch, 1, *cells, generator=generator, device=generator.device)


def block_mask(grid: Tensor, size: tuple[int, int], config: MaskConfig) -> Tensor:
    """Return (B, 1, height, width) bool, True where the image is kept: where the numbers of the grid exceed the ratio."""
    return F.interpolate((grid > config.ratio).float(), size=size, mode="nearest").bool()


def mask_images(images: Tensor, kept: Tensor, fill: Tensor) -> Tensor:
    """Hide parts of images.

    Args:
        images: (B, 3, H, W).
        kept: (B, 1, H, W) bool.
        fill: (3,) colour of what is hidden: that which the network's normalisation makes zero.
    """
    return torch.where(kept, images, fill.to(images)[:, None, None])
