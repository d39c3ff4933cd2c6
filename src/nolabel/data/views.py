"""A random part of an image at another size, drawn first and then cut out of the image and all its maps.

Source: UDASS specification (image) 4.4. Images are resized as OpenCV does, whose rounding the published networks saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from nolabel.config import Config
from nolabel.data.sampling import is_varied
from nolabel.labels import VOID

__all__ = ["View", "ViewConfig", "draw_view", "fitted_size"]

TRIES = 10


class ViewConfig(Config):
    """Which part of an image a training sees."""

    resize: tuple[int, int] | None = None
    """Every image is made as large as fits into this rectangle, upright or lying, with its own shape: two lengths in
    pixels. None: its own size."""
    crop: tuple[int, int] = (1024, 1024)
    """Height and width of the part; where the image is smaller, it is filled up at the right and bottom."""
    largest_share: float = Field(1.0, gt=0, le=1)
    """Below 1: parts are drawn again, up to ten times, until no class covers so much of their labelled pixels."""
    flip: float = Field(0.5, ge=0, le=1)
    """Probability of mirroring left and right."""
    distortion: bool = False
    """Whether colours are changed as in mmsegmentation (:func:`nolabel.data.photometric.distort_colours`)."""


@dataclass(frozen=True)
class View:
    """A part of an image.

    Attributes:
        size: (height, width) of the whole image after resizing.
        top, left: first row and column of the part.
        crop: its height and width, at most.
        flip: whether it is mirrored.
    """

    size: tuple[int, int]
    top: int
    left: int
    crop: tuple[int, int]
    flip: bool = False

    def image(self, image: Tensor, fill: Sequence[float] = (0.0, 0.0, 0.0)) -> Tensor:
        """Cut it out of an image.

        Args:
            image: (3, H, W) uint8.
            fill: colour in [0, 1] beyond the image.

        Returns:
            (3, *crop) float32 in [0, 1].
        """
        pixels = image.permute(1, 2, 0).numpy()
        if tuple(image.shape[-2:]) != self.size:
            pixels = cv2.resize(np.ascontiguousarray(pixels), self.size[::-1], interpolation=cv2.INTER_LINEAR)
        rows, columns = self.crop
        part = torch.from_numpy(pixels[self.top : self.top + rows, self.left : self.left + columns])
        if self.flip:
            part = part.flip(1)
        result = torch.tensor(fill)[:, None, None].expand(3, rows, columns).clone()
        result[:, : part.shape[0], : part.shape[1]] = part.permute(2, 0, 1) / 255
        return result

    def labels(self, labels: Tensor, fill: int = VOID) -> Tensor:
        """Cut it out of a map.

        Args:
            labels: (H, W) of any type; every pixel takes the label at the upper left of its place, as in OpenCV.
            fill: beyond the map.

        Returns:
            ``crop``, of the map's type.
        """
        rows, columns = (
            torch.arange(start, min(start + length, new)) * old // new
            for start, length, new, old in zip(
                (self.top, self.left), self.crop, self.size, labels.shape, strict=True
            )
        )
        # Only the part is read: drawing parts again costs little.
        part = labels[rows[:, None], columns]
        result = torch.full(self.crop, fill, dtype=labels.dtype)
        result[: len(rows), : len(columns)] = part.flip(1) if self.flip else part
        return result


def fitted_size(size: tuple[int, int], box: tuple[int, int]) -> tuple[int, int]:
    """Return the largest (height, width) of a shape that fits into a rectangle, which may be turned.

    Args:
        size: height and width of the image.
        box: two lengths, in any order: the image's longer side must not exceed the longer one, the shorter not the other.
    """
    factor = min(max(box) / max(size), min(box) / min(size))
    return int(size[0] * factor + 0.5), int(size[1] * factor + 0.5)


def draw_view(
    size: tuple[int, int],
    config: ViewConfig,
    generator: torch.Generator,
    *,
    labels: Tensor | None = None,
    num_classes: int = VOID,
) -> View:
    """Draw a part of an image.

    Args:
        size: (height, width) of the image.
        config: settings.
        generator: source of the draws.
        labels: (H, W), for ``config.largest_share``; without them it counts for nothing.
        num_classes: ids from here on are void.
    """
    resized = size if config.resize is None else fitted_size(size, config.resize)

    def start(length: int, crop: int) -> int:
        return int(torch.randint(max(length - crop, 0) + 1, (), generator=generator))

    def somewhere() -> View:
        top, left = (start(length, crop) for length, crop in zip(resized, config.crop, strict=True))
        return View(resized, top, left, config.crop)

    view = somewhere()
    if labels is not None and config.largest_share < 1:
        for _ in range(TRIES):
            if is_varied(view.labels(labels), num_classes, config.largest_share):
                break
            view = somewhere()
    flip = bool(torch.rand((), generator=generator, dtype=torch.float64) < config.flip)
    return View(view.size, view.top, view.left, view.crop, flip)
