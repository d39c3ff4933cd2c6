"""Windows of an image: the grid that slides over it, and the box of a crop."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Box", "crop_box", "sliding_boxes"]


class Box(NamedTuple):
    """A window, in pixels: rows ``top`` .. ``bottom - 1``, columns ``left`` .. ``right - 1``."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    def of(self, image: Tensor) -> Tensor:
        """View this window of an image (..., H, W)."""
        return image[..., self.top : self.bottom, self.left : self.right]

    def scaled_down(self, divisor: float) -> Box:
        """Return the window on a grid of cells of ``divisor`` pixels; parts of cells at its start and end go."""
        return Box(*(int(edge / divisor) for edge in self))

    def moved(self, rows: int, columns: int) -> Box:
        """Return the window so many pixels farther down and right."""
        return Box(self.top + rows, self.bottom + rows, self.left + columns, self.right + columns)


def sliding_boxes(size: tuple[int, int], window: tuple[int, int], stride: tuple[int, int]) -> list[Box]:
    """Return the windows that cover an image, row by row; the last of an axis is shifted back inside.

    Args:
        size: (height, width) of the image.
        window: (height, width) of a window; where the image is shorter, the window is as short.
        stride: (rows, columns) from one window to the next.

    Source: UDASS image specification, 2.2 (inference).
    """
    axes = []
    for length, extent, step in zip(size, window, stride, strict=True):
        count = max(length - extent + step - 1, 0) // step + 1
        ends = [min(index * step + extent, length) for index in range(count)]
        axes.append([(max(end - extent, 0), end) for end in ends])
    rows, columns = axes
    return [Box(*row, *column) for row in rows for column in columns]


def crop_box(
    size: tuple[int, int], crop: tuple[int, int], *, unit: int, generator: torch.Generator | None = None
) -> Box:
    """Draw the window of a crop; its top, then its left edge, are multiples of ``unit``.

    Args:
        size: (height, width) of the image.
        crop: (height, width) of the crop; where the image is not larger, the crop is the whole axis and nothing is
            drawn for it.
        unit: pixels.
        generator: on the CPU.

    Source: UDASS image specification, 2.2 (training, step 2).
    """
    edges = []
    for length, extent in zip(size, crop, strict=True):
        places = (length - extent + 1) // unit
        drawn = int(torch.randint(places, (), generator=generator)) if places > 1 else 0
        edges += [unit * drawn, unit * drawn + min(extent, length)]
    return Box(*edges)
