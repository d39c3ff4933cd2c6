"""Panoptic prediction for any image (CUPS, inference)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nolabel.methods.cups.model_file import CupsModel
from nolabel.models.panoptic import PanopticPrediction
from nolabel.structures import PanopticMap

__all__ = ["predict_clusters", "predict_images", "to_panoptic_map"]


def predict_clusters(model: CupsModel, images: Sequence[Tensor]) -> Tensor:
    """Return the (B, H, W, 2) int64 maps (cluster, instance) of images of one size, 255 = void cluster."""
    predictions = model.network.predict(images)
    return torch.stack([torch.stack(prediction.cluster_maps(), dim=-1) for prediction in predictions])


def predict_images(model: CupsModel, images: Sequence[Tensor]) -> list[PanopticMap]:
    """Predict every image.

    Args:
        model: network and the meaning of its clusters.
        images: (3, H_i, W_i) float RGB in [0, 1], any sizes.

    Returns:
        One map for each image, in the model's output space; scores by instance id.
    """
    predictions = model.network.predict([image.to(_device(model)) for image in images])
    return [to_panoptic_map(model, prediction) for prediction in predictions]


def to_panoptic_map(model: CupsModel, prediction: PanopticPrediction) -> PanopticMap:
    """Translate clusters into the model's output space; void clusters lose their instances."""
    cluster, instance = (part.cpu() for part in prediction.cluster_maps())
    semantic = model.lookup()[cluster.clamp(max=255)]
    instance = torch.where(semantic == 255, 0, instance)
    things = [segment for segment in prediction.panoptic.segments if segment.is_thing]
    scores = {number + 1: float(segment.score or 0.0) for number, segment in enumerate(things)}
    present = set(torch.unique(instance).tolist())
    return PanopticMap(
        semantic=semantic,
        instance=instance,
        space=model.output_space,
        scores={number: score for number, score in scores.items() if number in present},
    )


def _device(model: CupsModel) -> torch.device:
    return model.network.pixel_mean.device
