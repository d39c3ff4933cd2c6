"""What a detector is trained on: the objects of one image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

__all__ = ["DetectionTarget", "InstanceTarget", "MaskTarget"]


@dataclass(frozen=True)
class DetectionTarget:
    """Objects of one image, however their masks are kept.

    Attributes:
        boxes: (N, 4) float, x0, y0, x1, y1 in pixels of this image.
        classes: (N,) int64, 0 .. classes - 1.
    """

    boxes: Tensor
    classes: Tensor

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def quality(self) -> Tensor | None:
        """(N,) how far each label is trusted, 0 .. 1; ``None`` where all labels are simply right."""
        return None

    @property
    def complete(self) -> bool:
        """Whether every object of the image is labelled, so that the rest is certainly background."""
        return False

    def to(self, device: torch.device | str) -> Self:
        """Return the same target with its tensors on ``device``."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)

    def object_masks(self, indices: Tensor) -> Tensor:
        """Return the (K, H, W) float32 0/1 masks of the objects ``indices`` (K,)."""
        raise NotImplementedError


@dataclass(frozen=True)
class InstanceTarget(DetectionTarget):
    """Objects that do not overlap: an id map, never one full-size mask per object.

    Attributes:
        instances: (H, W) integer ids, 0 = no object, id n belongs to row n - 1 of ``boxes`` and ``classes``.
    """

    instances: Tensor

    def object_masks(self, indices: Tensor) -> Tensor:
        """Return the (K, H, W) float32 0/1 masks of the objects ``indices`` (K,)."""
        return (self.instances == (indices + 1)[:, None, None]).float()


@dataclass(frozen=True)
class MaskTarget(DetectionTarget):
    """Objects that may overlap, each with a score.

    Attributes:
        masks: (N, H, W) bool.
        scores: (N,) float, how far each object is trusted, 0 .. 1: a soft target of the losses.
        trusted_background: every object of the image is labelled: DropLoss drops nothing.
    """

    masks: Tensor
    scores: Tensor | None = None
    trusted_background: bool = False

    @property
    def quality(self) -> Tensor | None:
        """(N,) the scores."""
        return self.scores

    @property
    def complete(self) -> bool:
        """Whether the background is trusted."""
        return self.trusted_background

    def object_masks(self, indices: Tensor) -> Tensor:
        """Return the (K, H, W) float32 0/1 masks of the objects ``indices`` (K,)."""
        return self.masks[indices].float()
