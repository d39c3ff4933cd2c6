"""A stereo video sample with known motion: a textured wall, road and rigidly moving boxes, straight from geometry."""

from __future__ import annotations

import torch
from torch import Tensor

from nolabel.models.motion import StereoMotion
from nolabel.structures import StereoCalibration

# Boxes facing the camera: (left, right, top, bottom) in metres at (z) metres; motion (x, z) in metres per frame.
BOXES = (((-4.0, -1.5, -0.5, 1.2), 12.0, (0.6, 0.0)), ((2.0, 4.5, -0.6, 1.2), 16.0, (0.0, -0.8)))
ROAD = 1.5  # metres below the camera
WALL = 40.0  # metres ahead
EGO_STEP = 0.5  # metres forward per frame


def moving_boxes(
    height: int, width: int, noise: float = 0.0
) -> tuple[StereoMotion, StereoCalibration, Tensor]:
    """Return exact (plus Gaussian ``noise`` in pixels) motion, calibration and the true box ids (H, W)."""
    camera = StereoCalibration(width * 1.1, width * 1.1, (width - 1) / 2, height * 0.45, 0.5)
    ids_0, z_0 = _view(camera, height, width, 0)
    ids_1, z_1 = _view(camera, height, width, 1)
    generator = torch.Generator().manual_seed(0)

    def noisy(maps: Tensor) -> Tensor:
        return (maps + noise * torch.randn(maps.shape, generator=generator)).float()[None]

    def disparity(z: Tensor) -> Tensor:
        return (camera.fx * camera.baseline / z)[None]

    right_0 = _view(camera, height, width, 0, eye=camera.baseline)[1]
    right_1 = _view(camera, height, width, 1, eye=camera.baseline)[1]
    motion = StereoMotion(
        noisy(_flow(camera, ids_0, z_0, 1)),
        noisy(_flow(camera, ids_1, z_1, -1)),
        *(noisy(disparity(z)) for z in (z_0, z_1, right_0, right_1)),
    )
    return motion, camera, ids_0


def _rays(camera: StereoCalibration, height: int, width: int) -> tuple[Tensor, Tensor]:
    v, u = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    return (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy


def _view(
    camera: StereoCalibration, height: int, width: int, time: int, eye: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return ids (0 = static, 1.. = box) and depth (H, W) seen at a time from a camera moved right by ``eye``."""
    x, y = _rays(camera, height, width)
    z = torch.full_like(x, WALL - EGO_STEP * time)
    road = torch.where(y > 0, ROAD / y.clamp(min=1e-6), torch.inf)
    z = torch.minimum(z, road)
    ids = torch.zeros_like(z, dtype=torch.int64)
    for index, ((left, right, top, bottom), depth, (step_x, step_z)) in enumerate(BOXES, start=1):
        near = depth + (step_z - EGO_STEP) * time
        across, down = x * near + eye - step_x * time, y * near
        hit = (across > left) & (across < right) & (down > top) & (down < bottom) & (near < z)
        z, ids = torch.where(hit, near, z), torch.where(hit, index, ids)
    return ids, z


def _flow(camera: StereoCalibration, ids: Tensor, z: Tensor, direction: int) -> Tensor:
    x, y = _rays(camera, *z.shape)
    steps = torch.tensor([(0.0, 0.0)] + [step for _, _, step in BOXES], dtype=torch.float64) * direction
    moved_z = z + steps[ids, 1] - EGO_STEP * direction
    moved_x, moved_y = x * z + steps[ids, 0], y * z
    return torch.stack([camera.fx * (moved_x / moved_z - x), camera.fy * (moved_y / moved_z - y)])
