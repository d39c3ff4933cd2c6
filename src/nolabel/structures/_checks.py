"""Turning what people pass (numpy, torch, lists) into CPU tensors of the right shape, or saying what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nolabel.errors import DataError

__all__ = ["as_tensor", "distinct", "integer_map", "need_labels_of", "need_shape"]

_COUNTABLE = 1 << 22


def as_tensor(value: Any, name: str) -> Tensor:
    """A plain CPU tensor of ``value`` without gradient.

    Raises:
        DataError: the value is not numeric.
    """
    try:
        if isinstance(value, Tensor):
            return value.detach().as_subclass(Tensor).cpu()
        array = np.asarray(value)
        if array.dtype == np.uint16:  # torch can hardly compute with it
            array = array.astype(np.int32)
        # A copy: results must not change when the caller's array does, nor share memory with a read-only one.
        return torch.from_numpy(np.array(array, order="C"))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{name}: expected an array or a tensor of numbers, got {type(value).__name__}"
        ) from error


def need_shape(tensor: Tensor, name: str, shape: Sequence[int | str]) -> Tensor:
    """Check a shape; entries that are words (``"H"``) may be any size.

    Raises:
        DataError: the shape does not fit; the message says both.
    """
    fits = tensor.ndim == len(shape) and all(
        isinstance(want, str) or want == have for want, have in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        expected = ", ".join(str(size) for size in shape)
        raise DataError(f"{name}: expected shape ({expected}), got {tuple(tensor.shape)}")
    return tensor


def integer_map(value: Any, name: str, shape: Sequence[int | str] = ("H", "W")) -> Tensor:
    """An int64 CPU tensor of the given shape.

    Raises:
        DataError: wrong shape, or not integers.
    """
    tensor = need_shape(as_tensor(value, name), name, shape)
    if tensor.is_floating_point() or tensor.is_complex():
        raise DataError(
            f"{name}: expected integers, got {str(tensor.dtype).removeprefix('torch.')}",
            hint="take the arg max of scores, or cast label maps to an integer type first",
        )
    return tensor.long()


def need_labels_of(labels: Tensor, name: str, num_classes: int, space_name: str) -> Tensor:
    """Check that a label map holds only 0..num_classes-1 and 255.

    Raises:
        DataError: other values; the message lists some.
    """
    wrong = (labels < 0) | ((labels >= num_classes) & (labels != 255))
    if bool(wrong.any()):
        found = torch.unique(labels[wrong])[:5].tolist()
        raise DataError(
            f"{name}: expected labels 0..{num_classes - 1} or 255 of {space_name!r}, found {found}",
            hint="map raw ids with nolabel.labels.raw_table first",
        )
    return labels


def distinct(ids: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct values of a map of integers, sorted, and the position of every pixel's value among them.

    The same as ``torch.unique(ids, return_inverse=True)``, which sorts all pixels; maps of small ids are counted
    instead (about ten times as fast at 1024x2048).
    """
    low, high = (int(value) for value in ids.aminmax()) if ids.numel() else (0, 0)
    if ids.numel() == 0 or high - low > _COUNTABLE:
        return torch.unique(ids, return_inverse=True)
    present = torch.bincount((ids - low).reshape(-1), minlength=high - low + 1) > 0
    return present.nonzero()[:, 0] + low, (present.cumsum(0) - 1)[ids - low]
