"""What every semantic segmentation network offers, whatever is inside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from nolabel.models.segmentation.boxes import Box

__all__ = ["Segmentor", "enlarge"]


class Segmentor(nn.Module):
    """Base of the networks that give every cell of an image a score for each class.

    Subclasses implement ``forward(images) -> logits``: images (B, 3, H, W) RGB in [0, 1], normalised inside; logits
    (B, num_logits, ceil(H / stride), ceil(W / stride)).

    Attributes:
        num_logits: channels of the result.
        stride: pixels of the image per cell of the result.
    """

    num_logits: int
    stride: int

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [0, 1] to logits (B, num_logits, h, w)."""
        raise NotImplementedError

    def full_size_logits(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [0, 1] to logits (B, num_logits, H, W)."""
        return enlarge(self(images), self.stride, (images.shape[-2], images.shape[-1]))

    def window_logits(self, images: Tensor, boxes: Sequence[Box]) -> Iterator[Tensor]:
        """Give the full-size logits (B, num_logits, h, w) of windows of one size, each as if it were an image.

        Args:
            images: (B, 3, H, W) in [0, 1].
            boxes: the windows.
        """
        for box in boxes:
            yield self.full_size_logits(box.of(images))


def enlarge(logits: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """Bring logits (B, C, h, w) to the pixels of the image they belong to, bilinearly and in float32.

    Cells stand for ``stride`` pixels exactly: where the image is no multiple of the stride, what lies beyond it is cut
    off rather than squeezed in.

    Args:
        logits: (B, C, ceil(H / stride), ceil(W / stride)).
        stride: pixels per cell.
        size: (H, W) of the image.
    """
    logits = logits.float()
    if stride > 1:
        logits = F.interpolate(logits, scale_factor=stride, mode="bilinear", align_corners=False)
    return logits[..., : size[0], : size[1]]
