"""Where voxels are looked for, seen from the camera."""

from __future__ import annotations

from typing import Literal

import pydantic
import torch
from pydantic import Field
from torch import Tensor

from nolabel.config import Config
from nolabel.geometry import PinholeCamera, VoxelGrid, invert, transform
from nolabel.metrics.completion import ssc_camera_to_lidar

__all__ = ["VoxelBox"]

MOST_CELLS = 32_000_000
CELLS_AT_ONCE = 1 << 20


class VoxelBox(Config):
    """A box in front of the camera, cut into cells; x is forward, y left, z up. The defaults are SSCBench's volume."""

    reach: float = Field(default=51.2, gt=0)
    """How far it goes ahead, metres; it is as wide as it is long."""
    cell: float = Field(default=0.2, gt=0)
    """Edge of a cell, metres."""
    bottom: float = -2.0
    """Lowest height, metres."""
    top: float = 4.4
    """Highest height, metres."""
    placement: Literal["kitti360", "camera"] = "kitti360"
    """Frame of the box: KITTI-360's laser scanner as it is mounted beside the camera (SSCBench's frame: 0.8 m behind the
    camera's centre and turned down by 5 degrees), or the camera itself."""

    @pydantic.model_validator(mode="after")
    def _has_cells(self) -> VoxelBox:
        shape = self.shape
        if min(shape) < 1:
            raise ValueError(
                f"a box of {self.reach} m, from {self.bottom} to {self.top} m, has no cells of {self.cell} m"
            )
        if shape[0] * shape[1] * shape[2] > MOST_CELLS:
            raise ValueError(
                f"{shape} cells are more than {MOST_CELLS}: take a larger cell or a smaller reach"
            )
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cells along x, y and z."""
        across = 2 * round(self.reach / 2 / self.cell)
        return round(self.reach / self.cell), across, round((self.top - self.bottom) / self.cell)

    def grid(self) -> VoxelGrid:
        """The cells in the frame of the box."""
        shape = self.shape
        return VoxelGrid((0.0, -shape[1] / 2 * self.cell, self.bottom), self.cell, shape)

    def camera_to_grid(self) -> Tensor:
        """(4, 4) float64: the camera's frame (x right, y down, z forward) to that of the box."""
        if self.placement == "kitti360":
            return ssc_camera_to_lidar()
        rows = [[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]
        return torch.tensor(rows, dtype=torch.float64)

    def centres(self) -> Tensor:
        """Centres of the cells in the camera's frame, (X, Y, Z, 3) float32 metres."""
        grid = self.grid()
        points = grid.centres().reshape(-1, 3)
        to_camera = invert(self.camera_to_grid())
        parts = [transform(to_camera, part.double()).float() for part in points.split(CELLS_AT_ONCE)]
        return torch.cat(parts).reshape(*grid.shape, 3)

    @staticmethod
    def seen(centres: Tensor, matrix: Tensor, size: tuple[int, int]) -> Tensor:
        """Which centres (X, Y, Z, 3) lie in the picture of a camera: (X, Y, Z) bool.

        Args:
            centres: metres, camera frame.
            matrix: (3, 3) pixels.
            size: (height, width).
        """
        pixels, depth = PinholeCamera(matrix.to(centres)).project(centres.reshape(-1, 3))
        rounded = pixels.round()
        limit = rounded.new_tensor([size[1], size[0]])
        inside = ((rounded >= 0) & (rounded < limit)).all(dim=-1) & (depth > 0)
        return inside.reshape(centres.shape[:3])
