"""Run-length encoded masks (COCO's compressed RLE) straight from id maps, without dense (N, H, W) arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import pycocotools.mask as mask_utils
import torch
from torch import Tensor

__all__ = ["RLE", "areas", "boxes_xyxy", "decode", "encode_crop", "encode_ids", "encode_masks"]


class RLE(TypedDict):
    """A mask: ``size`` is [height, width], ``counts`` COCO's compressed run lengths in column order."""

    size: list[int]
    counts: bytes


def encode_ids(id_map: Tensor, ids: Sequence[int]) -> list[RLE]:
    """The masks ``id_map == id`` of the given ids.

    One pass over the map finds all runs; the work per id is proportional to its own runs.

    Args:
        id_map: (H, W) integers.
        ids: which ids, in the order of the result; an id that is not in the map gives an empty mask.
    """
    height, width = id_map.shape
    flat = id_map.numpy().T.reshape(-1)
    if flat.size == 0:
        return [_compress(np.zeros(1, np.int64), height, width) for _ in ids]
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    values = flat[starts]
    ends = np.append(starts[1:], flat.size)
    order = np.argsort(values, kind="stable")
    first = np.searchsorted(values[order], ids, side="left")
    last = np.searchsorted(values[order], ids, side="right")
    masks = []
    for low, high in zip(first, last, strict=True):
        runs = order[low:high]
        borders = np.stack([starts[runs], ends[runs]], axis=1).reshape(-1)
        # COCO's canonical form: zeros first (perhaps none), and no empty run at the end.
        end = [flat.size] if borders.size == 0 or borders[-1] < flat.size else []
        masks.append(_compress(np.diff(np.concatenate([[0], borders, end])), height, width))
    return masks


def _compress(counts: npt.NDArray[np.int64], height: int, width: int) -> RLE:
    coded = mask_utils.frPyObjects(
        {"size": [height, width], "counts": counts.astype(np.int64).tolist()}, height, width
    )
    return {"size": [height, width], "counts": coded["counts"]}


def encode_crop(mask: Tensor, top: int, left: int, size: tuple[int, int]) -> RLE:
    """Encode a mask that is known in one part of the image only; work and memory are those of the part.

    Args:
        mask: (h, w) bool, inside the image.
        top, left: where its first pixel is.
        size: (H, W) of the image.
    """
    height, width = size
    part = mask.cpu().numpy()
    edges = np.zeros((part.shape[1], part.shape[0] + 2), dtype=np.int8)
    edges[:, 1:-1] = part.T
    column, row = np.nonzero(np.diff(edges, axis=1))  # starts and ends of runs in turn, column by column
    borders = (left + column) * height + top + row
    # A run that ends where the next begins (at the image's lower and upper edge) is one run.
    joined = np.flatnonzero(borders[1:-1:2] == borders[2::2]) * 2 + 1
    borders = np.delete(borders, np.concatenate([joined, joined + 1]))
    end = [height * width] if borders.size == 0 or borders[-1] < height * width else []
    return _compress(np.diff(np.concatenate([[0], borders, end])), height, width)


def encode_masks(masks: Tensor) -> list[RLE]:
    """Encode dense masks, (N, H, W) bool, one at a time."""
    return [
        {"size": [mask.shape[0], mask.shape[1]], "counts": mask_utils.encode(_column_major(mask))["counts"]}
        for mask in masks
    ]


def _column_major(mask: Tensor) -> npt.NDArray[np.uint8]:
    return np.asfortranarray(mask.numpy().astype(np.uint8))


def decode(mask: RLE) -> Tensor:
    """The mask as (H, W) bool."""
    return torch.from_numpy(np.ascontiguousarray(mask_utils.decode(mask))).bool()


def areas(masks: Sequence[RLE]) -> Tensor:
    """Pixels of each mask, (N,) int64."""
    counted = np.asarray(mask_utils.area(list(masks)) if masks else [], dtype=np.int64)
    return torch.from_numpy(counted.reshape(-1))


def boxes_xyxy(masks: Sequence[RLE]) -> Tensor:
    """The tight box of each mask, (N, 4) float32 XYXY with exclusive maxima; (0, 0, 0, 0) where empty."""
    boxes = np.asarray(mask_utils.toBbox(list(masks)) if masks else [], dtype=np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return torch.from_numpy(boxes)
