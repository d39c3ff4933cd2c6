"""Regular voxel grids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nolabel.geometry._precision import full_precision

__all__ = ["VoxelGrid", "regular_points"]


@dataclass(frozen=True)
class VoxelGrid:
    """A box of cubic cells; cell (i, j, k) spans origin + voxel_size * (i..i+1, j..j+1, k..k+1).

    Args:
        origin: the outer corner of cell (0, 0, 0), metres.
        voxel_size: edge of a cell, metres, > 0.
        shape: number of cells along each axis.
    """

    origin: tuple[float, float, float]
    voxel_size: float
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        if len(self.origin) != 3 or len(self.shape) != 3 or min(self.shape) < 1 or not self.voxel_size > 0:
            raise ValueError(
                f"voxel grid: expected 3 coordinates, 3 sizes >= 1 and a voxel size > 0, "
                f"got {self.origin}, {self.shape}, {self.voxel_size}"
            )

    @property
    def num_voxels(self) -> int:
        """The number of cells."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    def centres(self, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None) -> Tensor:
        """The centres of all cells, (X, Y, Z, 3) metres: origin + voxel_size * (index + 0.5)."""
        axes = [
            start + self.voxel_size * (torch.arange(count, dtype=torch.float64, device=device) + 0.5)
            for start, count in zip(self.origin, self.shape, strict=True)
        ]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).to(dtype)

    def index_of(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The cells that hold points.

        Args:
            points: (..., 3) metres in the frame of the grid.

        Returns:
            index: (..., 3) int64; clamped to the grid, so it can always be used to look up.
            inside: (...) bool: whether the point lies in the grid. A point on a face belongs to the upper cell.
        """
        points = full_precision(points)
        cell = ((points - points.new_tensor(self.origin)) / self.voxel_size).floor()
        shape = cell.new_tensor(self.shape)
        inside = ((cell >= 0) & (cell < shape)).all(dim=-1)
        cell = torch.minimum(cell.nan_to_num(nan=0.0).clamp(min=0), shape - 1)
        return cell.long(), inside

    def flat_index_of(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`index_of` with one number per cell: (i * Y + j) * Z + k, the last axis fastest."""
        index, inside = self.index_of(points)
        _, y, z = self.shape
        return (index[..., 0] * y + index[..., 1]) * z + index[..., 2], inside

    def count(self, points: Tensor) -> Tensor:
        """How many of the points (..., 3) lie in each cell, (X, Y, Z) int64."""
        index, inside = self.flat_index_of(points)
        return torch.bincount(index[inside], minlength=self.num_voxels).reshape(self.shape)


def regular_points(
    start: Sequence[float],
    stop: Sequence[float],
    counts: Sequence[int],
    device: torch.device | str | None = None,
) -> Tensor:
    """Points at equal steps along each axis, both ends included.

    Args:
        start: first coordinate of each axis; may lie above ``stop``.
        stop: last coordinate of each axis.
        counts: number of points along each axis.
        device: where.

    Returns:
        (counts..., axes) float32, the last axis fastest.
    """
    axes = [torch.linspace(*ends, device=device) for ends in zip(start, stop, counts, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
