"""Crops that hold an object and crops that hold none, for the existence network (unMORE specification, 3.2)."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["background_crop", "cut_and_resize", "labelled_crop"]

LEAST_OBJECT = 1.0  # sum of a resized mask, pixels


def background_crop(objects: Tensor) -> tuple[int, int, int, int] | None:
    """Find the square around the largest circle that touches no object.

    Its centre is the pixel farthest from all objects (chamfer distance) and from the image's border, the first such
    pixel in reading order, and the square reaches as far as that distance.

    Args:
        objects: (H, W) bool, the union of all objects that are known.

    Returns:
        Top, left, height, width in pixels, or None where there is no room.
    """
    free = np.pad((~objects).numpy().astype(np.uint8), 1)  # the border counts as an object
    distance = cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_3)[1:-1, 1:-1]
    row, column = divmod(int(distance.argmax()), distance.shape[1])
    radius = float(distance[row, column])
    top, left = max(int(row - radius), 0), max(int(column - radius), 0)
    bottom, right = (
        min(int(middle + radius), side) for middle, side in zip((row, column), distance.shape, strict=True)
    )
    if bottom <= top or right <= left:
        return None
    return top, left, bottom - top, right - left


def labelled_crop(
    image: Tensor, mask: Tensor, crop: tuple[int, int, int, int], size: int
) -> tuple[Tensor, float]:
    """Cut out of an image and its object, and say whether the object is in what was cut out.

    Args:
        image: (3, H, W).
        mask: (H, W) bool.
        crop: top, left, height, width in pixels.
        size: side of the result.

    Returns:
        (3, size, size), and 1 where more than one pixel of the resized mask is the object's, else 0.
    """
    seen = cut_and_resize(torch.cat([image, mask[None].to(image)]), crop, size)
    return seen[:-1], float(seen[-1].sum() > LEAST_OBJECT)


def cut_and_resize(image: Tensor, crop: tuple[int, int, int, int], size: int) -> Tensor:
    """Cut (top, left, height, width) out of (C, H, W) and resize it bilinearly, without antialias: (C, size, size)."""
    top, left, height, width = crop
    part = image[:, top : top + height, left : left + width]
    return F.interpolate(part[None], size=(size, size), mode="bilinear", align_corners=False)[0]
