"""Masks that many proposals agree on (VoteCut, section 3.1 of CuVLER, CVPR 2024; spec unmore 2.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["Cluster", "cluster_proposals", "pairwise_iou", "vote_mask"]

PIVOT_STEPS = 5
MOST_CLUSTERS = 100


@dataclass(frozen=True)
class Cluster:
    """Proposals of one object.

    Attributes:
        pivot: the proposal most like the others.
        members: (M,) int64 indices of proposals.
    """

    pivot: int
    members: Tensor

    def __len__(self) -> int:
        return len(self.members)


def pairwise_iou(masks: Tensor) -> Tensor:
    """Intersection over union of all pairs of (P, h, w) bool masks: (P, P) float32, by one matrix product."""
    flat = masks.flatten(1).float()
    areas = flat.sum(1)
    shared = flat @ flat.T
    return shared / (areas[:, None] + areas - shared).clamp(min=1)


def cluster_proposals(
    iou: Tensor, threshold: float = 0.6, *, reference_compat: bool = False
) -> list[Cluster]:
    """Group proposals around pivots, those with the most like them first.

    A cluster grows from its pivot, which moves up to five times to the member most like the others. Of equally
    popular proposals the later one comes first.

    Args:
        iou: (P, P) symmetric.
        threshold: proposals are alike above it.
        reference_compat: order equally popular proposals as the original's unstable sort (numpy's quicksort, reversed)
            happens to; it may differ from one processor to the next.

    Returns:
        Disjoint clusters in the order found; proposals whose pivot belonged to an earlier cluster are in none.
    """
    iou = iou.cpu()
    alike = iou > threshold
    order = np.argsort(alike.sum(1).numpy(), kind="quicksort" if reference_compat else "stable")
    left = order[::-1].tolist()
    used = torch.zeros(len(iou), dtype=torch.bool)
    clusters: list[Cluster] = []
    while left:
        pivot, member = _grow(iou, alike, left[0])
        if not used[pivot]:
            clusters.append(Cluster(pivot, (member & ~used).nonzero()[:, 0]))
        used |= member
        left = [index for index in left if not used[index]]
    return clusters[:MOST_CLUSTERS]


def _grow(iou: Tensor, alike: Tensor, pivot: int) -> tuple[int, Tensor]:
    """Return the last pivot and the members (P,) bool of a cluster that starts at ``pivot``."""
    member = torch.zeros(len(iou), dtype=torch.bool)
    member[pivot] = True
    for _ in range(PIVOT_STEPS):
        grown = member | alike[pivot]
        if torch.equal(grown, member):
            break
        member = grown
        inside = member.nonzero()[:, 0]
        pivot = int(inside[iou[inside][:, inside].sum(1).argmax()])
    return pivot, member


def vote_mask(proposals: Tensor, cluster: Cluster, threshold: float = 0.2) -> Tensor:
    """(h, w) bool: the cells that more than ``threshold`` of the cluster's proposals (P, h, w) hold."""
    return proposals[cluster.members].float().mean(0) > threshold
