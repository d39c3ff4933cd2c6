"""A window that slides over an image, for networks trained on crops.

Source: UDASS image specification, 2.2 (test-time sliding window).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nolabel.models.segmentation.boxes import Box, sliding_boxes
from nolabel.models.segmentation.contract import Segmentor

__all__ = ["SlidingWindow", "sliding_logits"]


@dataclass(frozen=True)
class SlidingWindow:
    """A grid of windows.

    Attributes:
        size: (height, width) of a window, in pixels; where an image is shorter, the window is as short.
        stride: (rows, columns) from one window to the next; the last of an axis is shifted back into the image.
    """

    size: tuple[int, int]
    stride: tuple[int, int]

    def boxes(self, image: tuple[int, int]) -> list[Box]:
        """Return the windows on an image of this (height, width), row by row."""
        return sliding_boxes(image, self.size, self.stride)

    def slides_over(self, image: tuple[int, int]) -> bool:
        """Say whether an image of this (height, width) has more than one window."""
        return image[0] > self.size[0] or image[1] > self.size[1]


def sliding_logits(network: Segmentor, images: Tensor, window: SlidingWindow) -> Tensor:
    """Map images (B, 3, H, W) in [0, 1] to logits (B, C, H, W): the mean over all windows that see a pixel.

    Args:
        network: in evaluation mode; HRDA shares work between windows, others are given one after the other.
        images: the batch.
        window: size and step.
    """
    size = (images.shape[-2], images.shape[-1])
    boxes = window.boxes(size)
    total: Tensor | None = None
    count = images.new_zeros(size, dtype=torch.float32)
    for box, part in zip(boxes, network.window_logits(images, boxes), strict=True):
        if total is None:
            total = part.new_zeros((*part.shape[:2], *size))
        box.of(total).add_(part)
        box.of(count).add_(1)
    assert total is not None
    return total.div_(count)
