"""Exact voxel occupancy with classes: which cells of a grid the parts of a scene touch."""

from __future__ import annotations

import torch
from torch import Tensor

from nolabel.geometry import VoxelGrid
from nolabel.labels import VOID
from nolabel.world.casting import PlacedParts, batches, corner_points, expand
from nolabel.world.materials import is_grass
from nolabel.world.parts import Material, Shape
from nolabel.world.render import place_parts
from nolabel.world.scenes import TERRAIN, Scene

_ROUND = (int(Shape.ELLIPSOID), int(Shape.FOLIAGE))
_TUBES = (int(Shape.CYLINDER), int(Shape.RING))
_EMPTY_KEY = torch.iinfo(torch.int64).max


def _signed_distance(kind: int, unit: Tensor, half: Tensor) -> Tensor:
    """About how far (m) points in unit space (n, 3) lie outside a shape; negative inside. Wedges count as boxes."""
    if kind in _ROUND:
        radius = unit.norm(dim=1).clamp(min=1e-6)
        return (radius - 1) * (unit * half).norm(dim=1) / radius
    box = (unit.abs() - 1) * half
    if kind in _TUBES:
        radial = (unit[:, [0, 2]].norm(dim=1) - 1) * half[:, 0]
        return torch.maximum(radial, box[:, 1])
    return box.amax(1)


def _ranges(parts: PlacedParts, grid: VoxelGrid, world_to_grid: Tensor) -> tuple[Tensor, Tensor]:
    """First cell (N, 3) and number of cells (N, 3) of every part's bounding box in the grid."""
    corners = corner_points(parts) @ world_to_grid[:3, :3].T + world_to_grid[:3, 3]
    cells = (corners - corners.new_tensor(grid.origin)) / grid.voxel_size
    shape = cells.new_tensor(grid.shape)
    low = torch.minimum(cells.amin(1).floor().clamp(min=0), shape)
    high = torch.minimum((cells.amax(1).floor() + 1).clamp(min=0), shape)
    extent = (high - low).clamp(min=0)
    return low.long(), (extent * (extent.amin(1, keepdim=True) > 0)).long()


def voxel_labels(
    scene: Scene,
    time: float,
    grid: VoxelGrid,
    grid_to_world: Tensor | None = None,
    device: str | torch.device = "cpu",
) -> Tensor:
    """The class of every cell that a part touches.

    Args:
        scene: from `generate_scene`.
        time: s.
        grid: in metres, in its own frame.
        grid_to_world: (4, 4); for example a frame's `camera_to_world`. The identity by default.
        device: where to compute.

    Returns:
        (X, Y, Z) uint8 Cityscapes train ids on `device`; 255 = free. Where several parts touch a cell, the one that
        reaches deepest into it counts. Crowns are solid.
    """
    device = torch.device(device)
    pose = torch.eye(4, dtype=torch.float64) if grid_to_world is None else grid_to_world.double()
    pose = pose.to(device)
    parts = place_parts(scene, time, device)
    low, extent = _ranges(parts, grid, torch.linalg.inv(pose))
    counts = extent.prod(1)
    seen = counts.nonzero().squeeze(1)
    low, extent, counts = low[seen], extent[seen], counts[seen]
    to_unit = parts.to_unit[seen]
    linear = to_unit[:, :, :3] @ pose[:3, :3]  # grid axes -> unit space
    start = to_unit[:, :, :3] @ pose[:3, 3] + to_unit[:, :, 3]
    half = parts.half[seen].double()
    reach = (
        (linear * half.unsqueeze(2)).abs().sum(2) * grid.voxel_size / 2
    )  # a cell's half extent along the part's axes
    keys = torch.full((grid.num_voxels,), _EMPTY_KEY, dtype=torch.int64, device=device)
    origin = torch.tensor(grid.origin, dtype=torch.float64, device=device)
    for first, stop in batches(counts, parts.shape[seen]):
        owner, number = expand(counts[first:stop])
        owner += first
        size = extent[owner]
        k = number % size[:, 2]
        rest = torch.div(number, size[:, 2], rounding_mode="floor")
        j, i = rest % size[:, 1], torch.div(rest, size[:, 1], rounding_mode="floor")
        cell = low[owner] + torch.stack([i, j, k], 1)
        centre = origin + grid.voxel_size * (cell + 0.5)
        unit = (linear[owner] @ centre.unsqueeze(2)).squeeze(2) + start[owner]
        kind = int(parts.shape[seen[first]])
        grown = half[owner] + reach[owner]
        touched = (_signed_distance(kind, unit * half[owner] / grown, grown) <= 0).nonzero().squeeze(1)
        distance = _signed_distance(kind, unit[touched], half[owner[touched]])
        flat = (cell[touched] * cell.new_tensor([grid.shape[1] * grid.shape[2], grid.shape[2], 1])).sum(1)
        depth = ((distance + 1000.0) * 1e4).round().long()
        keys.scatter_reduce_(0, flat, (depth << 32) | seen[owner[touched]], "amin")
    return _classes(scene, keys, grid, pose).view(grid.shape)


def _classes(scene: Scene, keys: Tensor, grid: VoxelGrid, pose: Tensor) -> Tensor:
    """Train ids (cells,) uint8 of the winning parts; 255 where there is none."""
    touched = (keys != _EMPTY_KEY).nonzero().squeeze(1)
    part = keys[touched] & 0xFFFFFFFF
    device = keys.device
    label = torch.as_tensor(scene.parts.label).to(device)[part]
    centre = grid.centres(torch.float64, device).view(-1, 3)[touched] @ pose[:3, :3].T + pose[:3, 3]
    raised = torch.as_tensor(scene.parts.material).to(device)[part] == int(Material.PAVEMENT)
    label = torch.where(raised & is_grass(centre, scene.layout), TERRAIN, label)
    classes = torch.full_like(keys, VOID, dtype=torch.uint8)
    classes[touched] = label.to(torch.uint8)
    return classes
