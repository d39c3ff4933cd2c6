"""A label for every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from nolabel.labels import VOID, LabelSpace
from nolabel.structures._checks import integer_map, need_labels_of
from nolabel.structures._result import Result, destination
from nolabel.structures.files import write_png
from nolabel.structures.pictures import Picture, blend

__all__ = ["SemanticMap"]


@dataclass(frozen=True, eq=False)
class SemanticMap(Result):
    """A semantic segmentation.

    Args:
        labels: (H, W) integers of ``space``, 255 void; stored as int64.
        space: what the labels mean.
        confidence: (H, W) float in 0..1, probability of each pixel's label, from networks that say it.

    Raises:
        DataError: another shape, not integers, or labels outside the space.
    """

    labels: Tensor
    space: LabelSpace
    confidence: Tensor | None = None

    def __post_init__(self) -> None:
        labels = integer_map(self.labels, "labels")
        object.__setattr__(
            self, "labels", need_labels_of(labels, "labels", self.space.num_classes, self.space.name)
        )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.labels.shape[0], self.labels.shape[1]

    def colours(self) -> Picture:
        """The classes in the colours of the space, (H, W, 3) uint8; void is black."""
        return self.space.palette[self.labels.numpy()]

    def overlay(self, image: Any, alpha: float = 0.6) -> Picture:
        """The colours over an image, (H, W, 3) uint8; void shows the image."""
        return blend(image, self.colours(), alpha, (self.labels != VOID).numpy())

    def save(self, path: str | Path, stem: str | None = None) -> list[Path]:
        """Write ``<stem>_semantic.png``: 8 bits, value = label, with the palette of the space."""
        folder, stem = destination(path, stem)
        labels = self.labels.numpy().astype(np.uint8)
        return [write_png(folder / f"{stem}_semantic.png", labels, self.space.palette)]
