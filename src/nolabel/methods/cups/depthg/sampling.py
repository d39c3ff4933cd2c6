"""Where the losses look: random places, or places spread evenly over the scene (DepthG section 3.4, spec 11.2).

Coordinates are (B, S, S, 2) in [-1, 1], x first, as ``torch.nn.functional.grid_sample`` reads them with
``align_corners=True``: -1 and 1 are the centres of the first and the last cell.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

DEPTH_STRETCH = 5.0  # depth counts this much more than width and height in the point cloud
FIELD_OF_VIEW = 90.0  # degrees


def uniform_coordinates(
    batch: int, samples: int, generator: torch.Generator | None, device: torch.device | str
) -> Tensor:
    """Draw places (B, S, S, 2) evenly over the images; the same on every device for one CPU generator."""
    return 2 * torch.rand(batch, samples, samples, 2, generator=generator).to(device) - 1


def depth_points(depth: Tensor, *, reference_compat: bool = False) -> Tensor:
    """Lift depth maps to points of a camera with a field of view of 90 degrees.

    Args:
        depth: (B, 1, h, w), any unit.
        reference_compat: 90 is taken as radians, and the principal point is half a pixel off.

    Returns:
        (B, h * w, 3) points in raster order.
    """
    height, width = depth.shape[-2:]
    angle = FIELD_OF_VIEW if reference_compat else math.radians(FIELD_OF_VIEW)
    factor, centre = 2 * math.tan(angle / 2), 0.0 if reference_compat else 0.5
    rows = (torch.arange(height, device=depth.device) + centre - height / 2) / height
    columns = (torch.arange(width, device=depth.device) + centre - width / 2) / width
    if not reference_compat:
        rows = rows * (height / width)  # square pixels
    flat = depth[:, 0]
    points = (factor * flat * columns, factor * flat * rows[:, None], -DEPTH_STRETCH * flat)
    return torch.stack(points, dim=-1).flatten(1, 2)


def farthest_points(points: Tensor, count: int) -> Tensor:
    """Choose points greedily, each as far as possible from those chosen before, beginning with the first.

    Args:
        points: (B, N, 3).
        count: how many; at most N.

    Returns:
        (B, count) indices in pick order.
    """
    batch = torch.arange(len(points), device=points.device)
    chosen = torch.zeros(len(points), count, dtype=torch.long, device=points.device)
    nearest = torch.full(points.shape[:2], math.inf, device=points.device, dtype=points.dtype)
    for pick in range(1, count):
        last = points[batch, chosen[:, pick - 1]]
        nearest = torch.minimum(nearest, (points - last[:, None]).square().sum(-1))
        chosen[:, pick] = nearest.argmax(dim=1)
    return chosen


def farthest_cells(depth: Tensor, size: tuple[int, int], samples: int, *, reference_compat: bool) -> Tensor:
    """Spread S * S picks over the scene.

    Args:
        depth: (B, 1, H, W) >= 0, 0 = unknown.
        size: (h, w) of the grid the picks lie on.
        samples: S.
        reference_compat: unknown depth counts as zero in a cell's mean; see :func:`depth_points` too.

    Returns:
        (B, S * S) cells in raster order.
    """
    pooled = F.adaptive_avg_pool2d(depth, size)
    if not reference_compat:
        known = F.adaptive_avg_pool2d((depth > 0).to(depth), size)
        pooled = pooled / known.clamp(min=1e-6)
    points = depth_points(pooled, reference_compat=reference_compat)
    return farthest_points(points, samples * samples).sort(dim=1).values


def farthest_coordinates(
    depth: Tensor, size: tuple[int, int], samples: int, *, reference_compat: bool = False
) -> Tensor:
    """Places (B, S, S, 2) spread over the scene by farthest-point sampling; arguments as above.

    Under ``reference_compat`` rows and columns change places, and the last row and column are never reached.
    """
    height, width = size
    cells = farthest_cells(depth, size, samples, reference_compat=reference_compat)
    rows, columns = cells // width, cells % width
    if reference_compat:
        places = torch.stack([rows / height, columns / width], dim=-1)
    else:
        places = torch.stack([columns / max(1, width - 1), rows / max(1, height - 1)], dim=-1)
    return 2 * places.view(len(depth), samples, samples, 2) - 1


def derangement(permutation: Tensor) -> Tensor:
    """Make a permutation of a batch say "some other image": an entry that is its own place is counted up by one."""
    place = torch.arange(len(permutation), device=permutation.device)
    return torch.where(permutation == place, (permutation + 1) % len(permutation), permutation)
