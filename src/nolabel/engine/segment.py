"""Semantic maps of any image, with a loaded network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

import torch
from torch import Tensor

from nolabel.data.resizing import resize_image, to_bytes
from nolabel.data.void_labels import void_as_255
from nolabel.engine.predicting import PredictionOptions, limited, memory_checked, predict_each
from nolabel.engine.segmentation_inference import TestViews, predict, predict_views
from nolabel.engine.segmentor_file import SegmentorModel
from nolabel.structures import SemanticMap

__all__ = ["segment_batch", "segment_stream"]


def segment_stream(
    model: SegmentorModel, images: Iterable[Tensor], options: PredictionOptions | None = None
) -> Iterator[SemanticMap]:
    """Segment images as they come; at most one batch is in memory.

    Args:
        model: the network.
        images: (3, H_i, W_i) float RGB in [0, 1], any sizes; may never end.
        options: batches and sizes, see :func:`~nolabel.engine.predicting.predict_each`.

    Yields:
        The classes of every image, in order, at its own size; 255 where void has the largest logit; with the softmax of
        the largest logit as confidence.
    """
    return predict_each(partial(segment_batch, model), images, options or PredictionOptions())


def segment_batch(
    model: SegmentorModel, images: list[Tensor], options: PredictionOptions, views: TestViews | None = None
) -> list[SemanticMap]:
    """Segment images of one size together, looking at them once, or at several sizes and mirrored.

    Source: Co-Training specification, 2.6: resized to the network's size, logits back to the image's size.
    """
    views = views or TestViews()
    size = (images[0].shape[-2], images[0].shape[-1])
    inner = model.inference.of_network(size)
    # In bytes, as the network saw its training images.
    pixels = [to_bytes(image).cpu() for image in images]

    def at(scale: float) -> Tensor:
        scaled = (int(inner[0] * scale + 0.5), int(inner[1] * scale + 0.5))
        resized = torch.stack([resize_image(image, scaled) for image in pixels])
        return limited(resized.to(model.device).float() / 255, options.max_side)

    with memory_checked(images):
        wanted = options.output_size or size
        if views.single:
            found = predict(model.network, at(1.0), wanted)
        else:
            found = predict_views(model.network, [at(s) for s in views.scales], wanted, flip=views.flip)
    labels = void_as_255(found.labels, model.space.num_classes).cpu()
    return [
        SemanticMap(one, model.space, confidence)
        for one, confidence in zip(labels, found.confidence.float().cpu(), strict=True)
    ]
