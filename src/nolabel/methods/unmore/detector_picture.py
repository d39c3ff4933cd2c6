"""A look into the detector's training: image, labels and what the network finds, side by side."""

from __future__ import annotations

from pathlib import Path

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from nolabel.methods.unmore.detector_sample import DetectorSample
from nolabel.models.detection import InstancePrediction
from nolabel.structures.files import write_png
from nolabel.viz import instance_overlay, side_by_side

__all__ = ["draw_training_picture"]

HEIGHT = 256
"""Of the pictures, pixels."""
LEAST_SCORE = 0.5
"""Of the predictions that are drawn."""


def draw_training_picture(path: Path, sample: DetectorSample, found: InstancePrediction) -> Path:
    """Write image, labels and predictions of a training image as one PNG."""
    picture = sample.picture().cpu()
    masks = found.masks()[found.scores >= LEAST_SCORE].cpu()
    columns: list[ArrayLike | Tensor] = [
        picture,
        instance_overlay(picture, _id_map(sample.masks.cpu())),
        instance_overlay(picture, _id_map(masks)),
    ]
    return write_png(path, side_by_side(columns, ["image", "labels", "prediction"], height=HEIGHT))


def _id_map(masks: Tensor) -> Tensor:
    """(H, W) int64 of masks (N, H, W), the best first: earlier ones lie on top."""
    numbers = torch.arange(len(masks), 0, -1)[:, None, None]
    if len(masks) == 0:
        return torch.zeros(masks.shape[1:], dtype=torch.long)
    height = (masks * numbers).amax(dim=0)
    return torch.where(height > 0, len(masks) + 1 - height, 0)
