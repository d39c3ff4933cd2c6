"""Scenes whose channels hold the fields of their objects, and networks that read them there.

So reasoning has perfect networks without weights: red is the signed distance, green and blue the centre field, each moved
to 0..1. Also what benchmarks of discovery run on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nolabel.models.objectness.contract import ExistenceNetwork, ObjectnessMaps, ObjectnessNetwork

__all__ = ["PaintedNetworks", "exists", "look", "painted_scene"]

Ellipse = tuple[float, float, float, float]  # middle (x, y) and half axes, pixels


def painted_scene(height: int, width: int, ellipses: Sequence[Ellipse]) -> Tensor:
    """Paint ellipses, nearer ones first, (3, H, W): each holds its own fields, outside the distance is negative."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    distance = torch.full((height, width), -1.0)
    centre = torch.zeros(2, height, width)
    free = torch.ones(height, width, dtype=torch.bool)
    for middle_x, middle_y, half_x, half_y in ellipses:
        away = torch.stack([y - middle_y, x - middle_x])
        reach = 1 - ((away[1] / half_x) ** 2 + (away[0] / half_y) ** 2).sqrt()
        inside = (reach > 0) & free
        distance = torch.where(inside, reach, torch.where(free, torch.maximum(distance, reach), distance))
        unit = away / away.square().sum(0).sqrt().clamp(min=1e-6)
        centre = torch.where(inside, unit, centre)
        free &= ~inside
    return (torch.cat([distance[None].clamp(-1, 1), centre]) + 1) / 2


def look(crops: Tensor, *, boundary: bool = True, centre: bool = True) -> ObjectnessMaps:
    """Read the fields."""
    return ObjectnessMaps(2 * crops[:, 0] - 1 if boundary else None, 2 * crops[:, 1:] - 1 if centre else None)


def exists(crops: Tensor) -> Tensor:
    """The part of each crop that is object."""
    return (crops[:, 0] > 0.5).float().mean((1, 2))


@dataclass(frozen=True)
class PaintedNetworks:
    """Both, as discovery over folders takes networks."""

    fingerprint: str = "painted"

    def load(self, device: str) -> tuple[ObjectnessNetwork, ExistenceNetwork]:
        """Return both."""
        return look, exists
