"""Analytic ray casting, vectorised over (ray, part) pairs.

A part is only tested against the pixels inside the rectangle that its bounding box covers in the image (camera rays),
or against the points whose cell of a grid perpendicular to the light it covers (shadow rays). Rays are mapped into the
unit space of the part by an affine map, which keeps the ray parameter: with camera directions of z = 1 it IS the depth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nolabel.world.noise import value_noise_nearest
from nolabel.world.parts import Shape

NEAR = 0.2  # metres: nothing nearer than this is seen
PAIRS_AT_ONCE = 1 << 16  # keeps the temporaries of one batch of pairs in the cache of a core
_KEY_EMPTY = (0x7F800000 << 32) | 0xFFFFFFFF  # depth = infinity, no part


@dataclass(frozen=True)
class PlacedParts:
    """Parts placed in the world at one instant.

    shape (N,) int64; to_unit (N, 3, 4) float64: world point -> unit space; to_world (N, 3, 4): its inverse;
    params (N, 3) float32; half (N, 3) float32 m; solid (N,) bool.
    """

    shape: Tensor
    to_unit: Tensor
    to_world: Tensor
    params: Tensor
    half: Tensor
    solid: Tensor


def _corners(device: torch.device) -> Tensor:
    axis = torch.tensor([-1.0, 1.0], dtype=torch.float64, device=device)
    return torch.cartesian_prod(axis, axis, axis)  # (8, 3)


def corner_points(parts: PlacedParts) -> Tensor:
    """The 8 corners of every part's oriented bounding box in the world, (N, 8, 3)."""
    corners = _corners(parts.to_world.device)
    return corners @ parts.to_world[:, :, :3].transpose(1, 2) + parts.to_world[:, None, :, 3]


def _clipped_box_points(points: Tensor, near: float) -> tuple[Tensor, Tensor]:
    """Corners in front of the near plane and the points where box edges cross it: (N, 20, 3), valid (N, 20)."""
    first = torch.tensor([0, 2, 4, 6, 0, 1, 4, 5, 0, 1, 2, 3], device=points.device)
    second = torch.tensor([1, 3, 5, 7, 2, 3, 6, 7, 4, 5, 6, 7], device=points.device)
    a, b = points[:, first], points[:, second]
    crossing = (a[..., 2] < near) != (b[..., 2] < near)
    span = b[..., 2] - a[..., 2]
    share = (near - a[..., 2]) / torch.where(crossing, span, torch.ones_like(span))
    edge = a + share.unsqueeze(-1) * (b - a)
    edge[..., 2] = near
    return torch.cat([points, edge], 1), torch.cat([points[..., 2] >= near, crossing], 1)


def image_rectangles(
    parts: PlacedParts,
    rotation: Tensor,
    position: Tensor,
    matrix: Tensor,
    size: tuple[int, int],
    margin: int = 0,
) -> Tensor:
    """Pixel rectangles (N, 4) int64 as (left, top, width, height) that contain each part; empty ones have width 0."""
    height, width = size
    points = (
        corner_points(parts) - position
    ) @ rotation  # world -> camera: R^T (X - c), written for row vectors
    points, valid = _clipped_box_points(points, NEAR)
    z = points[..., 2].clamp(min=NEAR)
    u = matrix[0, 0] * points[..., 0] / z + matrix[0, 2]
    v = matrix[1, 1] * points[..., 1] / z + matrix[1, 2]
    far = 1e7
    low = torch.stack([torch.where(valid, c, far).amin(1) for c in (u, v)], 1).clamp(-1e6, 1e6)
    high = torch.stack([torch.where(valid, c, -far).amax(1) for c in (u, v)], 1).clamp(-1e6, 1e6)
    limit = torch.tensor([width, height], dtype=torch.float64, device=u.device)
    start = torch.minimum((low.floor() - margin).clamp(min=0), limit)
    stop = torch.minimum((high.ceil() + 1 + margin).clamp(min=0), limit)
    extent = (stop - start).clamp(min=0)
    extent = extent * (extent.amin(1, keepdim=True) > 0)
    return torch.cat([start, extent], 1).long()


