"""Random small clusters of points that keep their distances: hypotheses of rigid motions (spec 5.2, 5.3)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nolabel.geometry.rigid import fit_rigid

Draws = Callable[[int], Tensor]
"""Source of randomness: called with n, it returns n uniform numbers in [0, 1) as float32 (n,)."""

ROWS_AT_ONCE = 512  # bounds the (rows, N, 3) differences of the distance matrices


class RigidPairs:
    """Which pairs of grid points are near each other, and which keep their distance from t0 to t1.

    Both are properties of the image, so they are computed once and shared by all runs and cycles.

    Args:
        points_0: (N, 3) metres, points at t0.
        points_1: (N, 3) metres, the same points at t1.
        max_distance: metres within which two points may share a cluster.
        tolerance: metres by which the distance of a rigid pair may change.
        depth_error: (N,) metres, expected error of each point; it adds to the tolerance (root of squares).

    Attributes:
        near, rigid: (N, N) bool.
        joined: (N, N) float32, 1 where a pair is both.
    """

    def __init__(
        self, points_0: Tensor, points_1: Tensor, max_distance: float, tolerance: float, depth_error: Tensor
    ) -> None:
        near, rigid = [], []
        variance = depth_error.square()
        for start in range(0, len(points_0), ROWS_AT_ONCE):
            block = slice(start, start + ROWS_AT_ONCE)
            rows_0, rows_1 = points_0[block], points_1[block]
            distance_0 = (rows_0[:, None] - points_0[None]).norm(dim=-1)
            distance_1 = (rows_1[:, None] - points_1[None]).norm(dim=-1)
            near.append(distance_0 <= max_distance)
            allowed = (tolerance**2 + variance[block, None] + variance[None]).sqrt()
            rigid.append((distance_0 - distance_1).abs() <= allowed)
        self.near = torch.cat(near)
        self.rigid = torch.cat(rigid)
        self.joined = (self.near & self.rigid).float()


def grow_clusters(
    pairs: RigidPairs,
    usable: Tensor,
    draws: Draws,
    count: int,
    max_points: int,
    reference_compat: bool = False,
) -> Tensor | None:
    """Grow up to ``count`` clusters of 2 to ``max_points`` points from random seeds.

    Every step adds one random point to each cluster: near all of its members and rigid with all of them.

    Args:
        pairs: relations between the N points.
        usable: (N,) bool, valid points that no motion explains yet.
        draws: randomness.
        count: clusters to start.
        max_points: largest cluster.
        reference_compat: as the original, let unusable points seed clusters, and ask a new point to be rigid
            with ANY member only (its running minimum was meant to be a maximum).

    Returns:
        Members (C, max_points) int64 as point indices in order of joining, -1 for none; None if no cluster
        has two points.
    """
    partners = pairs.joined @ usable.float()
    seedable = partners > 2
    if not reference_compat:
        seedable &= usable
    candidates = seedable.nonzero()[:, 0]
    if not len(candidates):
        return None
    members = torch.full((count, max_points), -1, dtype=torch.int64, device=usable.device)
    members[:, 0] = candidates[_pick(draws(count).to(usable.device), len(candidates))]
    is_member = torch.zeros((count, len(usable)), dtype=torch.bool, device=usable.device)
    is_member.scatter_(1, members[:, :1], True)
    near = pairs.near[members[:, 0]] & usable
    rigid = pairs.rigid[members[:, 0]]
    for step in range(1, max_points):
        free = near & rigid & ~is_member
        choices = free.sum(dim=1)
        growing = choices.nonzero()[:, 0]
        if not len(growing):
            break
        rank = _pick(draws(len(growing)).to(usable.device), choices[growing])
        # The (rank + 1)-th free point is the first at which the running count of free points reaches it.
        running = free[growing].cumsum(dim=1, dtype=torch.int32)
        added = torch.searchsorted(running, (rank + 1).int()[:, None])[:, 0]
        members[growing, step] = added
        is_member[growing, added] = True
        near[growing] &= pairs.near[added]
        if reference_compat:
            rigid[growing] |= pairs.rigid[added]
        else:
            rigid[growing] &= pairs.rigid[added]
    members = members[(members >= 0).sum(dim=1) >= 2]
    return members if len(members) else None


def fit_clusters(points_0: Tensor, points_1: Tensor, members: Tensor) -> Tensor:
    """Return the least-squares motion (C, 4, 4), t0 to t1, of every cluster of ``grow_clusters``.

    The rotation of a two-point cluster about its connecting line is arbitrary.
    """
    chosen = members.clamp(min=0)
    weights = (members >= 0).to(points_0.dtype)
    return fit_rigid(points_0[chosen], points_1[chosen], weights)


def _pick(uniform: Tensor, count: Tensor | int) -> Tensor:
    """Return floor(uniform * count), kept below ``count`` where the product rounds up to it."""
    limit = torch.as_tensor(count, device=uniform.device)
    return torch.minimum((uniform * limit).floor().long(), limit - 1)
