"""Panoptic prediction for any image, batch or stream of images (CUPS, inference)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from nolabel.engine.predicting import PredictionOptions, limited, memory_checked, predict_each
from nolabel.engine.tracking import InstanceTracker
from nolabel.methods.cups.model_file import CupsModel
from nolabel.models.panoptic import PanopticPrediction
from nolabel.structures import PanopticMap

__all__ = ["predict_batch", "predict_clusters", "predict_images", "predict_stream", "to_panoptic_map"]


def predict_clusters(model: CupsModel, images: Sequence[Tensor]) -> Tensor:
    """Return the (B, H, W, 2) int64 maps (cluster, instance) of images of one size, 255 = void cluster."""
    predictions = model.network.predict(images)
    return torch.stack([torch.stack(prediction.cluster_maps(), dim=-1) for prediction in predictions])


def predict_images(
    model: CupsModel, images: Sequence[Tensor], options: PredictionOptions | None = None
) -> list[PanopticMap]:
    """Predict every image.

    Args:
        model: network and the meaning of its clusters.
        images: (3, H_i, W_i) float RGB in [0, 1], any sizes.
        options: batches and sizes, see :func:`~nolabel.engine.predicting.predict_each`.

    Returns:
        One map for each image, in the model's output space; scores by instance id.

    Raises:
        DataError: no image, or one that does not fit into memory.
    """
    return list(predict_stream(model, images, options))


def predict_stream(
    model: CupsModel,
    images: Iterable[Tensor],
    options: PredictionOptions | None = None,
    tracker: InstanceTracker | None = None,
) -> Iterator[PanopticMap]:
    """Predict frames as they come; at most one batch is in memory.

    Args:
        model: network and the meaning of its clusters.
        images: (3, H, W) float RGB in [0, 1]; may never end.
        options: batches and sizes. Results come after every ``batch_size`` frames of one size.
        tracker: keeps instance ids over the frames.

    Yields:
        The result of every frame, in order.
    """
    for result in predict_each(partial(predict_batch, model), images, options or PredictionOptions()):
        yield result if tracker is None else tracker.update(result)


def predict_batch(model: CupsModel, images: list[Tensor], options: PredictionOptions) -> list[PanopticMap]:
    """Predict images of one size together."""
    height, width = images[0].shape[-2:]
    with memory_checked(images):
        batch = limited(torch.stack([image.to(_device(model)) for image in images]), options.max_side)
        sizes = [options.output_size or (height, width)] * len(images)
        predictions = model.network.predict(batch, sizes)
    return [to_panoptic_map(model, prediction) for prediction in predictions]


def to_panoptic_map(model: CupsModel, prediction: PanopticPrediction) -> PanopticMap:
    """Translate clusters into the model's output space; void clusters lose their instances."""
    cluster, instance = prediction.cluster_maps()
    semantic = model.lookup().to(cluster.device)[cluster.clamp(max=255)]
    instance = torch.where(semantic == 255, 0, instance).cpu()
    things = [segment for segment in prediction.panoptic.segments if segment.is_thing]
    present = torch.bincount(instance.reshape(-1), minlength=len(things) + 1) > 0
    scores = {
        number: float(segment.score or 0.0)
        for number, segment in enumerate(things, start=1)
        if bool(present[number])
    }
    return PanopticMap(semantic.cpu(), instance, model.output_space, scores)


def _device(model: CupsModel) -> torch.device:
    return model.network.pixel_mean.device
