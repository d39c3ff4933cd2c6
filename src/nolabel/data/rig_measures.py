"""What a rig's pictures say about its poses and cameras: do points go where these say they go?

A few hundred corners are tracked from the first camera to the second and to the next frame. Across: each track must end on
its epipolar line. Along: points that the two cameras place in space must come nearer as fast as the poses say; that finds a
wrong focal length, which leaves all lines as they are when a car drives straight on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from nolabel.data.posed_views import PosedSample
from nolabel.geometry import PinholeCamera, invert, transform

__all__ = ["RigMeasures", "measure_views", "track"]

CORNERS = 600
LEAST = 30  # tracks
AGREE = 1.0  # pixels: a track must come back to where it began


@dataclass(frozen=True)
class RigMeasures:
    """What four views say; None where too little could be tracked.

    Attributes:
        across_step: median distance of tracks from their epipolar lines, from a frame to the next, pixels.
        across_cameras: the same, from camera to camera.
        pace: how much faster points come nearer than cameras and poses say; 1 where all is right.
        behind: share of the points that two cameras place behind themselves: more than half if they are swapped.
    """

    across_step: float | None = None
    across_cameras: float | None = None
    pace: float | None = None
    behind: float | None = None


def measure_views(sample: PosedSample) -> RigMeasures:
    """Measure a sample's first four views: one camera now and next, another one now and next."""
    images = [_grey(image) for image in sample.images[:3]]
    start = _corners(images[0])
    following, kept_step = track(images[0], images[1], start)
    result: dict[str, float | None] = {}
    if kept_step.sum() >= LEAST:
        result["across_step"] = _line_distance(sample, 1, start[kept_step], following[kept_step])
    if len(images) < 3 or sample.cameras[2] == sample.cameras[0]:
        return RigMeasures(**result)
    other, kept_other = track(images[0], images[2], start)
    if kept_other.sum() >= LEAST:
        result["across_cameras"] = _line_distance(sample, 2, start[kept_other], other[kept_other])
    both = kept_step & kept_other
    if both.sum() >= LEAST:
        points, ahead = _triangulate(sample, start[both], other[both])
        result["behind"] = float((~ahead).mean())
        if ahead.sum() >= LEAST:
            result["pace"] = _pace(sample, points[ahead], start[both][ahead], following[both][ahead])
    return RigMeasures(**result)


def track(first: np.ndarray, second: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Follow points (N, 2) from one grey picture to another: where they are, and whether the way back agrees."""
    if not len(points):
        return points, np.zeros(0, bool)
    options: dict[str, Any] = {"winSize": (15, 15), "maxLevel": 4}
    there, found, _ = cv2.calcOpticalFlowPyrLK(first, second, points, points.copy(), **options)
    back, again, _ = cv2.calcOpticalFlowPyrLK(second, first, there, there.copy(), **options)
    agree = np.linalg.norm(back - points, axis=1) < AGREE
    return there, (found[:, 0] > 0) & (again[:, 0] > 0) & agree


def _grey(image: Tensor) -> np.ndarray:
    pixels = (image * 255).round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


def _corners(grey: np.ndarray) -> np.ndarray:
    found = cv2.goodFeaturesToTrack(grey, CORNERS, 0.005, 5)
    return np.zeros((0, 2), np.float32) if found is None else found[:, 0]


def _relative(sample: PosedSample, view: int) -> Tensor:
    """View 0's camera to that of another view."""
    poses = sample.poses.double()
    return invert(poses[view]) @ poses[0]


def _rays(sample: PosedSample, view: int, pixels: np.ndarray) -> Tensor:
    camera = PinholeCamera(sample.intrinsics[view].double())
    return camera.unproject(torch.from_numpy(pixels).double(), torch.ones(len(pixels), dtype=torch.float64))


def _line_distance(sample: PosedSample, view: int, first: np.ndarray, second: np.ndarray) -> float | None:
    """Median distance (pixels) of the second pixels from the epipolar lines of the first ones."""
    motion = _relative(sample, view)
    if float(motion[:3, 3].norm()) < 1e-3:
        return None
    rays = _rays(sample, 0, first) @ motion[:3, :3].mT
    normals = torch.linalg.cross(motion[:3, 3].expand_as(rays), rays)
    lines = normals @ torch.linalg.inv(sample.intrinsics[view].double())
    ends = torch.cat(
        [torch.from_numpy(second).double(), torch.ones(len(second), 1, dtype=torch.float64)], dim=1
    )
    distance = (lines * ends).sum(dim=1).abs() / lines[:, :2].norm(dim=1).clamp(min=1e-12)
    return float(distance.median())


def _triangulate(sample: PosedSample, first: np.ndarray, other: np.ndarray) -> tuple[Tensor, np.ndarray]:
    """Points (N, 3) in view 0's frame from views 0 and 2, and whether they lie 1 to 60 m ahead of it."""
    motion = invert(_relative(sample, 2))
    one, two = _rays(sample, 0, first), _rays(sample, 2, other) @ motion[:3, :3].mT
    system = torch.stack([one, -two], dim=2)
    solved = torch.linalg.lstsq(system, motion[:3, 3].expand(len(one), 3)[..., None]).solution[:, 0]
    points = one * solved
    return points, ((points[:, 2] > 1) & (points[:, 2] < 60)).numpy()


def _pace(sample: PosedSample, points: Tensor, first: np.ndarray, following: np.ndarray) -> float | None:
    """Median of how far points really move in the picture to how far they should; turning is taken out before."""
    motion = _relative(sample, 1)
    camera = PinholeCamera(sample.intrinsics[1].double())
    turned, depth = camera.project(points @ motion[:3, :3].mT)
    expected, later = camera.project(transform(motion, points))
    should = expected - turned
    did = torch.from_numpy(following).double() - turned
    length = should.square().sum(dim=1)
    sure = (length > 1) & (depth > 0) & (later > 0)
    if int(sure.sum()) < LEAST:
        return None
    return float(((did * should).sum(dim=1) / length)[sure].median())