def batches(counts: Tensor, shapes: Tensor) -> Iterator[tuple[int, int]]:
    """Consecutive part ranges [start, stop) of ONE shape with about PAIRS_AT_ONCE pairs each."""
    sizes, kinds = counts.tolist(), shapes.tolist()
    start, total = 0, 0
    for index, (count, kind) in enumerate(zip(sizes, kinds, strict=True)):
        if index > start and (total + count > PAIRS_AT_ONCE or kind != kinds[start]):
            yield start, index
            start, total = index, 0
        total += count
    if start < len(sizes):
        yield start, len(sizes)


def expand(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Owner index and running number inside the owner for `counts` items each."""
    owner = torch.repeat_interleave(counts)
    first = counts.cumsum(0) - counts
    return owner, torch.arange(owner.numel(), device=counts.device) - first[owner]


def _slab(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    inverse = 1.0 / direction
    a, b = (-1.0 - origin) * inverse, (1.0 - origin) * inverse
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    enter = torch.maximum(torch.maximum(low[0], low[1]), low[2])
    leave = torch.minimum(torch.minimum(high[0], high[1]), high[2])
    return enter, torch.where(enter <= leave, leave, -torch.ones_like(leave))


def _wedge(origin: Tensor, direction: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
    """Six half-spaces: the four sides lean inwards towards the top (y = -1) by the shares in `params` (3, n)."""
    ox, oy, oz = origin
    dx, dy, dz = direction
    enter = torch.full_like(ox, -1e9)
    leave = torch.full_like(ox, 1e9)
    half = 0.5 * params
    planes = (
        (1.0 - oy, dy), (1.0 + oy, -dy),
        (1.0 - half[0] + half[0] * oy - ox, dx - half[0] * dy), (1.0 - half[0] + half[0] * oy + ox, -dx - half[0] * dy),
        (1.0 - half[1] + half[1] * oy - oz, dz - half[1] * dy), (1.0 - half[2] + half[2] * oy + oz, -dz - half[2] * dy),
    )  # fmt: skip
    for room, rate in planes:
        at = room / rate
        enter = torch.where(rate < 0, torch.maximum(enter, at), enter)
        leave = torch.where(rate > 0, torch.minimum(leave, at), leave)
    return enter, torch.where(enter <= leave, leave, -torch.ones_like(leave))


def _quadratic(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Roots of a t^2 + 2 b t + c, as (enter, leave); leave = -1 where there is none."""
    discriminant = b * b - a * c
    root = discriminant.clamp(min=0).sqrt()
    inverse = 1.0 / a
    leave = (-b + root) * inverse
    return (-b - root) * inverse, torch.where(discriminant >= 0, leave, -torch.ones_like(leave))


def _cylinder(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    ox, oy, oz = origin
    dx, dy, dz = direction
    enter, leave = _quadratic(dx * dx + dz * dz + 1e-12, ox * dx + oz * dz, ox * ox + oz * oz - 1.0)
    inverse = 1.0 / torch.where(dy.abs() < 1e-9, torch.full_like(dy, 1e-9), dy)
    a, b = (-1.0 - oy) * inverse, (1.0 - oy) * inverse
    enter = torch.where(leave < 0, enter, torch.maximum(enter, torch.minimum(a, b)))
    leave = torch.minimum(leave, torch.maximum(a, b))
    return enter, torch.where(enter <= leave, leave, -torch.ones_like(leave))


def _ring(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """The cylinder, but rays that enter or leave only through the middle of a cap (spokes) go on unhindered."""
    enter, leave = _cylinder(origin, direction)
    x, y, z = origin + enter * direction
    open_cap = (y.abs() > 0.98) & (x * x + z * z < 0.72)
    return enter, torch.where(open_cap, -torch.ones_like(leave), leave)


def _foliage(origin: Tensor, direction: Tensor, half: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
    """First point of the shell that is a leaf and not a hole; holes are fixed to the crown, so they move with it."""
    enter, leave = _quadratic(
        (direction * direction).sum(0), (origin * direction).sum(0), (origin * origin).sum(0) - 1.0
    )
    first = origin + enter * direction
    second = origin + leave * direction

    def leafy(point: Tensor) -> Tensor:
        return value_noise_nearest((point * half).T / 0.16 + params[0].unsqueeze(1) * 61.0) > -0.25

    enter = torch.where(leafy(first), enter, torch.where(leafy(second), leave, torch.full_like(enter, -1.0)))
    return enter, leave


def intersect(
    kind: int, origin: Tensor, direction: Tensor, params: Tensor, half: Tensor
) -> tuple[Tensor, Tensor]:
    """Ray parameters (enter, leave), each (n,), of rays given in unit space as (3, n); leave < 0 means a miss."""
    if kind == Shape.BOX:
        return _slab(origin, direction)
    if kind == Shape.WEDGE:
        return _wedge(origin, direction, params)
    if kind == Shape.CYLINDER:
        return _cylinder(origin, direction)
    if kind == Shape.RING:
        return _ring(origin, direction)
    if kind == Shape.FOLIAGE:
        return _foliage(origin, direction, half, params)
    return _quadratic(
        (direction * direction).sum(0), (origin * direction).sum(0), (origin * origin).sum(0) - 1.0
    )


def cast_camera(
    parts: PlacedParts,
    rotation: Tensor,
    position: Tensor,
    matrix: Tensor,
    size: tuple[int, int],
    offsets: Sequence[tuple[float, float]] = ((0.0, 0.0),),
    only: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Nearest part along every pixel's ray.

    Args:
        parts: the N parts at this instant.
        rotation, position: camera-to-world rotation (3, 3) and centre (3,), float64.
        matrix: intrinsics (3, 3) float64; pixel centres are integers.
        size: (H, W).
        offsets: S shifts (u, v) of the pixel coordinates, at most one pixel (sub-pixel sampling).
        only: (H*W,) bool, the pixels that matter; the others may come back as sky.

    Returns:
        part (S, H*W) int64, -1 where the ray meets the sky, and depth (S, H*W) float32, metres along z (0 = sky).
    """
    height, width = size
    device = parts.shape.device
    rectangles = image_rectangles(parts, rotation, position, matrix, size, margin=int(len(offsets) > 1))
    counts = rectangles[:, 2] * rectangles[:, 3]
    seen = counts.nonzero().squeeze(1)
    rectangles, counts, shapes = rectangles[seen], counts[seen], parts.shape[seen]
    to_unit = parts.to_unit[seen]
    per_pixel = (
        to_unit[:, :, :3] @ rotation @ torch.linalg.inv(matrix)
    )  # pixel (u, v, 1) -> direction in unit space
    start = to_unit[:, :, :3] @ position + to_unit[:, :, 3]
    table = torch.cat([per_pixel.transpose(1, 2).reshape(-1, 9), start], 1).T.float().contiguous()  # (12, n)
    params, half = parts.params[seen].T.contiguous(), parts.half[seen].T.contiguous()
    keys = torch.full((len(offsets), height * width), _KEY_EMPTY, dtype=torch.int64, device=device)
    for first, stop in batches(counts, shapes):
        owner, number = expand(counts[first:stop])
        owner += first
        columns = rectangles[:, 2][owner]
        row = torch.div(number, columns, rounding_mode="floor")
        u = rectangles[:, 0][owner] + number - row * columns
        v = rectangles[:, 1][owner] + row
        if only is not None:
            wanted = only[v * width + u].nonzero().squeeze(1)
            owner, u, v = owner[wanted], u[wanted], v[wanted]
        values = table[:, owner]
        direction = values[0:3] * u + values[3:6] * v + values[6:9]
        kind = int(shapes[first])
        extra = (params[:, owner], half[:, owner]) if kind in (Shape.WEDGE, Shape.FOLIAGE) else (params, half)
        pixel = v * width + u
        for sample, (du, dv) in enumerate(offsets):
            shifted = direction + (values[0:3] * du + values[3:6] * dv) if du or dv else direction
            enter, leave = intersect(kind, values[9:12], shifted, *extra)
            hit = ((leave > 0) & (enter > NEAR)).nonzero().squeeze(1)
            depth = enter[hit].contiguous().view(torch.int32).long()
            keys[sample].scatter_reduce_(0, pixel[hit], (depth << 32) | seen[owner[hit]], "amin")
    part = torch.where(keys == _KEY_EMPTY, -1, keys & 0xFFFFFFFF)
    depth = (keys >> 32).int().view(torch.float32)
    return part, torch.where(part < 0, torch.zeros_like(depth), depth)


def _grid_lists(low: Tensor, high: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """For rectangles of grid cells (n, 2) [low, high): parts per cell as (order, first, count) lists."""
    extent = (high - low).clamp(min=0)
    owner, number = expand(extent[:, 0] * extent[:, 1])
    columns = extent[:, 0][owner]
    row = torch.div(number, columns, rounding_mode="floor")
    cell = (low[:, 1][owner] + row) * shape[1] + low[:, 0][owner] + number - row * columns
    cell, position = cell.sort(stable=True)
    count = torch.bincount(cell, minlength=shape[0] * shape[1])
    return owner[position], count.cumsum(0) - count, count


def _light_basis(towards: Tensor) -> Tensor:
    helper = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64, device=towards.device)
    first = torch.linalg.cross(towards, helper)
    first = first / first.norm()
    return torch.stack([first, torch.linalg.cross(first, towards)])  # (2, 3)


def light_pairs(
    parts: PlacedParts, chosen: Tensor, points: Tensor, towards: Tensor, cell: float, margin: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Pairs (point index, part index) whose positions agree in the plane perpendicular to the light `towards` (3,)."""
    basis = _light_basis(towards)
    where = points.double() @ basis.T
    origin = where.amin(0)
    shape = ((where.amax(0) - origin) / cell).floor().long() + 1
    corners = (corner_points(parts)[chosen] @ basis.T - origin) / cell
    low = (corners.amin(1) - margin / cell).floor().long().clamp(min=0)
    high = torch.minimum((corners.amax(1) + margin / cell).floor().long() + 1, shape)
    order, first, count = _grid_lists(low, high, (int(shape[1]), int(shape[0])))
    cells = ((where - origin) / cell).floor().long()
    index = cells[:, 1] * shape[0] + cells[:, 0]
    owner, number = expand(count[index])
    return owner, chosen[order[first[index][owner] + number]]


def shadowed(parts: PlacedParts, points: Tensor, own: Tensor, towards: Tensor) -> Tensor:
    """Whether solid parts other than its own block the way from each point (n, 3) towards the light (3,): (n,) bool."""
    blocked = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    if not len(points):
        return blocked
    point, part = light_pairs(parts, parts.solid.nonzero().squeeze(1), points, towards, cell=1.0)
    keep = (own[point] != part).nonzero().squeeze(1)
    point, part = point[keep], part[keep]
    shapes = parts.shape[part]
    linear = parts.to_unit[:, :, :3] @ towards
    table = torch.cat([parts.to_unit.reshape(-1, 12), linear], 1).T.float().contiguous()  # (15, N)
    params, half = parts.params.T.contiguous(), parts.half.T.contiguous()
    places = points.T.contiguous()
    for kind in torch.unique(parts.shape).tolist():
        for chunk in (shapes == kind).nonzero().squeeze(1).split(PAIRS_AT_ONCE):
            who, what = point[chunk], part[chunk]
            values, (x, y, z) = table[:, what], places[:, who]
            start = values[0:12:4] * x + values[1:12:4] * y + values[2:12:4] * z + values[3:12:4]
            extra = (
                (params[:, what], half[:, what]) if kind in (Shape.WEDGE, Shape.FOLIAGE) else (params, half)
            )
            enter, leave = intersect(kind, start, values[12:], *extra)
            hit = (leave > 0.02) & ((enter > 0.02) | (leave > 0.05))
            if kind == Shape.FOLIAGE:
                hit &= enter > 0.02
            blocked[who[hit]] = True
    return blocked
