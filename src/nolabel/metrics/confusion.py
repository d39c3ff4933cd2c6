"""One integer confusion table from label maps, by a single bincount."""

from __future__ import annotations

import torch
from torch import Tensor

from nolabel.errors import DataError


def confusion_matrix(prediction: Tensor, target: Tensor, num_classes: int, num_clusters: int) -> Tensor:
    """Count pixels by true class and predicted cluster.

    Args:
        prediction: integer ids of any shape; ids outside ``0..num_clusters-1`` (255, -1) are void.
        target: integer classes of the same shape; ids outside ``0..num_classes-1`` are not counted.
        num_classes: number of true classes (rows).
        num_clusters: number of predicted ids (columns but one).

    Returns:
        ``(num_classes, num_clusters + 1)`` int64. The last column counts valid pixels that the
        prediction left void, so both ways of treating them can be chosen later.

    Raises:
        DataError: shapes differ or values are not integers.
    """
    if prediction.numel() != target.numel():
        raise DataError(
            f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} differ in size",
            hint="resize the prediction to the label map before scoring it",
        )
    if prediction.is_floating_point() or target.is_floating_point():
        raise DataError("label maps must hold integers", hint="take the argmax of scores first")
    columns, rows = (ids.reshape(-1).to(torch.int64) for ids in (prediction, target))
    columns = torch.where((columns >= 0) & (columns < num_clusters), columns, num_clusters)
    rows = torch.where((rows >= 0) & (rows < num_classes), rows, num_classes)
    size = (num_classes + 1) * (num_clusters + 1)
    counts = torch.bincount(rows * (num_clusters + 1) + columns, minlength=size)
    return counts.view(num_classes + 1, num_clusters + 1)[:num_classes]
