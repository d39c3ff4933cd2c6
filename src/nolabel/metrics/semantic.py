"""Semantic segmentation scores from one confusion table, with or without cluster matching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torchmetrics import Metric

from nolabel.errors import ConfigError
from nolabel.labels import LabelSpace
from nolabel.metrics.confusion import confusion_matrix
from nolabel.metrics.matching import Assignment, Counts, Matching, assign, merge_clusters

Vector = NDArray[np.float64]
AbsentClasses = Literal["ignore", "zero"]
VoidPredictions = Literal["error", "drop"]


class SemanticScores(NamedTuple):
    """Scores of a data set; ratios in 0..1, NaN where undefined.

    Attributes:
        miou: mean of ``iou`` over the classes asked for.
        accuracy: share of valid pixels that are right.
        mean_accuracy: mean of ``recall``.
        frequency_weighted_iou: IoU weighted by the share of true pixels.
        weighted_miou: IoU weighted by given class weights; NaN without weights.
        iou, recall, precision, dice, f_score: one value for each class ``(C,)``.
        confusion: pixels ``(C, C + 1)``, rows true, columns predicted, last column void predictions.
        assignment: class of each cluster ``(K,)``, 255 for none.
        subsets: mIoU over each named class subset.
    """

    miou: float
    accuracy: float
    mean_accuracy: float
    frequency_weighted_iou: float
    weighted_miou: float
    iou: Vector
    recall: Vector
    precision: Vector
    dice: Vector
    f_score: Vector
    confusion: Counts
    assignment: Assignment
    subsets: dict[str, float]

    def values(self) -> dict[str, float]:
        """The numbers that are logged."""
        named = {f"miou_{name}": value for name, value in self.subsets.items()}
        return {"miou": self.miou, "accuracy": self.accuracy, "mean_accuracy": self.mean_accuracy} | named


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> Vector:
    """Elementwise quotient in float64, NaN where the denominator is 0."""
    numerator, denominator = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    undefined = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator != 0)


def mean_defined(values: NDArray[Any]) -> float:
    """Mean without NaN; NaN when nothing is left."""
    values = np.asarray(values, np.float64)
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def iou_per_class(confusion: Counts) -> Vector:
    """IoU ``(C,)`` of a confusion table ``(C, C)`` or ``(C, C + 1)``; NaN for a class that never occurs."""
    right = confusion.diagonal()
    return ratio(right, confusion.sum(1) + confusion[:, : len(confusion)].sum(0) - right)


def semantic_scores(
    confusion: Counts,
    *,
    void_predictions: VoidPredictions = "error",
    absent_classes: AbsentClasses = "ignore",
    class_ids: Sequence[int] | None = None,
    class_weights: Sequence[float] | None = None,
    subsets: Mapping[str, Sequence[int]] | None = None,
    assignment: Assignment | None = None,
) -> SemanticScores:
    """Score a class confusion table (spec semseg_metrics_and_datasets 4).

    Args:
        confusion: ``(C, C)`` or ``(C, C + 1)`` pixels, rows true, columns predicted, last column void.
        void_predictions: "error" counts void on a valid pixel against its class; "drop" leaves it out.
        absent_classes: classes neither true nor predicted leave the means ("ignore") or count 0 ("zero").
        class_ids: classes in the means; all by default. Pixels of other classes still count as errors.
        class_weights: weights ``(C,)`` of ``weighted_miou``.
        subsets: named class subsets to report side by side, e.g. the 16 and 13 of SYNTHIA.
        assignment: recorded in the result.
    """
    confusion = np.asarray(confusion, dtype=np.int64)
    classes = len(confusion)
    if confusion.shape[1] == classes:
        confusion = np.pad(confusion, ((0, 0), (0, 1)))
    if void_predictions == "drop":
        confusion = np.concatenate([confusion[:, :classes], np.zeros((classes, 1), np.int64)], axis=1)
    elif void_predictions != "error":
        raise ConfigError(f"unknown void_predictions {void_predictions!r}", hint="one of error, drop")
    right, true, predicted = confusion.diagonal(), confusion.sum(1), confusion[:, :classes].sum(0)
    iou = ratio(right, true + predicted - right)
    if absent_classes == "zero":
        iou = np.nan_to_num(iou)
    recall, precision = ratio(right, true), ratio(right, predicted)
    ids = np.arange(classes) if class_ids is None else np.asarray(class_ids)
    weighted = float("nan")
    if class_weights is not None:
        weights = np.asarray(class_weights, np.float64)
        weighted = float(np.sum(weights * np.nan_to_num(iou)) / weights.sum())
    return SemanticScores(
        miou=mean_defined(iou[ids]),
        accuracy=float(ratio(right.sum(), true.sum())),
        mean_accuracy=mean_defined(recall[ids]),
        frequency_weighted_iou=float(ratio(np.nansum(iou * true), true.sum())),
        weighted_miou=weighted,
        iou=iou,
        recall=recall,
        precision=precision,
        dice=ratio(2 * right, true + predicted),
        f_score=ratio(2 * precision * recall, precision + recall),
        confusion=confusion,
        assignment=np.arange(classes) if assignment is None else assignment,
        subsets={name: mean_defined(iou[list(members)]) for name, members in (subsets or {}).items()},
    )


class SemanticQuality(Metric):
    """Confusion over a data set, then scores, with optional cluster-to-class matching.

    ``update(predictions, targets)`` takes integer maps of equal shape; targets outside ``0..C-1`` (255)
    are left out, predictions outside ``0..K-1`` are void. The state is one int64 table, summed over
    processes.

    Args:
        space: the true classes, or their number.
        num_clusters: number of predicted ids; the classes by default. With "one_to_one" matching and
            more clusters than classes, the extra clusters count as void predictions.
        matching: how clusters become classes (:mod:`nolabel.metrics.matching`).
        void_predictions, absent_classes, class_ids, class_weights, subsets: see :func:`semantic_scores`.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False
    confusion: Tensor

    def __init__(
        self,
        space: LabelSpace | int,
        num_clusters: int | None = None,
        *,
        matching: Matching = "none",
        void_predictions: VoidPredictions = "error",
        absent_classes: AbsentClasses = "ignore",
        class_ids: Sequence[int] | None = None,
        class_weights: Sequence[float] | None = None,
        subsets: Mapping[str, Sequence[int]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes = space if isinstance(space, int) else space.num_classes
        self.num_clusters = num_clusters or self.num_classes
        self.matching = matching
        self.options: dict[str, Any] = {
            "void_predictions": void_predictions,
            "absent_classes": absent_classes,
            "class_ids": class_ids,
            "class_weights": class_weights,
            "subsets": subsets,
        }
        table = torch.zeros(self.num_classes, self.num_clusters + 1, dtype=torch.int64)
        self.add_state("confusion", table, dist_reduce_fx="sum")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add label maps of equal shape, e.g. ``(B, H, W)``."""
        counts = confusion_matrix(predictions, targets, self.num_classes, self.num_clusters)
        self.confusion += counts.to(self.confusion.device)

    def compute(self) -> SemanticScores:
        """Match clusters and score."""
        table = self.confusion.cpu().numpy()
        counts = table[:, :-1].T
        assignment = assign(counts, self.matching)
        confusion = merge_clusters(counts, assignment)
        confusion[:, -1] += table[:, -1]
        return semantic_scores(confusion, assignment=assignment, **self.options)
