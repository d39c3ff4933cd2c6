"""Detected objects of an image, with masks as small as the network makes them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nolabel.models.detection.cascade import Detections
from nolabel.models.detection.paste import MaskCrop, dense_masks, paste_masks

__all__ = ["InstancePrediction", "place_instances"]


@dataclass(frozen=True)
class InstancePrediction:
    """Detected objects of one image, best first; masks stay as small as the network makes them.

    Attributes:
        boxes: (N, 4) float32 in pixels of the output.
        scores: (N,) float32.
        classes: (N,) int64.
        mask_probabilities: (N, 28, 28) float32, relative to the boxes.
        image_size: (height, width) of the output.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    mask_probabilities: Tensor
    image_size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.scores)

    def mask_crops(self) -> list[MaskCrop]:
        """Return every mask drawn into the part of the image around its box."""
        return paste_masks(self.mask_probabilities, self.boxes, self.image_size)

    def masks(self) -> Tensor:
        """Return full-size masks (N, H, W) bool: N * H * W bytes."""
        return dense_masks(self.mask_crops(), self.image_size, self.boxes.device)


def place_instances(
    detections: Detections,
    mask_probabilities: Tensor,
    image_size: tuple[int, int],
    output_size: tuple[int, int],
) -> InstancePrediction:
    """Scale detections from the network input to the output, clip them and drop those without area."""
    scale = detections.boxes.new_tensor([output_size[1] / image_size[1], output_size[0] / image_size[0]] * 2)
    limit = scale.new_tensor([output_size[1], output_size[0]] * 2)
    boxes = torch.minimum((detections.boxes * scale).clamp(min=0), limit)
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return InstancePrediction(
        boxes[kept], detections.scores[kept], detections.classes[kept], mask_probabilities[kept], output_size
    )
