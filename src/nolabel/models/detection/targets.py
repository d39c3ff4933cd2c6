"""What a detector is trained on: the objects of one image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

__all__ = ["InstanceTarget"]


@dataclass(frozen=True)
class InstanceTarget:
    """Objects of one image; masks are kept as an id map, never as one full-size mask per object.

    Attributes:
        boxes: (N, 4) float, x0, y0, x1, y1 in pixels of this image.
        classes: (N,) int64, 0 .. classes - 1.
        instances: (H, W) integer ids, 0 = no object, id n belongs to row n - 1 of ``boxes`` and ``classes``.
    """

    boxes: Tensor
    classes: Tensor
    instances: Tensor

    def __len__(self) -> int:
        return len(self.classes)

    def to(self, device: torch.device | str) -> Self:
        """Return the same target with its tensors on ``device``."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)

    def object_masks(self, indices: Tensor) -> Tensor:
        """Return the (K, H, W) float32 0/1 masks of the objects ``indices`` (K,)."""
        return (self.instances == (indices + 1)[:, None, None]).float()
