"""Objects of any image, batch or stream of images, with a loaded detector."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

import torch
from torch import Tensor

from nolabel.data.resizing import resize_image, to_bytes
from nolabel.engine.predicting import PredictionOptions, memory_checked, predict_each
from nolabel.methods.unmore.detector_data import shortest_edge_size
from nolabel.methods.unmore.detector_model import DetectorModel
from nolabel.models.detection import InstancePrediction
from nolabel.structures import Instances
from nolabel.structures.rle import encode_crop

__all__ = ["detect_batch", "detect_stream", "to_instances"]


def detect_stream(
    model: DetectorModel, images: Iterable[Tensor], options: PredictionOptions | None = None
) -> Iterator[Instances]:
    """Detect objects in images as they come; at most one batch is in memory.

    Args:
        model: the detector.
        images: (3, H_i, W_i) float RGB in [0, 1], any sizes; may never end.
        options: batches and sizes, see :func:`~nolabel.engine.predicting.predict_each`.

    Yields:
        The objects of every image, best first, at the image's own size.
    """
    return predict_each(partial(detect_batch, model), images, options or PredictionOptions())


def detect_batch(model: DetectorModel, images: list[Tensor], options: PredictionOptions) -> list[Instances]:
    """Detect objects in images of one size together.

    As detectron2 does: images are scaled in bytes to the network's shorter side, or less where the longer side would
    become too long; ``options.max_side`` lowers that limit.
    """
    size = (images[0].shape[-2], images[0].shape[-1])
    short, long = model.input_sides
    inner = shortest_edge_size(size, short, min(long, options.max_side or long))
    with memory_checked(images):
        resized = [resize_image(to_bytes(image).cpu(), inner) for image in images]
        batch = torch.stack(resized).to(model.device).float() / 255
        found = model.network.predict(batch, [options.output_size or size] * len(images))
        return [to_instances(prediction, model.confidence_threshold) for prediction in found]


def to_instances(prediction: InstancePrediction, least_score: float = 0.0) -> Instances:
    """Draw the masks of the objects that score at least ``least_score`` and encode them."""
    kept = prediction.scores >= least_score
    # A hundred masks of 28 x 28 are fetched from an accelerator at once; drawn there, they would come one by one.
    boxes, scores, classes, probabilities = (
        values[kept].cpu()
        for values in (prediction.boxes, prediction.scores, prediction.classes, prediction.mask_probabilities)
    )
    chosen = InstancePrediction(boxes, scores, classes, probabilities, prediction.image_size)
    masks = [encode_crop(crop.mask, crop.top, crop.left, chosen.image_size) for crop in chosen.mask_crops()]
    return Instances(masks, chosen.boxes, chosen.scores, size=chosen.image_size)
