"""Optical flow, disparity, depth and scene flow.

Flow lies on the grid of the image it starts from: p1 = p0 + flow. Disparity is positive; a left disparity d
puts the pixel at x - d in the right image, a right disparity at x + d in the left one. Depth 0 is unknown.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.geometry._precision import common_precision, full_precision
from nolabel.geometry.cameras import PinholeCamera
from nolabel.geometry.warp import backward_warp

__all__ = [
    "depth_from_disparity",
    "disparity_as_flow",
    "disparity_from_depth",
    "flip_flow",
    "forward_backward_visible",
    "resize_flow",
    "scene_flow",
]


def forward_backward_visible(
    forward: Tensor,
    backward: Tensor,
    alpha: float = 0.01,
    beta: float = 0.5,
    reference_compat: bool = False,
) -> Tensor:
    """Where a pixel is seen in both images: following the flow there and back ends where it began.

    visible = |F + B'|^2 < alpha (|F|^2 + |B'|^2) + beta, with B' the backward flow fetched along F, and p + F
    inside the image (spec ``cups_pseudo.md`` 4.2).

    Args:
        forward: (B, 2, H, W) pixels, on the grid of the first image.
        backward: (B, 2, H, W) pixels, on the grid of the second image.
        alpha: tolerance relative to the squared lengths.
        beta: absolute tolerance, square pixels.
        reference_compat: warp with the half-pixel offset of :func:`backward_warp`.

    Returns:
        (B, 1, H, W) bool.
    """
    forward, backward = common_precision(forward, backward)
    back, inside = backward_warp(backward, forward, "bilinear", "border", reference_compat)
    error = (forward + back).square().sum(dim=1, keepdim=True)
    scale = forward.square().sum(dim=1, keepdim=True) + back.square().sum(dim=1, keepdim=True)
    return (error < alpha * scale + beta) & inside


def resize_flow(flow: Tensor, size: tuple[int, int], reference_compat: bool = False) -> Tensor:
    """Bring flow to another grid over the same picture, and its vectors to the pixels of that grid.

    Corner cells lie on each other (``align_corners``), as the score maps of DeepLab lie on their image. Computed in
    float64: float32 interpolation is off by up to 1e-4 pixels (spec ``udass_video.md`` 3).

    Args:
        flow: (B, 2, H, W) pixels = (dx, dy) of the old grid.
        size: (h, w) of the new grid.
        reference_compat: multiply both components by h / H, as UDASS does, instead of (w - 1) / (W - 1) and
            (h - 1) / (H - 1), which keep motion in place.

    Returns:
        (B, 2, h, w) float32 pixels of the new grid; float64 where the flow was.
    """
    height, width = flow.shape[-2:]
    resized = F.interpolate(flow.double(), size, mode="bilinear", align_corners=True)
    scale = (_step(width, size[1]), _step(height, size[0]))
    if reference_compat:
        scale = (size[0] / height, size[0] / height)
    resized = resized * resized.new_tensor(scale)[:, None, None]
    return resized if flow.dtype == torch.float64 else resized.float()


def _step(old: int, new: int) -> float:
    """Cells of the new axis per cell of the old one; a single cell has no distance."""
    return (new - 1) / (old - 1) if old > 1 else 1.0


def flip_flow(flow: Tensor, reference_compat: bool = False) -> Tensor:
    """Mirror flow (..., 2, H, W) left to right, so that it fits mirrored images.

    Args:
        flow: pixels = (dx, dy).
        reference_compat: keep the sign of dx, as UDASS does (spec ``udass_video.md`` 5.4, quirk A).
    """
    mirrored = flow.flip(-1)
    if reference_compat:
        return mirrored
    return mirrored * mirrored.new_tensor((-1.0, 1.0))[:, None, None]


def depth_from_disparity(disparity: Tensor, focal: Tensor | float, baseline: Tensor | float) -> Tensor:
    """z = focal * baseline / disparity in metres; 0 where the disparity is not positive.

    Args:
        disparity: pixels, any shape.
        focal: fx in pixels; a tensor must broadcast with the disparity.
        baseline: metres; likewise.
    """
    disparity = full_precision(disparity)
    known = disparity > 0
    return torch.where(known, focal * baseline / torch.where(known, disparity, 1.0), 0.0)


def disparity_from_depth(depth: Tensor, focal: Tensor | float, baseline: Tensor | float) -> Tensor:
    """focal * baseline / depth in pixels; 0 where the depth is unknown (not positive)."""
    return depth_from_disparity(depth, focal, baseline)  # the relation is its own inverse


def disparity_as_flow(disparity: Tensor, reference: Literal["left", "right"] = "left") -> Tensor:
    """The flow between the two views of a rectified pair.

    Args:
        disparity: (..., 1, H, W) pixels of the reference view.
        reference: the view on whose grid the disparity lies.

    Returns:
        (..., 2, H, W): (-d, 0) for the left view, (d, 0) for the right one.
    """
    sign = {"left": -1.0, "right": 1.0}[reference]
    return torch.cat([sign * disparity, torch.zeros_like(disparity)], dim=-3)


def scene_flow(
    depth_0: Tensor, depth_1: Tensor, flow: Tensor, camera: PinholeCamera, reference_compat: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """The 3D points of the first image and where they are at the second time.

    Points of time 1 are fetched at the pixel nearest to p + flow (spec ``cups_pseudo.md`` 4.4), never mixed
    over depth edges. The scene flow itself is the difference of the two.

    Args:
        depth_0: (B, 1, H, W) metres, 0 unknown.
        depth_1: (B, 1, H, W) metres, on the grid of the second image.
        flow: (B, 2, H, W) pixels from the first to the second image.
        camera: matrix (3, 3) or (B, 3, 3).
        reference_compat: decide exact halves as the original does, see :func:`backward_warp`.

    Returns:
        points_0, points_1: (B, 3, H, W) metres in the camera frame of their own time.
        known: (B, 1, H, W) bool: both depths are known and p + flow lies in the image.
    """
    points_0 = camera.backproject(depth_0[:, 0]).movedim(-1, 1)
    points_1 = camera.backproject(depth_1[:, 0]).movedim(-1, 1)
    fetched, inside = backward_warp(
        torch.cat([points_1, depth_1], dim=1), flow, "nearest", "zeros", reference_compat
    )
    return points_0, fetched[:, :3], inside & (depth_0 > 0) & (fetched[:, 3:] > 0)
