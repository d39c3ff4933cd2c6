"""What networks for domain adaptation give in training beside logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nolabel.models.segmentation.boxes import Box
from nolabel.models.segmentation.contract import Segmentor

__all__ = ["FeatureSegmentor", "TrainingOutputs"]


@dataclass  # not frozen: Fabric makes a copy of it with tensors in float32
class TrainingOutputs:
    """One look at images in training.

    Attributes:
        logits: by resolution, float32, each (B, num_logits, h, w): ``fused`` is the network's answer for the images;
            networks of several resolutions add ``detail``, the answer for the detail window alone, and ``context``.
        features: the four maps of the backbone for the images as a whole, finest first.
        detail_features: those for the detail window; None if there is none.
        box: the detail window, in pixels of the images; labels for ``detail`` are cut to it.
    """

    logits: dict[str, Tensor]
    features: list[Tensor]
    detail_features: list[Tensor] | None = None
    box: Box | None = None


class FeatureSegmentor(Segmentor):
    """A segmentor whose trainings also need its features, and possibly a detail window."""

    def features(self, images: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) in [0, 1] to the maps of the backbone for the images as a whole, finest first."""
        raise NotImplementedError

    def draw_box(self, size: tuple[int, int], generator: torch.Generator | None = None) -> Box | None:
        """Draw the detail window of a training step on images of ``size`` (H, W); None if the network has none."""
        raise NotImplementedError

    def training_outputs(self, images: Tensor, box: Box | None = None) -> TrainingOutputs:
        """Look at images (B, 3, H, W) in [0, 1] as training does, with the detail window that :meth:`draw_box` drew."""
        raise NotImplementedError
