"""Targets as fine as the image, the alternative to a down-sampler (SceneDINO specification, 3.4, ``upsample-gt``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.geometry import pixel_grid, sample

__all__ = ["draw_crops", "enlarged_targets", "multi_crop_mean", "multi_crop_targets"]

CROP_SCALE = (0.5, 1.0)  # of the image's area
CROP_RATIO = 1.2  # at most that much wider or higher than the image


def enlarged_targets(
    features: Tensor, image_size: tuple[int, int], mode: Literal["nearest", "bilinear", "bicubic"]
) -> Tensor:
    """Resize target features (B, C, h, w) to the image: (B, C, *image_size), not normalised anew."""
    corners = {} if mode == "nearest" else {"align_corners": False}
    return F.interpolate(features, size=image_size, mode=mode, **corners)


def multi_crop_mean(features: Tensor, transforms: Tensor) -> Tensor:
    """Average the features of several views of an image, each brought back to where it was taken.

    Args:
        features: (B, V, C, H, W) of the augmented views, then of the mirror image, then of the image itself.
        transforms: (B, V - 2, 3, 3) from pixels of the image to pixels of the augmented views.

    Returns:
        (B, C, H, W) the mean over the views that saw the pixel.
    """
    *_, channels, height, width = features.shape
    pixels = pixel_grid(height, width, dtype=transforms.dtype, device=transforms.device).flatten(1)
    moved = transforms @ torch.cat([pixels, torch.ones_like(pixels[:1])])
    positions = (moved[..., :2, :] / moved[..., 2:, :]).flatten(0, 1).unflatten(-1, (height, width))
    augmented = features[:, :-2]
    flat = augmented.reshape(-1, channels, height, width)
    warped, _ = sample(flat, positions, "bilinear", "zeros")
    _, seen = sample(flat[:, :1], positions, "nearest", "zeros")
    warped, seen = (x.unflatten(0, augmented.shape[:2]) for x in (warped, seen))
    total = torch.where(seen, warped, 0.0).sum(dim=1) + features[:, -2].flip(-1) + features[:, -1]
    return total / (seen.sum(dim=1) + 2)


def draw_crops(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Draw augmentations: a crop of 50 to 100 % of the area, resized to the image, mirrored every second time.

    Returns:
        (count, 3, 3) from pixels of the image to pixels of the augmented views.
    """
    draws = torch.rand(5, count, generator=generator, dtype=torch.float64)
    area = CROP_SCALE[0] + (CROP_SCALE[1] - CROP_SCALE[0]) * draws[0]
    ratio = CROP_RATIO ** (2 * draws[1] - 1)
    rows, columns = ((area / ratio).sqrt().clamp(max=1), (area * ratio).sqrt().clamp(max=1))
    matrices = torch.eye(3, dtype=torch.float64).repeat(count, 1, 1)
    for axis, (side, share, draw) in enumerate(((width, columns, draws[2]), (height, rows, draws[3]))):
        start = (1 - share) * side * draw  # of the crop, from the image's edge
        matrices[:, axis, axis] = 1 / share
        matrices[:, axis, 2] = (0.5 - start) / share - 0.5
    mirrored = draws[4] < 0.5
    matrices[mirrored, 0] *= -1
    matrices[mirrored, 0, 2] += width - 1
    return matrices.float()


@torch.no_grad()
def multi_crop_targets(
    extract: Callable[[Tensor], Tensor],
    images: Tensor,
    generator: torch.Generator,
    crops: int = 2,
    chunk: int = 16,
) -> Tensor:
    """Target features of images at their own resolution, from several views of each.

    Args:
        extract: RGB (B, 3, H, W) in [0, 1] to features (B, C, h, w).
        images: (B, 3, H, W).
        generator: draws the crops.
        crops: augmented views of each image.
        chunk: views whose features are made at once.

    Returns:
        (B, C, H, W), unit length.
    """
    batch, _, height, width = images.shape
    transforms = draw_crops(batch * crops, height, width, generator).to(images.device)
    pixels = pixel_grid(height, width, device=images.device).flatten(1)
    back = torch.linalg.inv(transforms) @ torch.cat([pixels, torch.ones_like(pixels[:1])])
    source = images.repeat_interleave(crops, dim=0)
    augmented, _ = sample(source, back[:, :2].unflatten(-1, (height, width)), "bilinear", "border")
    views = torch.cat(
        [augmented.unflatten(0, (batch, crops)), images.flip(-1)[:, None], images[:, None]], dim=1
    )
    parts = [
        F.interpolate(extract(part), size=(height, width), mode="bilinear", align_corners=False)
        for part in views.flatten(0, 1).split(chunk)
    ]
    features = torch.cat(parts).unflatten(0, views.shape[:2])
    mean = torch.stack(
        [
            multi_crop_mean(f[None], t[None])[0]
            for f, t in zip(features, transforms.unflatten(0, (batch, crops)), strict=True)
        ]
    )
    return F.normalize(mean, dim=1)
