"""Images through a network, whatever it predicts: sizes, batches of one size, and running out of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.errors import ConfigError, DataError

__all__ = ["PredictBatch", "PredictionOptions", "equal_batches", "limited", "memory_checked", "predict_each"]

Item = TypeVar("Item")
Prediction = TypeVar("Prediction")


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


PredictBatch = Callable[[list[Tensor], PredictionOptions], list[Prediction]]
"""Predicts images (3, H, W) in [0, 1] of one size together."""


def predict_each(
    predict: PredictBatch[Prediction], images: Iterable[Tensor], options: PredictionOptions
) -> Iterator[Prediction]:
    """Predict images as they come, with at most one batch in memory.

    Neighbours of one size pass the network together; images of different sizes never do, so no result depends on the
    padding of another image.

    Args:
        predict: the network.
        images: (3, H_i, W_i) float RGB in [0, 1], any sizes; may never end.
        options: batches and sizes.

    Yields:
        The result of every image, in order.
    """
    for batch in equal_batches(((image, image) for image in images), options.batch_size):
        yield from predict([image for _, image in batch], options)


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


def limited(images: Tensor, max_side: int | None) -> Tensor:
    """Scale images (B, 3, H, W) in [0, 1] down until their longer side has at most ``max_side`` pixels."""
    height, width = images.shape[-2:]
    longest = max(height, width)
    if max_side is None or longest <= max_side:
        return images
    scale = max_side / longest
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return F.interpolate(images, size, mode="bilinear", antialias=True).clamp(0, 1)


@contextmanager
def memory_checked(images: list[Tensor]) -> Iterator[None]:
    """Say in plain words that these images do not fit into memory.

    Raises:
        DataError: they do not.
    """
    try:
        yield
    except (
        RuntimeError
    ) as error:  # OutOfMemoryError is one; the processor's allocator has no class of its own
        if isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error):
            height, width = images[0].shape[-2:]
            raise DataError(
                f"{len(images)} images of {height}x{width} pixels do not fit into memory",
                hint="use a smaller batch_size, or max_side (such as 2048) to scale large images down",
            ) from None
        raise
