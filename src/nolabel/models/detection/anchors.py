"""Anchor boxes on a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["pyramid_anchors"]


def pyramid_anchors(
    grid_sizes: Sequence[tuple[int, int]],
    strides: Sequence[int],
    sizes: Sequence[float],
    aspect_ratios: Sequence[float],
    device: torch.device | str = "cpu",
) -> list[Tensor]:
    """Return one (rows * columns * ratios, 4) float32 tensor of anchors for every level.

    Anchors of cell (row, column) are centred at (column * stride, row * stride); they run row-major over the cells,
    then over the aspect ratios (height / width), whose boxes all have the area size². Source: CUPS specification 2.4.
    """
    ratios = torch.tensor(aspect_ratios, dtype=torch.float32, device=device)
    anchors = []
    for (rows, columns), stride, size in zip(grid_sizes, strides, sizes, strict=True):
        widths = torch.sqrt(float(size) ** 2 / ratios)
        half = 0.5 * torch.stack([widths, ratios * widths], dim=1)
        y, x = torch.meshgrid(
            torch.arange(rows, device=device, dtype=torch.float32) * stride,
            torch.arange(columns, device=device, dtype=torch.float32) * stride,
            indexing="ij",
        )
        centres = torch.stack([x, y], dim=-1).reshape(-1, 1, 2)
        anchors.append(torch.cat([centres - half, centres + half], dim=-1).reshape(-1, 4))
    return anchors
