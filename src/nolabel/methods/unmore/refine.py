"""From masks on a grid to masks of the image: dense CRF of a crop, holes filled (spec unmore 2.1 and 2.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou, masks_to_boxes

from nolabel.methods.unmore.votecut_settings import CrfSettings
from nolabel.models.dense_crf import binary_dense_crf

__all__ = ["RefinedMask", "enlarged_box", "fill_holes", "refine_mask", "to_size"]

LEAST_BOX_IOU = 0.5
"""Below it the CRF has found something else than it was given."""


@dataclass(frozen=True)
class RefinedMask:
    """A mask of the image, and whether the CRF made it.

    Attributes:
        mask: (H, W) bool.
        refined: False where the CRF lost the object, so that the mask is the unrefined one.
    """

    mask: Tensor
    refined: bool


def refine_mask(cells: Tensor, image: Tensor, crf: CrfSettings) -> RefinedMask:
    """Snap a mask to the colours around it.

    The CRF sees the mask's box enlarged by a third on each side. What it returns counts if it is not empty and its box
    overlaps that of the mask by half.

    Args:
        cells: (h, w) bool on any grid over the image.
        image: (3, H, W) uint8 RGB.
        crf: settings; with ``iterations`` 0 nothing is refined.
    """
    height, width = image.shape[-2:]
    mask = to_size(cells[None], (height, width))[0]
    if crf.iterations == 0 or not bool(mask.any()):
        return RefinedMask(mask, False)
    left, top, right, bottom = enlarged_box(mask)
    crop = image[:, top:bottom, left:right]
    probability = binary_dense_crf(mask[None, top:bottom, left:right], crop, **crf.model_dump())[0]
    filled = fill_holes(probability > 0.5)
    if not bool(filled.any()):
        return RefinedMask(mask, False)
    result = torch.zeros_like(mask)
    result[top:bottom, left:right] = filled
    # The boxes count pixels: maxima are exclusive.
    boxes = masks_to_boxes(torch.stack([mask, result])) + torch.tensor([0, 0, 1, 1], device=mask.device)
    if float(box_iou(boxes[:1], boxes[1:])) < LEAST_BOX_IOU:
        return RefinedMask(mask, False)
    return RefinedMask(result, True)


def to_size(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge (N, h, w) bool maps to (N, H, W), each pixel that of the cell it lies in."""
    return F.interpolate(masks[:, None].float(), size, mode="nearest")[:, 0] > 0


def enlarged_box(mask: Tensor) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (exclusive) of a mask that is not empty, a third larger on each side, in the image."""
    left, top, last_column, last_row = (int(value) for value in masks_to_boxes(mask[None])[0])
    width, height = last_column - left + 1, last_row - top + 1
    return (
        max(left - width // 3, 0),
        max(top - height // 3, 0),
        min(left + width + width // 3, mask.shape[1]),
        min(top + height + height // 3, mask.shape[0]),
    )


def fill_holes(mask: Tensor) -> Tensor:
    """Fill what a mask (H, W) encloses (background connected over edges)."""
    filled: np.ndarray = ndimage.binary_fill_holes(mask.cpu().numpy())
    return torch.from_numpy(filled).to(mask.device)
