"""Height, depth and orientation of surfaces from a disparity map: cues for telling road, wall and car apart.

A plane in space is a plane in disparity: d = a u + b v + c. So the ground is fitted straight in the disparity
map, and the height above it of a pixel with disparity d is ``camera height * (1 - d_ground / d)``.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nolabel.geometry.ground import fit_plane
from nolabel.models.features.extractor import SceneGeometry

CELL = 4  # pixels of a geometry cell; disparity is averaged over it
MINIMUM_DISPARITY = 0.5  # pixels; below this a disparity says no more than "far"
PLAUSIBLE_CAMERA_HEIGHTS = (0.5, 4.0)  # metres above the road
FALLBACK_CAMERA_HEIGHT = 1.5  # metres, where no ground plane is found


def scene_geometry(disparity: Tensor, intrinsics: Tensor, baseline: float, known: Tensor) -> SceneGeometry:
    """Estimate the geometry channels of one image on a grid of 4-pixel cells.

    Args:
        disparity: (1, H, W) pixels, 0 = unknown.
        intrinsics: (3, 3) camera matrix of the same image size.
        baseline: metres.
        known: (H, W) bool, False where the disparity is not to be trusted.
    """
    reliable = (disparity > MINIMUM_DISPARITY) & known & disparity.isfinite()
    cells, share = _cell_means(disparity, reliable)
    height, width = cells.shape
    step_y, step_x = disparity.shape[-2] / height, disparity.shape[-1] / width
    v = (torch.arange(height, device=cells.device) + 0.5) * step_y - 0.5
    u = (torch.arange(width, device=cells.device) + 0.5) * step_x - 0.5
    v, u = torch.meshgrid(v, u, indexing="ij")
    intrinsics = intrinsics.to(cells)
    scale = float(intrinsics[0, 0]) * baseline  # depth = scale / disparity

    plane = fit_road(cells, share > 0.5, u, v, intrinsics, scale)
    normal = intrinsics.T @ plane / scale  # normal . X = 1 on the ground
    camera_height = 1 / normal.norm()
    on_ground = plane[0] * u + plane[1] * v + plane[2]

    filled = fill_unknown(cells, share, guess=on_ground.clamp(min=MINIMUM_DISPARITY))
    above = camera_height * (1 - on_ground / filled)
    upward = _upwardness(filled, share, u, v, intrinsics, normal * camera_height)
    channels = (above, scale / filled, upward, share)
    return SceneGeometry(*(channel[None, None] for channel in channels))


def fit_road(
    disparity: Tensor, known: Tensor, u: Tensor, v: Tensor, intrinsics: Tensor, scale: float
) -> Tensor:
    """Fit the road as a plane (a, b, c) of disparity to the cells below the horizon.

    Planes whose camera height or tilt no road vehicle has are refused. Without any plausible plane the result is
    a level ground 1.5 m below the camera.
    """
    fallback = scale / FALLBACK_CAMERA_HEIGHT * torch.linalg.solve(intrinsics.T, _down(intrinsics))
    plane = fit_plane(
        disparity,
        known & (v > float(intrinsics[1, 2])),
        u,
        v,
        lambda planes: _plausible(planes, intrinsics, scale),
    )
    return fallback if plane is None else plane


def fill_unknown(values: Tensor, weight: Tensor, guess: Tensor) -> Tensor:
    """Fill cells of little weight from ever larger neighbourhoods; ``guess`` is a weak opinion everywhere.

    Args:
        values: (h, w) values, meaningful where ``weight`` is above 0.
        weight: (h, w) in [0, 1].
        guess: (h, w) used where nothing is known near.
    """
    levels = [(values * weight, weight)]
    while min(levels[-1][0].shape) > 2:
        coarser = [F.avg_pool2d(x[None], 2, ceil_mode=True, count_include_pad=False)[0] for x in levels[-1]]
        levels.append((coarser[0], coarser[1]))
    mean = float(levels[-1][0].sum() / levels[-1][1].sum().clamp(min=1e-6))
    result = torch.full_like(levels[-1][0], mean if mean > 0 else float(guess.mean()))
    for weighted, known in reversed(levels):
        coarse = F.interpolate(result[None, None], size=weighted.shape, mode="bilinear", align_corners=False)[
            0, 0
        ]
        result = (weighted + 0.05 * coarse) / (known + 0.05)
    trust = weight / (weight + 0.02)
    lower = torch.maximum(result, guess)  # below the horizon nothing is farther than the ground
    return (trust * result + (1 - trust) * lower).clamp(min=MINIMUM_DISPARITY)


def _cell_means(disparity: Tensor, reliable: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the reliable disparities of each cell (h, w), 0 where none, and their share."""
    weight = reliable.to(disparity.dtype)
    total = F.avg_pool2d(torch.where(reliable, disparity, 0.0), CELL, ceil_mode=True, count_include_pad=False)
    share = F.avg_pool2d(weight, CELL, ceil_mode=True, count_include_pad=False)
    return (total / share.clamp(min=1e-6))[0], share[0]


