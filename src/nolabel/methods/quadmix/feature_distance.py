"""How far a network's features have moved from those of ImageNet, where the labels show things.

Source: DAFormer; UDASS specification (image) 2.10.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nolabel.labels import VOID

__all__ = ["downscale_labels", "feature_distance", "thing_cells"]


def downscale_labels(labels: Tensor, factor: int, num_classes: int, min_share: float = 0.75) -> Tensor:
    """Reduce label maps: every cell takes the class that most of its pixels have, if enough have it.

    Args:
        labels: (B, H, W) integers; what is no class is void.
        factor: side of a cell in pixels; rows and columns that fill no cell are left out.
        num_classes: of the labels.
        min_share: part of the cell's pixels that the class must have; else the cell is void.

    Returns:
        (B, H // factor, W // factor) int64 with 255 for void.
    """
    batch, rows, columns = len(labels), labels.shape[-2] // factor, labels.shape[-1] // factor
    labels = labels[..., : rows * factor, : columns * factor].long()
    classes = labels.where((labels >= 0) & (labels < num_classes), num_classes)
    cells = classes.view(batch, rows, factor, columns, factor).transpose(2, 3).flatten(3)
    counts = torch.zeros(*cells.shape[:3], num_classes + 1, dtype=torch.int32, device=labels.device)
    counts.scatter_add_(3, cells, torch.ones_like(cells, dtype=torch.int32))
    most, winner = counts.max(3)
    sure = (most.double() / factor**2 >= min_share) & (winner < num_classes)
    return winner.where(sure, VOID)


def thing_cells(
    labels: Tensor, size: tuple[int, int], classes: Sequence[int], num_classes: int, min_share: float = 0.75
) -> Tensor:
    """Return (B, h, w) bool: the cells of a feature map that show one of the classes.

    Args:
        labels: (B, H, W).
        size: (h, w) of the features.
        classes: that count.
        num_classes, min_share: see :func:`downscale_labels`; cells have W // w pixels a side.
    """
    reduced = downscale_labels(labels, labels.shape[-1] // size[1], num_classes, min_share)
    return torch.isin(reduced, torch.tensor(classes, device=labels.device))[:, : size[0], : size[1]]


def feature_distance(features: Tensor, reference: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean length of the difference of two feature maps; computed in float32.

    Without a single cell in the mask the distance is 0 with zero gradients. (The reference logs NaN, which any sum of
    losses would carry into every gradient.)

    Args:
        features: (B, C, h, w).
        reference: of the same shape, from the frozen network.
        mask: (B, h, w) bool; all cells by default.
    """
    length = torch.linalg.vector_norm(features.float() - reference.float(), dim=1)
    if mask is None:
        return length.mean()
    return length.where(mask, 0.0).sum() / mask.sum().clamp(min=1)
