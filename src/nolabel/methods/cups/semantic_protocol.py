"""The protocol of unsupervised semantic segmentation: the central square of small maps (spec cups_model 6.5).

Prediction and label are brought to a short side of 320 by taking the nearest pixel, and the central 320 x 320 are
scored without instances. With the CRF, the class probabilities and the image are brought there too, and the CRF
decides the class of every pixel; so, unlike in the panoptic map, none is void.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nolabel.errors import ConfigError
from nolabel.methods.cups.cluster_sources import ClusterMap
from nolabel.methods.cups.depthg.crops import central_square
from nolabel.methods.cups.pseudo_label_config import CrfConfig
from nolabel.methods.cups.sample_labels import refine

__all__ = ["nearest_square", "refined_square", "without_instances"]


def nearest_square(ids: Tensor, side: int) -> Tensor:
    """Resize a map to a short side of ``side`` pixels (nearest) and cut the central square.

    Args:
        ids: (H, W, ...) any type.
        side: pixels.

    Returns:
        (side, side, ...): only these pixels are looked up.
    """
    height, width = ids.shape[:2]
    rows, columns = (_nearest(size, min(height, width), side, ids.device) for size in (height, width))
    return ids[rows[:, None], columns]


def refined_square(prediction: ClusterMap, image: Tensor, side: int, config: CrfConfig) -> Tensor:
    """Return the (side, side) cluster of the central square after the dense CRF.

    Args:
        prediction: with class probabilities.
        image: (3, H, W) RGB in [0, 1].
        side: pixels.
        config: of the CRF.

    Raises:
        ConfigError: the source of the prediction knows no probabilities.
    """
    if prediction.distribution is None:
        raise ConfigError(
            "the CRF needs class probabilities, and a folder of predictions holds none",
            hint="set semantic.crf=null, or validate the model itself",
        )
    probabilities = central_square(prediction.distribution()[None], side)[0]
    small_image = central_square(image.to(probabilities.device)[None], side)[0]
    return refine(probabilities.clamp(min=1e-5).log(), small_image, config).argmax(dim=0)


def without_instances(classes: Tensor) -> Tensor:
    """Return (H, W, 2): the classes and no instances."""
    return torch.stack([classes, torch.zeros_like(classes)], dim=-1)


def _nearest(size: int, short: int, side: int, device: torch.device) -> Tensor:
    """The source pixel of every pixel of the central ``side`` along an axis, in whole numbers."""
    new_size = side * size // short
    first = (new_size - side) // 2
    return torch.arange(first, first + side, device=device) * size // new_size