def _plausible(planes: Tensor, intrinsics: Tensor, scale: float) -> Tensor:
    """Whether (N, 3) disparity planes can be a road: below the camera, at a vehicle's height, nearly level."""
    normals = planes @ intrinsics / scale
    length = normals.norm(dim=1)
    low, high = PLAUSIBLE_CAMERA_HEIGHTS
    camera_height = 1 / length.clamp(min=1e-9)
    return (camera_height > low) & (camera_height < high) & (normals[:, 1] / length > 0.97)


def _down(intrinsics: Tensor) -> Tensor:
    return torch.tensor([0.0, 1.0, 0.0], dtype=intrinsics.dtype, device=intrinsics.device)


def _upwardness(
    disparity: Tensor, weight: Tensor, u: Tensor, v: Tensor, intrinsics: Tensor, up: Tensor
) -> Tensor:
    """Cosine (h, w) between the local surface normal and the ground's, from weighted disparity slopes."""
    radius = 2
    padded = F.pad(torch.stack([disparity, weight])[None], [radius] * 4, mode="replicate")
    patches = F.unfold(padded, 2 * radius + 1).reshape(2, -1, *disparity.shape)
    offset = torch.arange(-radius, radius + 1, device=disparity.device, dtype=disparity.dtype)
    dy, dx = (x.reshape(-1, 1, 1) for x in torch.meshgrid(offset, offset, indexing="ij"))
    step = float(v[1, 0] - v[0, 0]) if len(v) > 1 else 1.0
    difference = patches[0] - disparity
    # Across a depth edge two surfaces meet: neighbours of another disparity do not belong to this one.
    w = (patches[1] + 0.05) * torch.exp(-(difference / (0.1 * disparity + 0.5)).square())
    moment = [(w * a).sum(0) for a in (dx * dx, dx * dy, dy * dy, dx * difference, dy * difference)]
    xx, xy, yy, xd, yd = moment
    determinant = (xx * yy - xy * xy).clamp(min=1e-6)
    slope_u = (yy * xd - xy * yd) / determinant / step
    slope_v = (xx * yd - xy * xd) / determinant / step
    plane = torch.stack([slope_u, slope_v, disparity - slope_u * u - slope_v * v], dim=-1)
    return F.cosine_similarity(plane @ intrinsics, up, dim=-1)


def consistent_disparity(left: Tensor, right: Tensor) -> Tensor:
    """Where left and right disparity agree within a pixel and 5 %: (H, W) bool on the left image's grid.

    Args:
        left: (1, H, W) left disparity, pixels.
        right: (1, H, W) right disparity, pixels.
    """
    columns = torch.arange(left.shape[-1], device=left.device, dtype=left.dtype)
    match = columns - left[0]
    there = right[0].gather(1, match.round().long().clamp(0, left.shape[-1] - 1))
    return ((left[0] - there).abs() < 1 + 0.05 * left[0]) & (match >= 0)
