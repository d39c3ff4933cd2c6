"""Where a field is known to be empty, so that nobody needs to look there (empty-space skipping).

A field decoded from an image says nothing about a point before it has been asked, so emptiness is found by asking on a grid
once. That pays where a scene is rendered from more than one place, or its volume has been looked up anyway.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.geometry import VoxelGrid, invert, transform
from nolabel.models.rendering.contract import Field
from nolabel.models.rendering.render import query_in_chunks

__all__ = ["Occupancy", "grown"]


def grown(volume: Tensor) -> Tensor:
    """The largest value among a voxel (..., X, Y, Z) and its 26 neighbours."""
    flat = volume.reshape(-1, 1, *volume.shape[-3:])
    return F.max_pool3d(flat, 3, stride=1, padding=1).reshape(volume.shape)


@dataclass(frozen=True, eq=False)
class Occupancy:
    """Voxels that may hold matter; what lies outside of the grid may, too.

    Attributes:
        grid: the voxels.
        world_to_grid: (4, 4) metres.
        occupied: (X, Y, Z) bool.
    """

    grid: VoxelGrid
    world_to_grid: Tensor
    occupied: Tensor

    @classmethod
    def from_density(
        cls, grid: VoxelGrid, world_to_grid: Tensor, density: Tensor, least: float = 0.01
    ) -> Occupancy:
        """Read emptiness off densities at the centres of voxels.

        Args:
            grid: the voxels.
            world_to_grid: (4, 4).
            density: (X, Y, Z) 1 / metre.
            least: a voxel is empty where it and all its neighbours are thinner than this, 1 / metre.
        """
        return cls(grid, world_to_grid, grown(density) >= least)

    @classmethod
    @torch.no_grad()
    def of_field(
        cls, field: Field, grid: VoxelGrid, world_to_grid: Tensor, least: float = 0.01, chunk: int = 65536
    ) -> Occupancy:
        """Ask a field of one scene at the centres of all voxels; arguments as above."""
        centres = grid.centres(device=world_to_grid.device).reshape(1, -1, 3)
        points = transform(invert(world_to_grid), centres)
        density = query_in_chunks(field, points, chunk, features=False).density
        return cls.from_density(grid, world_to_grid, density.reshape(grid.shape), least)

    def may_hold(self, points: Tensor) -> Tensor:
        """Bool (...) of points (..., 3) of the world: whether there may be matter."""
        index, inside = self.grid.flat_index_of(transform(self.world_to_grid, points))
        return self.occupied.flatten()[index] | ~inside
