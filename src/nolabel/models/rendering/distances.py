"""Where along a ray a field is looked at (SceneDINO specification, 5).

``inverse`` spacing is even in 1 / distance, so that near things get more samples; the other is even in distance. All
functions take what is drawn, so that a caller decides about randomness; uniforms lie in [0, 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["coarse_distances", "depth_distances", "fine_distances", "histogram_distances"]

LEAST_WEIGHT = 1e-5  # added to the weights of a histogram: no bin is impossible


def coarse_distances(near: Tensor, far: Tensor, places: Tensor, inverse: bool = True) -> Tensor:
    """One sample in each of S equal stretches.

    Args:
        near: (...) metres.
        far: (...) metres.
        places: (..., S) uniforms: where in its stretch each sample lies; 0.5 everywhere for the middles.
        inverse: see the module.

    Returns:
        (..., S) rising distances, metres.
    """
    count = places.shape[-1]
    steps = torch.arange(count, device=places.device, dtype=places.dtype) / count + places / count
    return _distance(near, far, steps, inverse)


def fine_distances(
    near: Tensor, far: Tensor, weights: Tensor, bins: Tensor, places: Tensor, inverse: bool = True
) -> Tensor:
    """More samples in the stretches of :func:`coarse_distances` that weighed much, unsorted.

    Args:
        near: (...) metres.
        far: (...) metres.
        weights: (..., S) of the coarse samples; no gradient flows through them.
        bins: (..., n) uniforms that choose stretches.
        places: (..., n) uniforms: where in the stretch.
        inverse: see the module.
    """
    steps = (_choose(weights, bins).clamp(min=0) + places) / weights.shape[-1]
    return _distance(near, far, steps, inverse)


def histogram_distances(
    distances: Tensor, weights: Tensor, bins: Tensor, places: Tensor, inverse: bool = True
) -> Tensor:
    """Samples of the histogram whose bins lie about given samples, unsorted.

    Args:
        distances: (..., S) rising, metres; bins are bounded by the first, the middles between neighbours, and the last.
        weights: (..., S) of the bins; no gradient flows through them.
        bins: (..., n) uniforms that choose bins.
        places: (..., n) uniforms: where in the bin.
        inverse: bins are bounded, and places are even, in 1 / distance.
    """
    positions = 1 / distances if inverse else distances
    middles = (positions[..., 1:] + positions[..., :-1]) / 2
    borders = torch.cat([positions[..., :1], middles, positions[..., -1:]], dim=-1)
    chosen = _choose(weights, bins).clamp(0, weights.shape[-1] - 1)
    left, right = borders.gather(-1, chosen), borders.gather(-1, chosen + 1)
    drawn = left + (right - left) * places
    return 1 / drawn if inverse else drawn


def depth_distances(near: Tensor, far: Tensor, depth: Tensor, spread: float, normals: Tensor) -> Tensor:
    """Samples about an expected depth, unsorted.

    Args:
        near: (...) metres.
        far: (...) metres.
        depth: (...) distance, metres.
        spread: standard deviation, metres.
        normals: (..., n) standard normal.
    """
    return torch.clamp(depth[..., None] + spread * normals, near[..., None], far[..., None])


def _distance(near: Tensor, far: Tensor, steps: Tensor, inverse: bool) -> Tensor:
    near, far = near[..., None], far[..., None]
    if inverse:
        return 1 / ((1 - steps) / near + steps / far)
    return near * (1 - steps) + far * steps


def _choose(weights: Tensor, uniforms: Tensor) -> Tensor:
    """The bin (..., n) that each uniform falls into; -1 and S are possible by rounding."""
    weights = weights.detach() + LEAST_WEIGHT
    cumulated = (weights / weights.sum(dim=-1, keepdim=True)).cumsum(dim=-1)
    cumulated = torch.cat([torch.zeros_like(cumulated[..., :1]), cumulated], dim=-1)
    return torch.searchsorted(cumulated, uniforms.contiguous(), right=True) - 1
