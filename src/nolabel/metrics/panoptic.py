"""Panoptic quality of named classes or of unnamed clusters (spec cups_model 6.2 to 6.4)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from nolabel.errors import ConfigError, DataError
from nolabel.labels import LabelSpace
from nolabel.metrics.matching import (
    Assignment,
    Counts,
    Matching,
    assign,
    assign_within_groups,
    identity,
    merge_clusters,
)
from nolabel.metrics.segments import PanopticCounts, VoidRule, panoptic_counts, segment_table
from nolabel.metrics.semantic import Vector, mean_defined, ratio, semantic_scores


class PanopticScores(NamedTuple):
    """Scores of a data set, in 0..1.

    Attributes:
        pq, sq, rq: panoptic, segmentation and recognition quality, means over classes that occur.
        pq_things, sq_things, rq_things, pq_stuff, sq_stuff, rq_stuff: the same over things or stuff.
        miou, accuracy: of the semantic channel, under an assignment of its own without the split into
            things and stuff; void predictions are left out.
        class_names: names of the classes in the per-class vectors, ascending by id.
        pq_per_class, sq_per_class, rq_per_class: ``(C',)``, 0 for a class that never occurs.
        iou_per_class: semantic IoU ``(C,)`` of all classes, NaN for a class that never occurs.
        iou_sum, true_positives, false_positives, false_negatives: ``(C,)`` of all classes.
        counts: pixels ``(K, C)`` of each cluster and class.
        assignment: class of each cluster ``(K,)``, 255 for none. Computed even where it is not applied.
    """

    pq: float
    sq: float
    rq: float
    pq_things: float
    sq_things: float
    rq_things: float
    pq_stuff: float
    sq_stuff: float
    rq_stuff: float
    miou: float
    accuracy: float
    class_names: tuple[str, ...]
    pq_per_class: Vector
    sq_per_class: Vector
    rq_per_class: Vector
    iou_per_class: Vector
    iou_sum: Vector
    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]
    false_negatives: NDArray[np.int64]
    counts: Counts
    assignment: Assignment

    def values(self) -> dict[str, float]:
        """The single numbers by name, in the order they are printed."""
        return {name: value for name, value in self._asdict().items() if isinstance(value, float)}


def _mean(values: Vector, kept: NDArray[np.bool_]) -> float:
    return float(values[kept].mean()) if kept.any() else 0.0


class PanopticQuality(Metric):
    """PQ, SQ, RQ, mIoU and accuracy with unsupervised matching.

    ``update(predictions, targets)`` takes ``(B, H, W, 2)`` integers: (cluster or class, instance) and
    (class, instance); ids outside the label space are void, instance 0 is none. Each image is kept as
    a table of the segment pairs that occur (:mod:`nolabel.metrics.segments`); the cluster-to-class
    assignment is found and applied in ``compute()``. Tables are gathered over processes.

    Args:
        num_clusters: number of predicted clusters K; the classes when None.
        stuff_clusters: clusters ``0..stuff_clusters-1`` are stuff, the others things; needed when
            ``matching`` and ``split_things``.
        space: the true classes.
        split_things: match things with things and stuff with stuff only.
        one_to_one: give left-over clusters no class instead of the class they meet most.
        matching: False takes predicted ids as class ids.
        classes_mask: ``(C,)`` True for classes that count in PQ (not in mIoU or accuracy).
        void_rule: see :func:`nolabel.metrics.segments.panoptic_counts`. Published numbers of CUPS use
            "torchmetrics"; COCO and Cityscapes leader boards use "panopticapi".
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False
    rows: list[Tensor]
    rows_per_image: list[Tensor]

    def __init__(
        self,
        num_clusters: int | None,
        stuff_clusters: int | None,
        space: LabelSpace,
        *,
        split_things: bool = True,
        one_to_one: bool = False,
        matching: bool = True,
        classes_mask: Sequence[bool] | None = None,
        void_rule: VoidRule = "torchmetrics",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.space = space
        self.num_clusters = num_clusters or space.num_classes
        self.stuff_clusters = stuff_clusters
        self.split_things = split_things
        self.rule: Matching = "one_to_one" if one_to_one else "many_to_one"
        self.matching = matching
        self.classes_mask = (True,) * space.num_classes if classes_mask is None else tuple(classes_mask)
        self.void_rule: VoidRule = void_rule
        if matching and split_things and stuff_clusters is None:
            raise ConfigError(
                "matching things with things needs stuff_clusters", hint="or split_things=False"
            )
        if len(self.classes_mask) != space.num_classes:
            raise ConfigError(
                f"classes_mask has {len(self.classes_mask)} entries for {space.num_classes} classes",
                hint="one True or False for each class",
            )
        self.add_state("rows", [], dist_reduce_fx="cat")
        self.add_state("rows_per_image", [], dist_reduce_fx="cat")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add images ``(B, H, W, 2)`` (or one ``(H, W, 2)``)."""
        if predictions.ndim == 3:
            predictions, targets = predictions[None], targets[None]
        if len(predictions) != len(targets):
            raise DataError(f"{len(predictions)} predictions for {len(targets)} targets")
        for prediction, target in zip(predictions, targets, strict=True):
            table = segment_table(prediction, target).to(self.device)
            self.rows.append(table)
            self.rows_per_image.append(torch.tensor([len(table)], device=table.device))

    def compute(self) -> PanopticScores:
        """Find the assignment over all images, apply it and score."""
        rows, image = self._gathered()
        counts = self._cluster_class_counts(rows)
        assignment = self._assignment(counts)
        semantic_assignment = assign(counts, self.rule) if self.matching else identity(counts)
        semantic = semantic_scores(merge_clusters(counts, semantic_assignment), void_predictions="drop")
        applied = assignment if self.matching else identity(counts)
        is_thing = torch.zeros(self.space.num_classes, dtype=torch.bool)
        is_thing[list(self.space.things)] = True
        sums = panoptic_counts(rows, image, torch.from_numpy(applied), is_thing, self.void_rule)
        return self._scores(sums, counts, assignment, semantic.miou, semantic.accuracy, semantic.iou)

    def image_quality(self) -> Vector:
        """PQ of every image by itself under the assignment found over all of them, ``(N,)``.

        The mean over the classes that occur in the image (or are wrongly predicted there) and count; NaN where
        there are none.
        """
        rows, image = self._gathered()
        counts = self._cluster_class_counts(rows)
        applied = torch.from_numpy(self._assignment(counts) if self.matching else identity(counts))
        is_thing = torch.zeros(self.space.num_classes, dtype=torch.bool)
        is_thing[list(self.space.things)] = True
        kept = np.asarray(self.classes_mask, dtype=bool)
        starts = torch.searchsorted(image, torch.arange(self._num_images() + 1)).tolist()
        quality = []
        for first, last in itertools.pairwise(starts):
            sums = panoptic_counts(rows[first:last], image[first:last] * 0, applied, is_thing, self.void_rule)
            iou_sum, hits, wrong, missed = (values.numpy() for values in sums)
            quality.append(mean_defined(ratio(iou_sum, hits + (wrong + missed) / 2)[kept]))
        return np.asarray(quality, np.float64)

    def _num_images(self) -> int:
        states: list[Tensor] | Tensor = self.rows_per_image
        return len(states) if isinstance(states, Tensor) else sum(len(part) for part in states)

    def _gathered(self) -> tuple[Tensor, Tensor]:
        """All rows and the image of each, on the CPU; after a reduction the states are single tensors."""
        states: tuple[list[Tensor] | Tensor, ...] = (self.rows, self.rows_per_image)
        empty = torch.zeros(0, 5, dtype=torch.int64)
        rows, per_image = (
            state.cpu() if isinstance(state, Tensor) else torch.cat([start, *(part.cpu() for part in state)])
            for state, start in zip(states, (empty, empty[:, 0]), strict=True)
        )
        return rows, torch.arange(len(per_image)).repeat_interleave(per_image)

    def _cluster_class_counts(self, rows: Tensor) -> Counts:
        """Pixels ``(K, C)`` with neither side void."""
        clusters, classes = self.num_clusters, self.space.num_classes
        cluster, label = rows[:, 0], rows[:, 2]
        valid = (cluster >= 0) & (cluster < clusters) & (label >= 0) & (label < classes)
        counts = torch.zeros(clusters * classes, dtype=torch.int64)
        counts.scatter_add_(0, (cluster * classes + label)[valid], rows[:, 4][valid])
        return counts.view(clusters, classes).numpy()

    def _assignment(self, counts: Counts) -> Assignment:
        if not self.split_things or self.stuff_clusters is None:
            return assign(counts, self.rule)
        stuff, things = range(self.stuff_clusters), range(self.stuff_clusters, self.num_clusters)
        return assign_within_groups(
            counts, self.rule, [(stuff, self.space.stuff), (things, self.space.things)]
        )

    def _scores(
        self,
        sums: PanopticCounts,
        counts: Counts,
        assignment: Assignment,
        miou: float,
        accuracy: float,
        iou: Vector,
    ) -> PanopticScores:
        iou_sum, hits, wrong, missed = (values.numpy() for values in sums)
        segments = hits + (wrong + missed) / 2
        sq = iou_sum / np.maximum(hits, 1)
        pq, rq = (values / np.where(segments > 0, segments, 1) for values in (iou_sum, hits))
        kept = np.asarray(self.classes_mask, dtype=bool)
        occurs = kept & (segments > 0)
        things = np.isin(np.arange(len(kept)), self.space.things)
        groups = {"": occurs, "_things": occurs & things, "_stuff": occurs & ~things}
        means = {
            f"{name}{suffix}": _mean(values, members)
            for suffix, members in groups.items()
            for name, values in (("pq", pq), ("sq", sq), ("rq", rq))
        }
        return PanopticScores(
            **means,
            miou=miou,
            accuracy=accuracy,
            class_names=tuple(name for name, keep in zip(self.space.names, kept, strict=True) if keep),
            pq_per_class=pq[kept],
            sq_per_class=sq[kept],
            rq_per_class=rq[kept],
            iou_per_class=iou,
            iou_sum=iou_sum,
            true_positives=hits,
            false_positives=wrong,
            false_negatives=missed,
            counts=counts,
            assignment=assignment,
        )
