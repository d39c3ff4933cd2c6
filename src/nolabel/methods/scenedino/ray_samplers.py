"""Which rays a training step looks along (SceneDINO specification, 6).

Patches of pixels are drawn in the loss views; each patch covers exactly one cell of the target transformer, whose grid is
shifted against the image by a few pixels anew in each step, so that no pixel always lies at the border of its cell. All
functions take the draws, or a generator that makes them. Pixel coordinates are integers at pixel centres.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.errors import ConfigError
from nolabel.geometry import PinholeCamera, sample
from nolabel.models.rendering import Rays, Views, image_rays

__all__ = [
    "PatchPlaces",
    "colours_at",
    "draw_grid_shift",
    "draw_patch_places",
    "draw_pixels",
    "patch_cells",
    "patch_pixels",
    "rays_through",
    "shift_grid",
    "values_of_cells",
    "whole_views",
]


@dataclass(frozen=True, eq=False)
class PatchPlaces:
    """Where patches lie: all (N, P) int64, P patches in each of N scenes.

    Attributes:
        views: number of the view.
        rows: rows of the grid of patches, or of pixels for patches that lie anywhere.
        columns: likewise.
    """

    views: Tensor
    rows: Tensor
    columns: Tensor


def draw_grid_shift(patch: int, generator: torch.Generator | None = None) -> tuple[int, int]:
    """Draw how far the grid of cells is shifted down and to the right, pixels in [-patch / 2, patch / 2)."""
    down, right = torch.randint(-(patch // 2), patch // 2, (2,), generator=generator).tolist()
    return down, right


def shift_grid(images: Tensor, shift: tuple[int, int]) -> Tensor:
    """Move images (..., H, W) so that pixel (0, 0) is the one at ``shift`` = (down, right); borders are repeated."""
    down, right = shift
    height, width = images.shape[-2:]
    rows = (torch.arange(height, device=images.device) + down).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) + right).clamp(0, width - 1)
    return images[..., rows[:, None], columns]


def draw_patch_places(
    scenes: int,
    views: int,
    size: tuple[int, int],
    patch: int,
    count: int,
    generator: torch.Generator | None = None,
    *,
    shifted: bool = False,
    aligned: bool = True,
) -> PatchPlaces:
    """Draw patches.

    Args:
        scenes: N.
        views: to choose from.
        size: (height, width) of the images, pixels.
        patch: side of a patch, pixels.
        count: P, patches of a scene.
        generator: source of the draws.
        shifted: leave out the last row and column of the grid, which a shifted grid does not hold whole.
        aligned: draw cells of the grid; else the first row and column of patches that may lie anywhere.

    Raises:
        ConfigError: no patch fits into the image.
    """
    if aligned:
        rows, columns = (side // patch - int(shifted) for side in size)
    else:
        rows, columns = (side - patch for side in size)
    if min(rows, columns) < 1:
        raise ConfigError(
            f"no patch of {patch} pixels fits into images of {size[0]}x{size[1]}" + " twice" * shifted,
            hint="take larger images or a smaller patch",
        )
    draws = [
        torch.randint(0, limit, (scenes, count), generator=generator) for limit in (views, rows, columns)
    ]
    return PatchPlaces(*draws)


def patch_pixels(
    places: PatchPlaces, patch: int, shift: tuple[int, int] = (0, 0), *, aligned: bool = True
) -> Tensor:
    """The pixels (N, P, patch, patch, 2) = (u, v) of patches, float.

    Args:
        places: cells of the grid, or first pixels where not ``aligned``.
        patch: side, pixels.
        shift: of the grid, (down, right).
        aligned: see :func:`draw_patch_places`.
    """
    if aligned:
        top, left = shift[0] % patch + patch * places.rows, shift[1] % patch + patch * places.columns
    else:
        top, left = places.rows, places.columns
    inside = torch.arange(patch, device=top.device)
    v = top[..., None, None] + inside[:, None]
    u = left[..., None, None] + inside
    return torch.stack(torch.broadcast_tensors(u, v), dim=-1).float()


def patch_cells(places: PatchPlaces, shift: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Row and column (N, P) of the target cell that covers each patch: that of the image moved by :func:`shift_grid`."""
    return places.rows + int(shift[0] < 0), places.columns + int(shift[1] < 0)


def values_of_cells(maps: Tensor, views: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Read maps (N, V, C, h, w) at cells (N, P): (N, P, C)."""
    scene = torch.arange(len(maps), device=maps.device)[:, None]
    return maps[scene, views, :, rows, columns]


def draw_pixels(
    scenes: int, views: int, size: tuple[int, int], count: int, generator: torch.Generator | None = None
) -> Tensor:
    """Draw pixels anywhere: (N, R) int64, counted through the views, row by row."""
    return torch.randint(0, views * size[0] * size[1], (scenes, count), generator=generator)


def rays_through(views: Views, numbers: Tensor, pixels: Tensor, near: float, far: float) -> Rays:
    """The rays through pixels of views.

    Args:
        views: the cameras.
        numbers: (N, R) number of each ray's view.
        pixels: (N, R, 2) = (u, v), any position.
        near: metres along the ray.
        far: metres along the ray.
    """
    scene = torch.arange(len(numbers), device=numbers.device)[:, None]
    camera = PinholeCamera(views.intrinsics[scene, numbers])
    depth = torch.ones_like(pixels[..., :1])
    directions = F.normalize(camera.unproject(pixels[..., None, :], depth)[..., 0, :], dim=-1)
    poses = views.poses[scene, numbers].to(directions.dtype)
    directions = (poses[..., :3, :3] @ directions[..., None])[..., 0]
    bounds = torch.ones_like(directions[..., 0])
    return Rays(poses[..., :3, 3], directions, near * bounds, far * bounds)


def whole_views(views: Views, near: float, far: float) -> Rays:
    """The rays of all pixels of views, view by view, row by row; in single precision whatever the network runs in."""
    with torch.autocast(views.images.device.type, enabled=False):
        height, width = views.images.shape[-2:]
        return image_rays(views.intrinsics, views.poses, height, width, near, far)


def colours_at(images: Tensor, numbers: Tensor, pixels: Tensor) -> Tensor:
    """Read images at any positions, bilinearly; beyond a border its pixels are repeated.

    Args:
        images: (N, V, C, H, W).
        numbers: (N, R) number of the view.
        pixels: (N, R, 2) = (u, v).

    Returns:
        (N, R, C).
    """
    height, width = images.shape[-2:]
    u, v = pixels[..., 0].clamp(0, width - 1), pixels[..., 1].clamp(0, height - 1)
    # All views as one tall image: no position inside of a view mixes in the next one.
    tall = images.transpose(1, 2).flatten(2, 3)
    position = torch.stack([u, v + height * numbers], dim=1)[..., None, :]
    return sample(tall, position, padding_mode="border")[0][:, :, 0].transpose(1, 2)
