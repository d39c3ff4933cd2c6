"""The visible surface: for every ray that met a part, where, with which normal, and how large a pixel is there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nolabel.world.casting import PlacedParts
from nolabel.world.parts import Shape


@dataclass(frozen=True)
class Surface:
    """n surface points.

    part (n,) int64; unit (n, 3): position in the part's unit space; local (n, 3): the same in metres; world (n, 3) m;
    normal (n, 3): unit, world axes, towards the viewer; face (n,) int64: the part's axis the face looks along;
    facing (n,): sign along that axis; view (n, 3): unit, from the camera; depth (n,) m;
    width, length (n,): the footprint of a pixel (m) across and along the direction of foreshortening.
    """

    part: Tensor
    unit: Tensor
    local: Tensor
    world: Tensor
    normal: Tensor
    face: Tensor
    facing: Tensor
    view: Tensor
    depth: Tensor
    width: Tensor
    length: Tensor

    def __getitem__(self, index: Tensor) -> Surface:
        return Surface(**{name: value[index] for name, value in vars(self).items()})


def _wedge_normal(unit: Tensor, params: Tensor) -> Tensor:
    """Normal of the nearest of the six planes of a wedge, unit space, (n, 3)."""
    x, y, z = unit.unbind(1)
    half = 0.5 * params
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    room = torch.stack([
        1.0 - y, 1.0 + y,
        1 - half[:, 0] * (1 - y) - x, 1 - half[:, 0] * (1 - y) + x,
        1 - half[:, 1] * (1 - y) - z, 1 - half[:, 2] * (1 - y) + z,
    ], 1)  # fmt: skip
    normals = torch.stack([
        torch.stack([zero, one, zero], 1), torch.stack([zero, -one, zero], 1),
        torch.stack([one, -half[:, 0], zero], 1), torch.stack([-one, -half[:, 0], zero], 1),
        torch.stack([zero, -half[:, 1], one], 1), torch.stack([zero, -half[:, 2], -one], 1),
    ], 1)  # fmt: skip
    return normals[torch.arange(len(x), device=x.device), room.abs().argmin(1)]


def _unit_normal(shape: Tensor, unit: Tensor, params: Tensor) -> Tensor:
    normal = unit.clone()  # right for ellipsoids
    box = (shape == Shape.BOX).nonzero().squeeze(1)
    axis = unit[box].abs().argmax(1, keepdim=True)
    normal[box] = torch.zeros_like(unit[box]).scatter(1, axis, unit[box].gather(1, axis).sign())
    wedge = (shape == Shape.WEDGE).nonzero().squeeze(1)
    normal[wedge] = _wedge_normal(unit[wedge], params[wedge])
    tube = ((shape == Shape.CYLINDER) | (shape == Shape.RING)).nonzero().squeeze(1)
    point = unit[tube]
    cap = (point[:, 1] ** 2 > point[:, 0] ** 2 + point[:, 2] ** 2).unsqueeze(1)
    up = torch.zeros_like(point)
    up[:, 1] = point[:, 1].sign()
    side = point.clone()
    side[:, 1] = 0
    normal[tube] = torch.where(cap, up, side)
    return normal


def surface_at(
    parts: PlacedParts, part: Tensor, world: Tensor, view: Tensor, depth: Tensor, focal: float
) -> Surface:
    """Describe the points `world` (n, 3) on `part` (n,), seen along unit directions `view` from `depth` metres."""
    matrix = parts.to_unit.float()[part]
    unit = (matrix[:, :, :3] * world.unsqueeze(1)).sum(2) + matrix[:, :, 3]
    in_unit = _unit_normal(parts.shape[part], unit, parts.params[part])
    half = parts.half[part]
    metric = in_unit / half
    face = metric.abs().argmax(1)
    facing = metric.gather(1, face.unsqueeze(1)).squeeze(1).sign()
    normal = (in_unit.unsqueeze(2) * matrix[:, :, :3]).sum(1)
    normal = torch.nn.functional.normalize(normal, dim=1)
    cosine = -(normal * view).sum(1, keepdim=True)
    normal = normal * torch.where(cosine < 0, -1.0, 1.0)
    width = depth / focal
    length = width / cosine.abs().squeeze(1).clamp(min=0.04)
    return Surface(part, unit, unit * half, world, normal, face, facing, view, depth, width, length)
