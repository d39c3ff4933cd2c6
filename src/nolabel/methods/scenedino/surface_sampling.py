"""Which features stage 2 compares: those in balls around points of the visible surface (SceneDINO specification, 8).

The centres lie at five depths, so that near and far things count alike; the points around one of them are a small 3D
neighbourhood, of one thing and what it touches. :func:`five_crop` is the two-dimensional alternative of the ablation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.models.rendering import Field, Rays

__all__ = [
    "SurfaceDraws",
    "SurfaceSamples",
    "choose_surface_pixels",
    "draw_surface",
    "five_crop",
    "sample_surface",
]

CENTRES = 5
TRIALS = 4  # points tried for each one wanted
FARTHEST = 100.0  # metres; pixels beyond are no surface
LEAST_DENSITY = 0.5  # 1 / metre, of a point that counts as matter


@dataclass(frozen=True, eq=False)
class SurfaceDraws:
    """What is drawn for G centres in each of N scenes, n samples wanted of each.

    Attributes:
        pixels: (N, G) uniforms in [0, 1): which pixel of the depth interval.
        normals: (N, G, 4 n, 3) standard normal: directions.
        radii: (N, G, 4 n) uniforms: where along them.
    """

    pixels: Tensor
    normals: Tensor
    radii: Tensor


@dataclass(frozen=True, eq=False)
class SurfaceSamples:
    """Points of matter around the centres that were kept, G' of them, scene by scene.

    Attributes:
        features: (G', n, C) compact features.
        density: (G', n) 1 / metre.
        scenes: (G',) the scene of each centre.
        centres: (G', 3) metres, world.
    """

    features: Tensor
    density: Tensor
    scenes: Tensor
    centres: Tensor


def draw_surface(
    scenes: int, samples: int, generator: torch.Generator | None = None, centres: int = CENTRES
) -> SurfaceDraws:
    """Draw what :func:`sample_surface` needs for ``samples`` points around each centre."""
    shape = (scenes, centres, TRIALS * samples)
    return SurfaceDraws(
        torch.rand(shape[:2], generator=generator),
        torch.randn(*shape, 3, generator=generator),
        torch.rand(shape, generator=generator),
    )


def choose_surface_pixels(depth: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Choose a pixel in each of G intervals of depth that hold equally many.

    Args:
        depth: (N, R) metres.
        places: (N, G) uniforms in [0, 1), or int64 numbers of the pixels among those of the interval.

    Returns:
        pixels (N, G) int64, and bool (N, G): whether there was one strictly inside of the interval.
    """
    intervals = places.shape[1]
    near = torch.where(depth < FARTHEST, depth, torch.nan)
    levels = torch.linspace(0, 1, intervals + 1, device=depth.device, dtype=depth.dtype)
    borders = near.nanquantile(levels, dim=1).T
    inside = (depth[:, None] > borders[:, :-1, None]) & (depth[:, None] < borders[:, 1:, None])
    counts = inside.sum(dim=-1)
    number = (places * counts).long() if places.is_floating_point() else places
    number = number.clamp(max=counts - 1)
    found = inside & (inside.cumsum(dim=-1) == number[..., None] + 1)
    return found.to(torch.uint8).argmax(dim=-1), counts > 0


def sample_surface(
    field: Field, rays: Rays, depth: Tensor, draws: SurfaceDraws, radius: float = 0.5
) -> SurfaceSamples:
    """Look at the field around surface points, and keep what is matter.

    A centre is kept if more of its points are matter than are wanted; the first ones count.

    Args:
        field: of N scenes.
        rays: (N, R) of the rendered pixels.
        depth: (N, R) metres along them.
        draws: what is drawn; a quarter of its points are wanted.
        radius: of the balls, metres.
    """
    pixels, there = choose_surface_pixels(depth, draws.pixels)
    scene = torch.arange(len(depth), device=depth.device)[:, None]
    centres = rays.origins[scene, pixels] + rays.directions[scene, pixels] * depth[scene, pixels][..., None]
    offsets = F.normalize(draws.normals, dim=-1) * (radius * draws.radii ** (1 / 3))[..., None]
    points = centres[:, :, None] + offsets
    found = field.query(points.flatten(1, 2))
    assert found.features is not None
    density = found.density.unflatten(1, points.shape[1:3])
    features = found.features.unflatten(1, points.shape[1:3])
    matter = density > LEAST_DENSITY
    wanted = points.shape[2] // TRIALS
    kept = there & (matter.sum(dim=-1) > wanted)
    first = (~matter[kept]).to(torch.uint8).argsort(dim=-1, stable=True)[:, :wanted]
    which = torch.arange(len(first), device=first.device)[:, None]
    return SurfaceSamples(
        features[kept][which, first], density[kept][which, first], kept.nonzero()[:, 0], centres[kept]
    )


def five_crop(features: Tensor, step: int = 4) -> Tensor:
    """Take five windows of a map, half as high and wide as its shorter side: the middle and the quarters.

    Args:
        features: (N, H, W, C).
        step: every how many pixels, beginning in the middle of the first ones.

    Returns:
        (5 N, h, w, C): the first window of all scenes, then the second, ... Middle, lower left, lower right, upper left,
        upper right.
    """
    height, width = features.shape[1:3]
    half = min(height, width) // 4
    places = [
        (height // 2, width // 2),
        *((3 * height // 4, column) for column in (width // 4, 3 * width // 4)),
        *((height // 4, column) for column in (width // 4, 3 * width // 4)),
    ]
    first, last = step // 2 - half, step // 2 + half
    return torch.cat(
        [
            features[:, row + first : row + last : step, column + first : column + last : step]
            for row, column in places
        ]
    )
