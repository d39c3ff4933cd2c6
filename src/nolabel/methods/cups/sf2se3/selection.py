"""Greedy choice of motions that explain points not explained yet (spec 5.6)."""

from __future__ import annotations

import torch
from torch import Tensor


def select_motions(
    candidates: Tensor,
    previous: Tensor | None,
    valid: Tensor,
    max_count: int,
    min_gain: float,
    max_overlap: float,
) -> list[int]:
    """Return the indices of the chosen candidates in order of choice; empty if none gains enough.

    Args:
        candidates: (K, N) soft inliers in [0, 1].
        previous: (M, N) soft inliers of motions found before, or None.
        valid: (N,) bool, points that count.
        max_count: most candidates to choose.
        min_gain: least mean of newly explained inlier mass over the valid points.
        max_overlap: candidates with a larger soft IoU with a previous motion are out.
    """
    candidates = candidates[:, valid]
    covered = candidates.new_zeros(candidates.shape[1])
    if previous is not None and len(previous):
        previous = previous[:, valid]
        candidates = candidates * (soft_iou(candidates, previous).amax(dim=1) <= max_overlap)[:, None]
        covered = previous.amax(dim=0)
    chosen: list[int] = []
    for _ in range(max_count):
        gain = (candidates - covered).clamp(0, 1).mean(dim=1)
        best = int(gain.argmax())
        if not gain[best] > min_gain:  # also stops on NaN: no valid point
            break
        chosen.append(best)
        covered = torch.maximum(covered, candidates[best])
    return chosen


def soft_iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the soft intersection over union (K, M) of memberships (K, N) and (M, N) in [0, 1]."""
    both = first @ second.T
    either = first.sum(dim=1)[:, None] + second.sum(dim=1)[None] - both
    return both / (either + 1e-10)
