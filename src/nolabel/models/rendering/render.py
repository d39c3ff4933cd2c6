"""Rendering a field along rays, plainly: the twin that the fast renderer is measured against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nolabel.geometry import camera_rays
from nolabel.models.rendering.compositing import opacities, ray_weights, weighted
from nolabel.models.rendering.contract import Field, FieldSample, Rays, Rendered
from nolabel.models.rendering.distances import coarse_distances, depth_distances, fine_distances

__all__ = ["Jitter", "RenderSettings", "image_rays", "query_in_chunks", "render", "sample_distances"]

Jitter = Tensor | torch.Generator | None
"""Where in its stretch of ray each sample lies: uniforms (N, R, S), a generator to draw them, or None for the middles."""


@dataclass(frozen=True)
class RenderSettings:
    """How rays are sampled and composited; the defaults are the published ones.

    Attributes:
        samples: on each ray.
        inverse: samples are even in 1 / distance.
        hard_cap: the last sample is opaque.
        fine: samples more, where the first ones weigh most.
        fine_depth: of these, how many lie about the expected depth.
        depth_spread: standard deviation of these, metres.
        chunk: points that are looked at at once.
    """

    samples: int = 32
    inverse: bool = True
    hard_cap: bool = True
    fine: int = 0
    fine_depth: int = 0
    depth_spread: float = 1.0
    chunk: int = 65536


def image_rays(
    intrinsics: Tensor, poses: Tensor, height: int, width: int, near: float = 3.0, far: float = 80.0
) -> Rays:
    """The rays of all pixels of views, view by view, row by row: R = V * height * width.

    Args:
        intrinsics: (N, V, 3, 3) in pixels of that size.
        poses: (N, V, 4, 4) camera to world.
        height: rows.
        width: columns.
        near: metres.
        far: metres.
    """
    origins, directions = camera_rays(intrinsics, height, width, poses)
    origins, directions = (x.flatten(1, 3) for x in (origins, directions))
    bounds = torch.ones_like(origins[..., 0])
    return Rays(origins, directions, near * bounds, far * bounds)


def query_in_chunks(
    field: Field, points: Tensor, chunk: int, *, features: bool = True, colour: bool = False
) -> FieldSample:
    """As ``field.query``, at most ``chunk`` points (N, P, 3) of all scenes together at a time."""
    step = max(1, chunk // len(points))
    if points.shape[1] <= step:
        return field.query(points, features=features, colour=colour)
    parts = [field.query(p, features=features, colour=colour) for p in points.split(step, dim=1)]

    def joined(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else torch.cat(values, dim=1)

    return FieldSample(*(joined(name) for name in ("density", "features", "colour", "invalid")))


def render(
    field: Field,
    rays: Rays,
    settings: RenderSettings | None = None,
    jitter: Jitter = None,
    *,
    features: bool = True,
    colour: bool = False,
) -> Rendered:
    """Look along rays.

    Args:
        field: what to look at.
        rays: R rays of each of N scenes.
        settings: sampling.
        jitter: see :data:`Jitter`; None is deterministic.
        features: whether the features are wanted.
        colour: whether colours are wanted.
    """
    settings = settings or RenderSettings()
    distances = sample_distances(field, rays, settings, jitter)
    points = points_at(rays.origins, rays.directions, distances)
    shape = distances.shape
    found = query_in_chunks(field, points.flatten(1, 2), settings.chunk, features=features, colour=colour)
    alphas = opacities(found.density.reshape(shape).to(distances), distances, settings.hard_cap)
    weights = ray_weights(alphas)
    compact, colours, invalid = (
        None if x is None else x.reshape(*shape, *x.shape[2:])
        for x in (found.features, found.colour, found.invalid)
    )
    return Rendered(
        depth=weighted(weights, distances),
        weights=weights,
        alphas=alphas,
        distances=distances,
        features=None if compact is None else weighted(weights, compact),
        colour=None if colours is None else weighted(weights, colours),
        invalid=invalid,
        sample_colour=colours,
    )


def points_at(origins: Tensor, directions: Tensor, distances: Tensor) -> Tensor:
    """The points (N, R, S, 3) at distances (N, R, S) along rays (N, R, 3)."""
    return origins[:, :, None] + distances[..., None] * directions[:, :, None]


def sample_distances(field: Field, rays: Rays, settings: RenderSettings, jitter: Jitter) -> Tensor:
    """The distances (N, R, S) at which the field is looked at; the field decides where fine samples go."""
    shape = (*rays.near.shape, settings.samples)
    coarse = coarse_distances(rays.near, rays.far, _uniforms(jitter, shape, rays.near), settings.inverse)
    if not settings.fine:
        return coarse
    if isinstance(jitter, Tensor):
        raise ValueError("fine samples are drawn: give a generator, or None for a fixed one")
    generator = jitter or torch.Generator(rays.near.device).manual_seed(0)
    with torch.no_grad():
        points = points_at(rays.origins, rays.directions, coarse).flatten(1, 2)
        density = query_in_chunks(field, points, settings.chunk, features=False).density
        weights = ray_weights(opacities(density.reshape(shape).to(coarse), coarse, settings.hard_cap))
        near, far = rays.near, rays.far
        count = (*near.shape, settings.fine - settings.fine_depth)
        bins, places = (_uniforms(generator, count, near) for _ in range(2))
        more = [fine_distances(near, far, weights, bins, places, settings.inverse)]
        if settings.fine_depth:
            count = (*near.shape, settings.fine_depth)
            normals = torch.randn(count, generator=generator, device=generator.device).to(near)
            more.append(depth_distances(near, far, weighted(weights, coarse), settings.depth_spread, normals))
        return torch.cat([coarse, *more], dim=-1).sort(dim=-1).values


def _uniforms(jitter: Jitter, shape: tuple[int, ...], like: Tensor) -> Tensor:
    if jitter is None:
        return torch.full(shape, 0.5, device=like.device, dtype=like.dtype)
    if isinstance(jitter, Tensor):
        return jitter.to(like).reshape(shape)
    return torch.rand(shape, generator=jitter, device=jitter.device).to(like)
