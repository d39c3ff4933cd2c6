"""The pixels that the camera's own car covers: they get no pseudo-labels.

Source: Co-Training specification, section 4 (ego mask).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nolabel.data.resizing import resize_labels
from nolabel.errors import DataError

__all__ = ["read_mask", "union_of"]


def read_mask(path: str | Path, size: tuple[int, int] | None = None) -> Tensor:
    """Read a mask picture, (H, W) bool, True where it is not black.

    Args:
        path: a picture of any kind; the original's is ``ego_vehicle_mask.png`` of 1024x2048 pixels.
        size: (height, width) to which it is resized (nearest pixel).

    Raises:
        DataError: it cannot be read.
    """
    try:
        with Image.open(path) as picture:
            mask = torch.from_numpy(np.array(picture.convert("L"))) > 0
    except OSError as error:
        raise DataError(f"cannot read the mask {path}: {error}") from error
    return mask if size is None else resize_labels(mask, size)


def union_of(maps: Iterable[Tensor], raw_id: int = 1) -> Tensor:
    """Return (H, W) bool: where any of the maps (H, W) of raw ids has ``raw_id`` (1 is the ego vehicle of Cityscapes).

    Raises:
        DataError: there are no maps.
    """
    mask: Tensor | None = None
    for labels in maps:
        mask = labels == raw_id if mask is None else mask | (labels == raw_id)
    if mask is None:
        raise DataError("an ego-vehicle mask needs at least one label map")
    return mask
