"""One image of the detector's training."""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor

from nolabel.models.detection import MaskTarget, mask_boxes

__all__ = ["DetectorSample"]


class DetectorSample(NamedTuple):
    """An image with the objects that labels show in it.

    Attributes:
        image: (3, H, W) uint8 RGB.
        masks: (N, H, W) bool; objects may overlap.
        boxes: (N, 4) float32 XYXY in pixels, maxima exclusive.
        scores: (N,) float32, how far each label is trusted, 0 .. 1.
        trusted: () bool, whether all objects of the image are labelled.
    """

    image: Tensor
    masks: Tensor
    boxes: Tensor
    scores: Tensor
    trusted: Tensor

    @classmethod
    def from_masks(cls, image: Tensor, masks: Tensor, scores: Tensor, *, trusted: bool = False) -> Self:
        """Return the sample whose boxes are those of its masks."""
        return cls(image, masks, mask_boxes(masks), scores, torch.tensor(trusted))

    def picture(self) -> Tensor:
        """Return the image as the network takes it: (3, H, W) float in [0, 1]."""
        return self.image.float() / 255

    def target(self, *, soft: bool) -> MaskTarget:
        """Return the objects as the network takes them, with their scores as soft targets or without."""
        classes = torch.zeros(len(self.scores), dtype=torch.long, device=self.scores.device)
        return MaskTarget(self.boxes, classes, self.masks, self.scores if soft else None, bool(self.trusted))
