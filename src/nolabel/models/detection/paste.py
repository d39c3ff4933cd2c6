"""From the small mask of a box to pixels of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["MaskCrop", "dense_masks", "paste_masks"]


class MaskCrop(NamedTuple):
    """The part of a full-size mask that can be set: bool ``mask`` (h, w) with its corner in the image."""

    top: int
    left: int
    mask: Tensor


def paste_masks(
    probabilities: Tensor, boxes: Tensor, image_size: tuple[int, int], threshold: float = 0.5
) -> list[MaskCrop]:
    """Draw mask probabilities into the image region of their boxes.

    Bilinear sampling at pixel centres, zero outside the mask. The interpolation is separable: two thin matrix
    products for each box, over the pixels of the box only.

    Args:
        probabilities: (N, m, m) in 0 .. 1.
        boxes: (N, 4) in pixels, continuous coordinates.
        image_size: (height, width).
        threshold: a pixel belongs to the mask from this probability on.

    Returns:
        N crops, each as large as its box (and at least the pixels whose probability can reach the threshold).
    """
    height, width = image_size
    cells = probabilities.shape[-1]
    # A pixel outside the box is worth less than the border cell, and nothing from half a cell on.
    margin = (boxes[:, 2:] - boxes[:, :2]) / (2 * cells)
    start = (boxes[:, :2] - margin - 0.5).floor().clamp(min=0)
    stop = (boxes[:, 2:] + margin + 0.5).ceil()
    limits = torch.cat([start, stop], dim=1).nan_to_num().clamp(-1, max(height, width)).long().tolist()
    boxes = boxes.float()
    crops = []
    for row, (left, top, right, bottom) in enumerate(limits):
        right, bottom = min(right, width), min(bottom, height)
        columns = _interpolation(left, right, boxes[row, 0], boxes[row, 2], cells)
        rows = _interpolation(top, bottom, boxes[row, 1], boxes[row, 3], cells)
        crops.append(MaskCrop(top, left, rows @ probabilities[row].float() @ columns.T >= threshold))
    return crops


def _interpolation(first: int, last: int, low: Tensor, high: Tensor, cells: int) -> Tensor:
    """Return the (pixels, cells) weights with which cells on low .. high are seen by the pixels first .. last - 1."""
    pixels = torch.arange(first, max(last, first), device=low.device, dtype=torch.float32)
    position = (pixels + 0.5 - low) / (high - low) * cells - 0.5
    grid = torch.arange(cells, device=low.device, dtype=torch.float32)
    return (1 - (position[:, None] - grid).abs()).clamp(min=0)


def dense_masks(crops: Sequence[MaskCrop], image_size: tuple[int, int], device: torch.device | str) -> Tensor:
    """Return crops as full-size masks (N, H, W) bool: large, for small images and comparisons."""
    masks = torch.zeros((len(crops), *image_size), dtype=torch.bool, device=device)
    for row, (top, left, mask) in enumerate(crops):
        masks[row, top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return masks
