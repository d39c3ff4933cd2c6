"""Scenes on the device, and the crops that networks look at: all boxes of all images in one operation."""

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
    """Images of any sizes, one after the other in the device's memory.

    Args:
        images: each (3, H, W) RGB in [0, 1].
        device: where they, and what is made of them, live.
    """

    def __init__(self, images: Sequence[Tensor], device: torch.device | str) -> None:
        sizes = torch.tensor([image.shape[-2:] for image in images], dtype=torch.long).reshape(-1, 2)
        starts = sizes.prod(1).cumsum(0) - sizes.prod(1)
        self.pixels = torch.cat(
            [image.to(device, torch.float32).flatten(1).T for image in images] or [torch.zeros(0, 3)]
        ).contiguous()
        self.heights, self.widths = sizes.to(device).unbind(1)
        self._starts = starts.to(device)
        # 32-bit indices, where they reach, halve the time that reading takes.
        self._index_type = torch.int32 if len(self.pixels) < 2**31 else torch.int64

    def __len__(self) -> int:
        return len(self.heights)

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.pixels.device

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
        neighbours beyond the crop's border are the border's. Every pixel is a weighted sum of four, which is what an
        embedding bag computes.

        Source: unMORE specification, 6 "Cropping" and 14.1.
        """
        scene, left, top, right, bottom = rectangles.unbind(1)
        x, wx = _neighbours(left, right)
        y, wy = _neighbours(top, bottom)
        rows = self._starts[scene][:, None, None] + y * self.widths[scene][:, None, None]
        index = rows[:, :, None, :, None].to(self._index_type) + x[:, None, :, None, :].to(self._index_type)
        weight = wy[:, :, None, :, None] * wx[:, None, :, None, :]
        found = functional.embedding_bag(
            index.reshape(-1, 4), self.pixels, mode="sum", per_sample_weights=weight.reshape(-1, 4)
        )
        return found.view(-1, CROP_SIDE, CROP_SIDE, 3).permute(0, 3, 1, 2).contiguous()


def _neighbours(first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """Where each pixel of a resized side looks: two positions (N, 128, 2) in first .. last - 1, and their weights."""
    length = (last - first)[:, None]
    places = torch.arange(CROP_SIDE, device=first.device) + 0.5
    position = (places * (length / CROP_SIDE) - 0.5).clamp(min=0)
    near = torch.minimum(position.long(), length - 1)
    far = torch.minimum(near + 1, length - 1)
    share = position - near
    positions = first[:, None, None] + torch.stack([near, far], dim=-1)
    return positions, torch.stack([1 - share, share], dim=-1)
