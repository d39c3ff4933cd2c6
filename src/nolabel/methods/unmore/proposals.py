"""Mask proposals from eigenvectors of feature grids (VoteCut; spec unmore 2.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from nolabel.methods.unmore.kmeans import cluster_numbers

__all__ = ["connected_components", "corners_inside", "proposals_of_labels", "to_grid", "vote_proposals"]

MOST_CORNERS = 1  # a map that holds more of the grid's four corners is background
MOST_COMPONENTS = 30  # a map in more pieces is noise
LEAST_SIDE = 5  # cells: one side of a component's box at least


def vote_proposals(vectors: Sequence[Tensor], clusters: Sequence[int] = (2, 3), side: int = 60) -> Tensor:
    """Cluster the values of eigenvectors and take the connected parts of each cluster as proposals.

    Args:
        vectors: (h, w) eigenvector of each model, sizes may differ.
        clusters: numbers of clusters; every vector is clustered into each.
        side: of the common grid.

    Returns:
        (P, side, side) bool, models in their order, then numbers of clusters, clusters from low to high values,
        components in raster order.
    """
    found = [
        to_grid(proposals_of_labels(cluster_numbers(vector.reshape(1, -1), k).view(vector.shape)), side)
        for vector in vectors
        for k in clusters
    ]
    return torch.cat(found)


def proposals_of_labels(labels: Tensor) -> Tensor:
    """The objects among the labels of a grid.

    A label that holds two or more corners, or has more than 30 components, gives none; components whose box is under
    5 cells in width and height are dropped.

    Args:
        labels: (h, w) int64 from 0.

    Returns:
        (P, h, w) bool, labels ascending, components in raster order.
    """
    maps = labels == torch.arange(int(labels.max()) + 1, device=labels.device)[:, None, None]
    maps = maps[corners_inside(maps) <= MOST_CORNERS]
    parts, counts = connected_components(maps)
    masks = [
        part == torch.arange(1, count + 1, device=labels.device)[:, None, None]
        for part, count in zip(parts, counts.tolist(), strict=True)
        if count <= MOST_COMPONENTS
    ]
    if not masks:
        return labels.new_zeros((0, *labels.shape), dtype=torch.bool)
    found = torch.cat(masks)
    return found[(_extent(found.any(1)) >= LEAST_SIDE) | (_extent(found.any(2)) >= LEAST_SIDE)]


def corners_inside(maps: Tensor) -> Tensor:
    """(N,) how many of the four corner cells of (N, h, w) bool maps are set."""
    return maps[:, [0, 0, -1, -1], [0, -1, 0, -1]].sum(1)


def connected_components(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Number the parts of maps that are connected over edges.

    Args:
        maps: (N, h, w) bool.

    Returns:
        (N, h, w) int64 with parts 1, 2, ... of each map in raster order and 0 outside, and their number (N,).
    """
    structure = np.zeros((3, 3, 3), bool)
    structure[1] = ndimage.generate_binary_structure(2, 1)  # no link from map to map: one call labels all
    numbered, _ = ndimage.label(maps.cpu().numpy(), structure)
    parts = torch.from_numpy(numbered).to(maps.device, torch.long)
    last = parts.flatten(1).amax(1) if len(maps) else parts.new_zeros(0)
    before = F.pad(last.cummax(0).values, (1, 0))[:-1] if len(maps) else last
    counts = (last - before).clamp(min=0)
    return torch.where(parts > 0, parts - before[:, None, None], 0), counts


def _extent(occupied: Tensor) -> Tensor:
    """(N,) cells from the first to the last one set in (N, n) rows."""
    numbers = occupied.long()
    size = numbers.shape[1]
    return size - numbers.argmax(1) - numbers.flip(1).argmax(1)


def to_grid(masks: Tensor, side: int) -> Tensor:
    """Resize (N, h, w) bool maps to (N, side, side), each cell that of the nearest one."""
    if len(masks) == 0:
        return masks.new_zeros((0, side, side))
    return F.interpolate(masks[:, None].float(), (side, side), mode="nearest")[:, 0] > 0
