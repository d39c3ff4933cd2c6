"""How the published systems turn a confusion table into the numbers they print.

The standard definitions are :func:`nolabel.metrics.semantic.semantic_scores`. Here are class subsets,
class weights and the evaluators that differ from the standard, so that published numbers can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from nolabel.metrics.matching import Counts
from nolabel.metrics.semantic import Vector, mean_defined, ratio

# Cityscapes train ids compared for models trained on SYNTHIA (spec udass_image 5.1).
CITYSCAPES_SUBSETS: dict[str, tuple[int, ...]] = {
    "19": tuple(range(19)),
    "16": (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18),
    "13": (0, 1, 2, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18),
}

# The 11 of 12 classes that SYNTHIA-Seq to Cityscapes-Seq reports: fence (3) takes part in the confusion
# table but its IoU is left out (spec udass_video 6).
SYNTHIA_SEQ_REPORTED: tuple[int, ...] = (0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11)

# SceneDINO's weights of the 19 Cityscapes classes, used to select models (spec scenedino 11.1).
SCENEDINO_CLASS_WEIGHTS: tuple[float, ...] = (4, 2, 2, 1, 1, 1, 1, 1, 2, 2, 1, 1, 1, 2, 1, 1, 1, 1, 1)


class CoTrainingScores(NamedTuple):
    """Percentages of the Co-Training evaluator.

    Attributes:
        miou, frequency_weighted_iou, mean_precision, pixel_accuracy: single numbers.
        iou: IoU of the 19 named classes.
    """

    miou: float
    frequency_weighted_iou: float
    mean_precision: float
    pixel_accuracy: float
    iou: Vector


def cotraining_scores(
    confusion: Counts, *, void_is_class: bool = False, reference_compat: bool = False
) -> CoTrainingScores:
    """Score like the evaluator of Co-Training (spec cotraining 5).

    It drops pixels predicted void, weights by predicted frequency and averages precision where others
    average recall.

    Args:
        confusion: ``(20, 20)`` pixels, rows true, class 19 is void.
        void_is_class: its void mode, in which 19 is an ordinary class and every class counts in the
            means; otherwise row and column 19 are left out and a class counts where it occurs.
        reference_compat: in the void mode, take means that are NaN as soon as one class is undefined.
    """
    size = len(confusion) if void_is_class else len(confusion) - 1
    block = np.asarray(confusion)[:size, :size]
    right, true, predicted = block.diagonal(), block.sum(1), block.sum(0)
    iou = ratio(right, true + predicted - right)
    precision = ratio(right, predicted)
    nan_spreads = void_is_class and reference_compat  # the original's means are not NaN-aware in this mode
    mean: Callable[[Vector], Any] = np.mean if nan_spreads else mean_defined
    total: Callable[[Vector], Any] = np.sum if nan_spreads else np.nansum
    if void_is_class:
        miou = mean(iou)
    else:
        iou = np.where(predicted > 0, iou, np.nan)  # a class never predicted has no IoU but counts as 0
        miou = ratio(total(iou), np.count_nonzero(true + predicted))
    return CoTrainingScores(
        miou=100 * float(miou),
        frequency_weighted_iou=100 * float(ratio(total(iou * predicted), predicted.sum())),
        mean_precision=100 * float(mean(precision)),
        pixel_accuracy=100 * float(ratio(right.sum(), block.sum())),
        iou=100 * iou[: len(confusion) - 1],
    )
