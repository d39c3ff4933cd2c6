"""DropLoss: no punishment for detections where the (incomplete) pseudo labels show nothing.

Source: CUPS and CutLER; specification 2.6. A sampled box whose predicted box overlaps no labelled object by more
than a threshold may well be an object that the labels miss, so its classification loss is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nolabel.models.detection.boxes import pairwise_iou

__all__ = ["drop_loss_weights", "reference_objects"]

_REFERENCE_ROWS = 100


def drop_loss_weights(
    predicted: Sequence[Tensor],
    objects: Sequence[Tensor],
    threshold: float,
    complete: Sequence[bool] | None = None,
) -> Tensor:
    """Return the weight of every predicted box: 1 if it overlaps some object by more than ``threshold``, else 0.

    Args:
        predicted: for each image (R_i, 4) boxes as predicted by this stage.
        objects: for each image (N_i, 4) boxes of its objects; without objects every weight is 0.
        threshold: intersection over union, 0 .. 1.
        complete: for each image whether all its objects are labelled: its weights are all 1.

    Returns:
        (sum R_i,) float weights in the order of the boxes.
    """
    weights = []
    for boxes, image_objects, known in zip(
        predicted, objects, complete or [False] * len(predicted), strict=True
    ):
        if known:
            weights.append(torch.ones_like(boxes[:, 0]))
            continue
        overlap = pairwise_iou(boxes, torch.cat([image_objects, image_objects.new_zeros(1, 4)])).amax(dim=1)
        weights.append((overlap > threshold).to(boxes.dtype))
    return torch.cat(weights)


def reference_objects(matched_boxes: Tensor) -> Tensor:
    """Return what the original takes for the objects of an image, for comparisons only.

    The original counts the different objects matched by the first 100 sampled boxes and then uses that many of the
    *first rows* of the per-box list, in which objects repeat and others are missing.

    Args:
        matched_boxes: (R, 4) matched object of every sampled box.
    """
    count = len(torch.unique(matched_boxes[:_REFERENCE_ROWS], dim=0))
    return matched_boxes[:count]
