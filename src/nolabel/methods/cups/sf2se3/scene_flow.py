"""Scene flow of one stereo video sample: points at t0, where they are at t1, and which of them to trust.

It is held as the pair (points at t0, points at t1 looked up through the flow) and the flow itself (spec 4.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nolabel.geometry.warp import pixel_grid
from nolabel.methods.cups.sf2se3.sampling import grid_shape, resize_nearest
from nolabel.structures import StereoCalibration


class Noise(NamedTuple):
    """Standard deviations in pixels."""

    flow_x: float
    flow_y: float
    disparity: float


@dataclass(frozen=True)
class PointFlow:
    """N points with their flow.

    Attributes:
        points_0: (N, 3) metres in the camera at t0.
        points_1: (N, 3) metres in the camera at t1, the same scene points.
        pixels: (N, 2) column and row at t0.
        flow: (N, 2) pixels.
        valid: (N,) bool.
        camera: calibration in pixels of the full image.
    """

    points_0: Tensor
    points_1: Tensor
    pixels: Tensor
    flow: Tensor
    valid: Tensor
    camera: StereoCalibration

    def __getitem__(self, index: Tensor) -> PointFlow:
        """Return the points at ``index``."""
        return PointFlow(
            points_0=self.points_0[index],
            points_1=self.points_1[index],
            pixels=self.pixels[index],
            flow=self.flow[index],
            valid=self.valid[index],
            camera=self.camera,
        )


@dataclass(frozen=True)
class SceneFlow:
    """Scene flow of one image.

    Attributes:
        points_0: (3, H, W) metres in the camera at t0; 0 where depth is unknown.
        points_1: (3, H, W) metres in the camera at t1, on the grid of t0.
        flow: (2, H, W) pixels.
        valid: (H, W) bool.
        camera: calibration in pixels.
    """

    points_0: Tensor
    points_1: Tensor
    flow: Tensor
    valid: Tensor
    camera: StereoCalibration

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.valid.shape
        return height, width

    @property
    def depth(self) -> Tensor:
        """(H, W) metres at t0; 0 = unknown."""
        return self.points_0[2]

    def at_valid_pixels(self) -> PointFlow:
        """Return the valid pixels in raster order."""
        return self._flat(self.points_0, self.points_1, self.flow, self.valid, self._pixels())[
            self.valid.flatten()
        ]

    def on_grid(self, scale: float) -> tuple[PointFlow, tuple[int, int]]:
        """Return the points of the coarse grid in raster order, and the grid's height and width."""
        shape = grid_shape(*self.size, scale)
        maps = (self.points_0, self.points_1, self.flow, self.valid, self._pixels())
        return self._flat(*(resize_nearest(m, shape) for m in maps)), shape

    def _pixels(self) -> Tensor:
        return pixel_grid(*self.size, dtype=self.flow.dtype, device=self.flow.device)

    def _flat(
        self, points_0: Tensor, points_1: Tensor, flow: Tensor, valid: Tensor, pixels: Tensor
    ) -> PointFlow:
        def rows(maps: Tensor) -> Tensor:
            return maps.flatten(1).T.contiguous()

        return PointFlow(
            rows(points_0), rows(points_1), rows(pixels), rows(flow), valid.flatten(), self.camera
        )


def back_project(depth: Tensor, camera: StereoCalibration) -> Tensor:
    """Return the points (3, H, W) in metres of a depth map (H, W); depth 0 gives the origin."""
    u, v = pixel_grid(*depth.shape, dtype=depth.dtype, device=depth.device)
    return torch.stack([(u - camera.cx) / camera.fx * depth, (v - camera.cy) / camera.fy * depth, depth])
