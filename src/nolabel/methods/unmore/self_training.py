"""Which predictions of a detector become labels of its next training (CutLER; CuVLER; spec unmore 18, row 21)."""

from __future__ import annotations

from collections.abc import Iterable

import pycocotools.mask as mask_utils
import torch

from nolabel.methods.unmore.label_files import LabelledImage
from nolabel.structures import Instances

__all__ = ["CUTLER_SCORE", "CUVLER_SCORE", "confident", "merged_rounds"]

CUVLER_SCORE = 0.2
"""CuVLER takes much and lets the score weigh it (soft targets)."""
CUTLER_SCORE = 0.7
"""CutLER takes what is nearly sure and keeps the earlier labels beside it."""


def confident(images: Iterable[LabelledImage], threshold: float) -> list[LabelledImage]:
    """Keep the objects with a score of at least ``threshold``; images without any stay, empty."""
    return [image.chosen(image.instances.scores >= threshold) for image in images]


def merged_rounds(
    predicted: Iterable[LabelledImage],
    earlier: Iterable[LabelledImage],
    threshold: float = CUTLER_SCORE,
    most_overlap: float = 0.5,
) -> list[LabelledImage]:
    """Labels of the next round: confident predictions, and those earlier labels that none of them covers.

    Args:
        predicted: predictions of the detector; images are matched by ``file_name``.
        earlier: the labels it was trained on; all their images are in the result, in their order, with their ids.
        threshold: least score of a prediction.
        most_overlap: an earlier label stays if its mask's IoU with every confident prediction is below it.

    Returns:
        Predictions first; columns that only one of the two has are dropped.
    """
    found = {image.file_name: image for image in confident(predicted, threshold)}
    return [
        _merged(found[image.file_name], image, most_overlap) if image.file_name in found else image
        for image in earlier
    ]


def _merged(new: LabelledImage, old: LabelledImage, most_overlap: float) -> LabelledImage:
    if len(new.instances) and len(old.instances):
        overlap = mask_utils.iou(old.instances.masks, new.instances.masks, [0] * len(new.instances))
        old = old.chosen(torch.as_tensor(overlap).amax(1) < most_overlap)
    a, b = new.instances, old.instances
    together = Instances(
        [*a.masks, *b.masks],
        torch.cat([a.boxes, b.boxes]),
        torch.cat([a.scores, b.scores]),
        size=old.size,
    )
    columns = {name: [*new.extra[name], *old.extra[name]] for name in new.extra if name in old.extra}
    return LabelledImage(old.file_name, old.size, old.id, together, columns)
