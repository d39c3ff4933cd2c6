"""Panoptic prediction for any image, batch or stream of images (CUPS, inference)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.engine.tracking import InstanceTracker
from nolabel.errors import ConfigError, DataError
from nolabel.methods.cups.model_file import CupsModel
from nolabel.models.panoptic import PanopticPrediction
from nolabel.structures import PanopticMap

__all__ = [
    "PredictionOptions",
    "equal_batches",
    "predict_clusters",
    "predict_images",
    "predict_stream",
    "to_panoptic_map",
]

Item = TypeVar("Item")


@dataclass(frozen=True)
class PredictionOptions:
    """How images go through the network.

    Args:
        batch_size: images of one size that are predicted together; larger is faster on an accelerator only.
        output_size: (height, width) of the results; that of each image by default.
        max_side: larger images are scaled down until their longer side has this many pixels, for the network alone:
            the size of the result stays.

    Raises:
        ConfigError: a number below 1.
    """

    batch_size: int = 1
    output_size: tuple[int, int] | None = None
    max_side: int | None = None

    def __post_init__(self) -> None:
        numbers = {"batch_size": self.batch_size, "max_side": self.max_side}
        for name, value in numbers.items():
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be 1 or more, not {value}")
        if self.output_size is not None and (len(self.output_size) != 2 or min(self.output_size) < 1):
            raise ConfigError(f"output_size must be (height, width) in pixels, not {self.output_size}")


def predict_clusters(model: CupsModel, images: Sequence[Tensor]) -> Tensor:
    """Return the (B, H, W, 2) int64 maps (cluster, instance) of images of one size, 255 = void cluster."""
    predictions = model.network.predict(images)
    return torch.stack([torch.stack(prediction.cluster_maps(), dim=-1) for prediction in predictions])


def predict_images(
    model: CupsModel, images: Sequence[Tensor], options: PredictionOptions | None = None
) -> list[PanopticMap]:
    """Predict every image.

    Neighbours of one size pass the network together (``options.batch_size``); images of different sizes never do,
    so no result depends on the padding of another image.

    Args:
        model: network and the meaning of its clusters.
        images: (3, H_i, W_i) float RGB in [0, 1], any sizes.
        options: batches and sizes.

    Returns:
        One map for each image, in the model's output space; scores by instance id.

    Raises:
        DataError: no image, or one that does not fit into memory.
    """
    options = options or PredictionOptions()
    return [
        result
        for batch in equal_batches(((image, image) for image in images), options.batch_size)
        for result in _predict_batch(model, [image for _, image in batch], options)
    ]


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
    options = options or PredictionOptions()
    for batch in equal_batches(((image, image) for image in images), options.batch_size):
        for result in _predict_batch(model, [image for _, image in batch], options):
            yield result if tracker is None else tracker.update(result)


def equal_batches(items: Iterable[tuple[Item, Tensor]], size: int) -> Iterator[list[tuple[Item, Tensor]]]:
    """Group (anything, image) into lists of up to ``size`` neighbours whose images have one shape."""
    batch: list[tuple[Item, Tensor]] = []
    for item in items:
        if batch and batch[0][1].shape != item[1].shape:
            yield batch
            batch = []
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _predict_batch(model: CupsModel, images: list[Tensor], options: PredictionOptions) -> list[PanopticMap]:
    """Predict images of one size together."""
    height, width = images[0].shape[-2:]
    output_size = options.output_size or (height, width)
    try:
        batch = torch.stack([image.to(_device(model)) for image in images])
        longest = max(height, width)
        if options.max_side is not None and longest > options.max_side:
            scale = options.max_side / longest
            size = (max(1, round(height * scale)), max(1, round(width * scale)))
            batch = F.interpolate(batch, size, mode="bilinear", antialias=True).clamp(0, 1)
        predictions = model.network.predict(batch, [output_size] * len(images))
    except (
        RuntimeError
    ) as error:  # OutOfMemoryError is one; the processor's allocator has no class of its own
        if isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error):
            raise DataError(
                f"{len(images)} images of {height}x{width} pixels do not fit into memory",
                hint="use a smaller batch_size, or max_side (such as 2048) to scale large images down",
            ) from None
        raise
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
