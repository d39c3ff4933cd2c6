"""What the network sees of a batch: a scale and places to cut at, other colours, mirrored scenes."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.data.photometric import ColourFactors, jitter_colours
from nolabel.methods.pretraining.motion_data import MotionBatch
from nolabel.methods.pretraining.motion_losses import PairViews
from nolabel.methods.pretraining.motion_settings import MotionAugmentationConfig, MotionStageConfig

__all__ = ["change_colours", "cut", "mirror_scenes", "pair_views", "scale_images"]

STRIDE = 8  # sides and places are multiples of the network's cells


def mirror_scenes(batch: MotionBatch, generator: torch.Generator) -> MotionBatch:
    """Mirror every second sample left to right; every second one of a single camera also upside down.

    In a mirrored stereo pair things move to the other side.
    """
    count = int(batch.sample.max()) + 1
    across, down = (torch.rand(2, count, generator=generator) < 0.5).to(batch.images.device)
    sideways_samples = torch.zeros(count, dtype=torch.bool, device=across.device)
    sideways_samples[batch.sample[batch.first[batch.sideways != 0]]] = True
    across, down = across[batch.sample], (down & ~sideways_samples)[batch.sample]
    images = torch.where(across[:, None, None, None], batch.images.flip(-1), batch.images)
    images = torch.where(down[:, None, None, None], images.flip(-2), images)
    sideways = torch.where(across[batch.first], -batch.sideways, batch.sideways)
    return replace(batch, images=images, sideways=sideways)


def scale_images(images: Tensor, stage: MotionStageConfig, generator: torch.Generator) -> Tensor:
    """Scale all images (N, 3, H, W) by one factor drawn from the stage's range, to multiples of 8."""
    low, high = stage.scale
    factor = low + (high - low) * float(torch.rand((), generator=generator))
    size = [int(side * factor) // STRIDE * STRIDE for side in images.shape[-2:]]
    size = [max(side, crop) for side, crop in zip(size, stage.crop, strict=True)]
    if size == list(images.shape[-2:]):
        return images
    scaled = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
    return scaled.clamp(0, 1)


def draw_corners(
    count: int, whole: tuple[int, int], crop: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Draw where to cut (height, width) out of larger images: (count, 2) column and row, multiples of 8."""
    free = [(side - cut) // STRIDE for side, cut in zip(whole, crop, strict=True)]
    places = [torch.randint(space + 1, (count,), generator=generator) for space in free[::-1]]
    return STRIDE * torch.stack(places, dim=1)


def cut(images: Tensor, corner: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut (N, C, h, w) out of images (N, C, H, W) at their corners (N, 2), column and row."""
    height, width = size
    return torch.stack(
        [
            image[:, row : row + height, column : column + width]
            for image, (column, row) in zip(images, corner.tolist(), strict=True)
        ]
    )


def pair_views(
    batch: MotionBatch, crop: tuple[int, int], generator: torch.Generator
) -> tuple[Tensor, PairViews]:
    """Cut every image of a sample at one place: the cuts (N, 3, h, w), and the pairs as losses see them."""
    whole = batch.images.shape[-2:]
    corners = draw_corners(int(batch.sample.max()) + 1, (whole[0], whole[1]), crop, generator)
    corner = corners.to(batch.images.device)[batch.sample]
    crops = cut(batch.images, corner, crop)
    views = PairViews(
        crops[batch.first], batch.images, batch.second, corner[batch.first], batch.reverse, batch.sideways
    )
    return crops, views


def change_colours(
    images: Tensor, sample: Tensor, config: MotionAugmentationConfig, generator: torch.Generator
) -> Tensor:
    """Change the colours of all images of a sample alike, then the brightness of each for itself, and add noise.

    Args:
        images: (N, 3, h, w) RGB in [0, 1].
        sample: (N,) sample that each belongs to.
        config: how much.
        generator: on the CPU.
    """
    count, device = int(sample.max()) + 1, images.device
    spread = torch.tensor([config.brightness, config.contrast, config.saturation, config.hue])
    shares = (2 * torch.rand(4, count, generator=generator) - 1) * spread[:, None]
    factors = [change.to(device)[sample] for change in (shares + torch.tensor([1.0, 1, 1, 0])[:, None])]
    order = [place for place in torch.randperm(4, generator=generator).tolist() if spread[place] > 0]
    changed = jitter_colours(images, ColourFactors(*factors), order, convention="multiplicative")
    own = torch.randn(len(images), 1, 1, 1, generator=generator).mul(config.own).exp().to(device)
    noise = torch.randn(images.shape, generator=generator).to(device) * config.noise
    return (changed * own + noise).clamp(0, 1)
