"""Scenes on the device, and the crops that networks look at: all boxes of an image in one operation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["CROP_SIDE", "Boxes", "Scenes"]

CROP_SIDE = 128  # pixels: what the networks were trained on


@dataclass(frozen=True)
class Boxes:
    """Boxes of several images.

    Attributes:
        corners: (N, 4) XYXY in pixels, maxima exclusive.
        scene: (N,) int64, the image of each.
    """

    corners: Tensor
    scene: Tensor

    def __len__(self) -> int:
        return len(self.corners)

    def __getitem__(self, chosen: Tensor) -> Boxes:
        return Boxes(self.corners[chosen], self.scene[chosen])

    @property
    def sides(self) -> Tensor:
        """(N, 2) width and height."""
        return self.corners[:, 2:] - self.corners[:, :2]

    def larger_than(self, area: float) -> Boxes:
        """The boxes of more than so many square pixels (and none that is turned inside out)."""
        sides = self.sides
        return self[(sides.prod(1) > area) & (sides > 0).all(1)]

    @staticmethod
    def join(parts: Sequence[Boxes]) -> Boxes:
        """All boxes of several lists, in order."""
        return Boxes(torch.cat([part.corners for part in parts]), torch.cat([part.scene for part in parts]))


class Scenes:
    """Images of any sizes in the device's memory.

    They are stored with sides enlarged to powers of two. Sampling positions are multiples of 1/256 pixel, and as shares of
    such a side they are exact in float32, so that crops do not depend on where in an image they lie.

    Args:
        images: each (3, H, W) RGB in [0, 1].
        device: where they, and what is made of them, live.
    """

    def __init__(self, images: Sequence[Tensor], device: torch.device | str) -> None:
        sizes = torch.tensor([image.shape[-2:] for image in images], dtype=torch.long).reshape(-1, 2)
        self.device = torch.device(device)
        self.heights, self.widths = sizes.to(device).unbind(1)
        self._stored = [
            functional.pad(image.to(device, torch.float32), _enlargement(image.shape)) for image in images
        ]

    def __len__(self) -> int:
        return len(self.heights)

    def limits(self, scene: Tensor) -> Tensor:
        """The largest corners in the images of boxes, (N, 4): width, height, width, height."""
        width, height = self.widths[scene], self.heights[scene]
        return torch.stack([width, height, width, height], dim=1)

    def clip(self, boxes: Boxes) -> Boxes:
        """Boxes with corners inside their images."""
        limits = self.limits(boxes.scene).to(boxes.corners.dtype)
        return Boxes(torch.minimum(boxes.corners.clamp(min=0), limits), boxes.scene)

    def rectangles(self, boxes: Boxes) -> Tensor:
        """The whole pixels that boxes touch, (N, 5) int64: image, left, top, right, bottom (exclusive)."""
        first, last = boxes.corners[:, :2].floor(), boxes.corners[:, 2:].ceil()
        return torch.cat([boxes.scene[:, None], first.long(), last.long()], dim=1)

    def keys(self, rectangles: Tensor) -> Tensor:
        """One number (N,) int64 for each rectangle, the same for the same rectangle of the same image."""
        base = int(max(self.heights.max(), self.widths.max())) + 1
        if len(self) * base**4 >= 2**63:
            raise ValueError(
                f"{len(self)} images with sides up to {base - 1} are too large to reason about at once"
            )
        scene, left, top, right, bottom = rectangles.unbind(1)
        return (((scene * base + left) * base + top) * base + right) * base + bottom

    def crops(self, rectangles: Tensor) -> Tensor:
        """Cut rectangles out and resize each to the networks' side, (N, 3, 128, 128).

        The values are those of cutting first and resizing then (bilinear, half-pixel centres, no antialias):
        neighbours beyond the crop's border are the border's.

        Source: unMORE specification, 6 "Cropping" and 14.1.
        """
        scene, left, top, right, bottom = rectangles.unbind(1)
        crops = self._stored[0].new_empty(len(rectangles), 3, CROP_SIDE, CROP_SIDE)
        for number in scene.unique().tolist():
            chosen, stored = scene == number, self._stored[number]
            x = _shares(left[chosen], right[chosen], stored.shape[-1])
            y = _shares(top[chosen], bottom[chosen], stored.shape[-2])
            places = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)
            crops[chosen] = functional.grid_sample(
                stored.expand(len(places), -1, -1, -1), places, align_corners=False
            )
        return crops


def _enlargement(shape: Sequence[int]) -> list[int]:
    """What is added right and below so that sides become powers of two."""
    return [0, _next_power(shape[-1]) - shape[-1], 0, _next_power(shape[-2]) - shape[-2]]


def _next_power(length: int) -> int:
    return 1 << max(0, length - 1).bit_length()


def _shares(first: Tensor, last: Tensor, side: int) -> Tensor:
    """Where each pixel of a resized side looks: (N, 128) from -1 to 1 along a stored side; never beyond the rectangle."""
    length = (last - first)[:, None]
    places = torch.arange(CROP_SIDE, device=first.device) + 0.5
    position = (places * (length / CROP_SIDE) - 0.5).clamp(min=0)
    position = torch.minimum(position, (length - 1).to(position.dtype)) + first[:, None]
    return (2 * position + 1) / side - 1
