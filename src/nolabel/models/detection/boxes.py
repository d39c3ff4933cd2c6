"""Boxes (x0, y0, x1, y1) in pixels: overlaps and the coding of one box relative to another."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["BoxCoder", "mask_boxes", "pairwise_iou"]

_LARGEST_LOG_SCALE = math.log(1000.0 / 16)


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """Return intersection over union of (N, 4) and (M, 4) boxes as (N, M); 0 where they do not meet.

    Unlike :func:`torchvision.ops.box_iou` two boxes without area give 0, not NaN.
    """
    top_left = torch.maximum(first[:, None, :2], second[None, :, :2])
    bottom_right = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(dim=2)
    areas = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - intersection
    return torch.where(intersection > 0, intersection / union, torch.zeros_like(intersection))


def mask_boxes(masks: Tensor) -> Tensor:
    """Return the tight boxes (N, 4) float32 of masks (N, H, W) bool, maxima exclusive; (0, 0, 0, 0) where empty."""
    edges = []
    for axis in (1, 2):  # the pixels of columns, then those of rows
        found = masks.any(dim=axis)
        length = found.shape[1]
        positions = torch.arange(length, device=masks.device)
        edges += [
            torch.where(found, positions, length).amin(dim=1),
            torch.where(found, positions + 1, 0).amax(dim=1),
        ]
    left, right, top, bottom = edges
    boxes = torch.stack([left, top, right, bottom], dim=1).float()
    return boxes * masks.flatten(1).any(dim=1)[:, None]


@dataclass(frozen=True)
class BoxCoder:
    """Code boxes as (dx, dy, dw, dh) relative to reference boxes, each times its weight.

    Source: CUPS specification 2.4 (centre and logarithmic size, no ``+1`` anywhere; growth is limited to 1000 / 16).
    """

    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)

    def encode(self, references: Tensor, boxes: Tensor) -> Tensor:
        """Return the (N, 4) deltas that turn ``references`` (N, 4) into ``boxes`` (N, 4)."""
        sizes, centres = _sizes_and_centres(references)
        box_sizes, box_centres = _sizes_and_centres(boxes)
        deltas = torch.cat([(box_centres - centres) / sizes, torch.log(box_sizes / sizes)], dim=1)
        return deltas * deltas.new_tensor(self.weights)

    def decode(self, references: Tensor, deltas: Tensor) -> Tensor:
        """Apply (N, 4) deltas to ``references`` (N, 4); float32 boxes, not clipped to any image."""
        references, deltas = references.float(), deltas.float()
        deltas = deltas / deltas.new_tensor(self.weights)
        sizes, centres = _sizes_and_centres(references)
        centres = deltas[:, :2] * sizes + centres
        half = 0.5 * torch.exp(deltas[:, 2:].clamp(max=_LARGEST_LOG_SCALE)) * sizes
        return torch.cat([centres - half, centres + half], dim=1)


def _sizes_and_centres(boxes: Tensor) -> tuple[Tensor, Tensor]:
    sizes = boxes[:, 2:] - boxes[:, :2]
    return sizes, boxes[:, :2] + 0.5 * sizes
