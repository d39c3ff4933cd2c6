"""Gaussian filtering on the permutohedral lattice (Adams, Baek, Davis: Fast High-Dimensional Gaussian Filtering, 2010).

Filtering N points in d dimensions costs O(N d^2) instead of O(N^2): each point is spread over the d + 1 corners
of the lattice simplex around it (splat), the corner values are blurred along the d + 1 lattice axes, and read
back with the same weights (slice). The lattice keeps only corners which some point touches, so in five dimensions
most neighbours are missing and the blur ends there: the result is *not* the exact Gaussian sum, but it is the
operator that dense CRFs have been published with (spec cups_pseudo section 8).

All three steps are weighted gathers with precomputed indices, so they run alike on the CPU and on an accelerator
and give the same bits each time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from nolabel.errors import ConfigError


class WeightedGather:
    """A sparse matrix applied as ``out[r] = sum of weight[k] * values[index[k]]`` for k in row r.

    Args:
        index: (E,) int64 columns of the entries, row after row.
        offsets: (R,) int64 first entry of each row.
        weights: (E,) float32 values of the entries.
    """

    def __init__(self, index: Tensor, offsets: Tensor, weights: Tensor) -> None:
        self.index, self.offsets, self.weights = index, offsets, weights

    def __call__(self, values: Tensor) -> Tensor:
        """Apply the matrix to (columns, C) values and return (rows, C)."""
        return F.embedding_bag(
            self.index, values, self.offsets, mode="sum", per_sample_weights=self.weights.to(values.dtype)
        )

    @classmethod
    def from_entries(cls, row: Tensor, column: Tensor, weights: Tensor, rows: int) -> WeightedGather:
        """Build from unordered entries; the order inside a row is the order given."""
        order = torch.argsort(row, stable=True)
        counts = torch.bincount(row, minlength=rows)
        return cls(column[order], counts.cumsum(0) - counts, weights[order])


class PermutohedralLattice:
    """The lattice of one set of points: built once, then applied to any number of value sets.

    Args:
        features: (N, d) float point positions, already divided by the standard deviations of the kernel.

    Raises:
        ConfigError: the positions span so many lattice cells that their keys do not fit 63 bits.
    """

    def __init__(self, features: Tensor) -> None:
        points, dimension = features.shape
        keys, weights = _simplex(features.float())
        flat = keys.reshape(-1, dimension)
        codes, axis_steps = _pack(flat, dimension)
        vertices, vertex_of = torch.unique(codes, return_inverse=True)

        self.num_points = points
        self.num_vertices = len(vertices)
        point_index = torch.arange(points, device=features.device).repeat_interleave(dimension + 1)
        self.splat = WeightedGather.from_entries(
            vertex_of, point_index, weights.reshape(-1), self.num_vertices
        )
        starts = torch.arange(0, points * (dimension + 1), dimension + 1, device=features.device)
        self.slice = WeightedGather(vertex_of, starts, weights.reshape(-1) / (1 + 2.0**-dimension))
        self.blurs = [_blur_along(vertices, step) for step in axis_steps]

    def filter(self, values: Tensor) -> Tensor:
        """Filter (N, C) values of the points; returns (N, C), not normalised (see :func:`filter_norm`)."""
        out = self.splat(values)
        for blur in self.blurs:
            out = blur(out)
        return self.slice(out)


class NormalisedFilter:
    """The symmetrically normalised filter ``n * L(n * Q)`` with ``n = 1 / sqrt(L(1))``, times a strength.

    The normalisation is folded into the splat and slice weights, so it costs nothing when applied.

    Args:
        features: (N, d) float positions in units of the kernel's standard deviations.
        strength: factor of the result (the Potts weight of a dense CRF term).
    """

    def __init__(self, features: Tensor, strength: float = 1.0) -> None:
        lattice = PermutohedralLattice(features)
        ones = torch.ones(len(features), 1, device=features.device)
        norm = (lattice.filter(ones)[:, 0] + 1e-20).rsqrt()
        self.num_vertices = lattice.num_vertices
        self._splat = lattice.splat
        self._splat.weights = self._splat.weights * norm[self._splat.index]
        self._blurs = lattice.blurs
        self._slice = lattice.slice
        corners = len(self._slice.index) // lattice.num_points
        self._slice.weights = self._slice.weights * norm.repeat_interleave(corners) * strength

    def __call__(self, values: Tensor) -> Tensor:
        """Filter (N, C) values; returns (N, C)."""
        out = self._splat(values)
        for blur in self._blurs:
            out = blur(out)
        return self._slice(out)


def _simplex(features: Tensor) -> tuple[Tensor, Tensor]:
    """Find the simplex around each point: corner keys (N, d + 1, d) int64 and barycentric weights (N, d + 1)."""
    points, d = features.shape
    device = features.device
    axis = torch.arange(d, device=device, dtype=torch.float32)
    scale = math.sqrt(2.0 / 3.0) * (d + 1) / torch.sqrt((axis + 1) * (axis + 2))
    scaled = features * scale
    # Elevate to the hyperplane of coordinates summing to zero.
    suffix = scaled.flip(1).cumsum(1).flip(1)  # suffix[:, j] = sum of scaled[:, j:]
    tail = F.pad(suffix[:, 1:], (0, 1))
    elevated = torch.cat([suffix[:, :1], tail - (axis + 1) * scaled], dim=1)

    rounded = torch.round(elevated / (d + 1))
    nearest = rounded * (d + 1)
    excess = rounded.sum(1, keepdim=True)
    difference = elevated - nearest
    # rank[i] = how many coordinates have a larger remainder (equal ones: the earlier counts as larger).
    larger = difference[:, None, :] > difference[:, :, None]
    earlier = torch.ones(d + 1, d + 1, dtype=torch.bool, device=device).tril(-1)
    tied = (difference[:, None, :] == difference[:, :, None]) & earlier
    rank = (larger | tied).sum(2) + excess
    low, high = rank < 0, rank > d
    shift = (low.float() - high.float()) * (d + 1)
    rank = (rank + shift).long()
    nearest = nearest + shift

    remainder = (elevated - nearest) / (d + 1)
    weights = torch.zeros(points, d + 2, device=device)
    weights.scatter_add_(1, d - rank, remainder)
    weights.scatter_add_(1, d + 1 - rank, -remainder)
    weights[:, 0] += 1 + weights[:, d + 1]

    corner = torch.arange(d + 1, device=device)[:, None]  # (d + 1, 1) against ranks (N, 1, d)
    steps = torch.where(rank[:, None, :d] <= d - corner, corner, corner - (d + 1))
    keys = nearest.long()[:, None, :d] + steps
    return keys, weights[:, : d + 1]


def _pack(keys: Tensor, dimension: int) -> tuple[Tensor, list[int]]:
    """Pack (M, d) keys into one int64 each; also the code distance to the next vertex along each blur axis."""
    margin = dimension + 1  # one blur step moves a coordinate by at most this much
    low = keys.amin(0) - margin
    extents = (keys.amax(0) - low + margin + 1).tolist()
    if math.prod(extents) >= 2**63:
        raise ConfigError(
            f"the filter's lattice would span {' x '.join(map(str, extents))} cells, more than 63 bits address",
            hint="use larger standard deviations (sxy, srgb) or smaller images",
        )
    strides = [math.prod(extents[i + 1 :]) for i in range(dimension)]
    codes = ((keys - low) * torch.tensor(strides, device=keys.device)).sum(1)
    # Along axis j the next vertex has key_j - d and key_i + 1 elsewhere (coordinate d is implied by the others).
    total = sum(strides)
    return codes, [total - (dimension + 1) * stride for stride in strides] + [total]


def _blur_along(vertices: Tensor, step: int) -> WeightedGather:
    """Build ``value + (previous + next) / 2`` along one axis for sorted vertex codes; missing ones count zero."""
    count = len(vertices)
    everyone = torch.arange(count, device=vertices.device)
    # Rows hold up to three entries; the order previous, own, next keeps the indices of a row close together.
    wanted = vertices + step
    place = torch.searchsorted(vertices, wanted).clamp_(max=count - 1)
    found = vertices[place] == wanted
    here, following = everyone[found], place[found]
    row = torch.cat([everyone, here, following])
    column = torch.cat([everyone, following, here])
    weights = torch.full((len(row),), 0.5, device=vertices.device)
    weights[:count] = 1
    return WeightedGather.from_entries(row, column, weights, count)
