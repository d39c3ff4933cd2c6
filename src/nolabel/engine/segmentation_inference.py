"""From an image to a label and a confidence for every pixel.

Source: Co-Training specification, 2.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.config import Config
from nolabel.models.segmentation import Segmentor

__all__ = [
    "InferenceSize",
    "Prediction",
    "TestViews",
    "label_and_confidence",
    "predict",
    "predict_views",
    "scores_at",
    "shortest_edge_size",
]


class Prediction(NamedTuple):
    """What the network thinks of an image, or of several.

    labels: (..., H, W) uint8, index of the largest logit. confidence: (..., H, W) float32, its softmax, in (0, 1].
    """

    labels: Tensor
    confidence: Tensor


class InferenceSize(Config):
    """At what size images are looked at, and at what size their labels come out."""

    shortest_edge: int = 1024
    """Length of the shorter edge, in pixels ..."""
    longest_edge: int = 2048
    """... but the longer edge has at most so many."""
    fixed: tuple[int, int] | None = None
    """Height and width instead, whatever the image's shape; the labels keep this size (for targets of mixed sizes)."""

    def of_network(self, image: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) an image of this (height, width) is resized to."""
        return self.fixed or shortest_edge_size(image, self.shortest_edge, self.longest_edge)

    def of_labels(self, image: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) of the labels of an image of this (height, width)."""
        return self.fixed or image


class TestViews(Config):
    """Looking at an image several times, and taking the mean of the probabilities (multi-scale and flip testing)."""

    __test__ = False  # no test, whatever pytest thinks of the name

    scales: tuple[float, ...] = (1.0,)
    """Sizes at which the image is looked at, as factors of the network's own (published: 0.5 to 1.75 by 0.25)."""
    flip: bool = False
    """Also mirrored, at every size."""

    @property
    def single(self) -> bool:
        """Whether there is nothing but the image as it is."""
        return self.scales == (1.0,) and not self.flip


def shortest_edge_size(size: tuple[int, int], shortest: int, longest: int) -> tuple[int, int]:
    """Return the (height, width) whose shorter edge is ``shortest``, or less if the longer would exceed ``longest``."""
    scale = shortest / min(size)
    height, width = (shortest, scale * size[1]) if size[0] < size[1] else (scale * size[0], shortest)
    if max(height, width) > longest:
        scale = longest / max(height, width)
        height, width = height * scale, width * scale
    return int(height + 0.5), int(width + 0.5)


def scores_at(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize full-size logits (B, C, H, W) bilinearly to ``size``: the softmax is taken after this, not before."""
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def label_and_confidence(logits: Tensor) -> Prediction:
    """Reduce logits (B, C, H, W) to the largest class and its softmax."""
    largest, labels = logits.max(1)
    # exp(largest) / sum exp = 1 / sum exp(x - largest); the scores of the other classes are never needed.
    confidence = (logits - largest[:, None]).exp_().sum(1).reciprocal_()
    return Prediction(labels.to(torch.uint8), confidence)


@torch.no_grad()
def predict_views(
    segmentor: Segmentor, images: Sequence[Tensor], size: tuple[int, int], *, flip: bool
) -> Prediction:
    """Label images by the mean of the probabilities of several views.

    Source: UDASS image specification, 5.1 (``--aug-test``).

    Args:
        segmentor: in evaluation mode.
        images: the batch (B, 3, H_i, W_i) in [0, 1] at several sizes.
        size: (height, width) of the result.
        flip: also take the mirrored images.
    """
    total: Tensor | None = None
    for batch in images:
        for mirrored in (False, True) if flip else (False,):
            logits = segmentor.full_size_logits(batch.flip(-1) if mirrored else batch)
            found = scores_at(logits.flip(-1) if mirrored else logits, size).softmax(1)
            total = found if total is None else total.add_(found)
    assert total is not None
    confidence, labels = (total / (len(images) * (2 if flip else 1))).max(1)
    return Prediction(labels.to(torch.uint8), confidence)


@torch.no_grad()
def predict(segmentor: Segmentor, images: Tensor, size: tuple[int, int] | None = None) -> Prediction:
    """Label images (B, 3, H, W) in [0, 1], already resized for the network.

    Args:
        segmentor: in evaluation mode, on the device of the images.
        images: the batch.
        size: (height, width) of the result, by default that of ``images``.
    """
    logits = segmentor.full_size_logits(images)
    return label_and_confidence(logits if size is None else scores_at(logits, size))
