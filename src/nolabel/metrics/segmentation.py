"""A semantic segmentation judged by every rule that papers use, side by side, from one confusion table.

Source: spec semseg_metrics_and_datasets, 4; Co-Training specification, 5.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nolabel.labels import CITYSCAPES_19, SYNTHIA_SEQ_12, LabelSpace
from nolabel.metrics.matching import Counts
from nolabel.metrics.protocols import (
    CITYSCAPES_SUBSETS,
    SYNTHIA_SEQ_REPORTED,
    CoTrainingScores,
    cotraining_scores,
)
from nolabel.metrics.semantic import SemanticScores, VoidPredictions, semantic_scores

__all__ = ["RULES", "SegmentationScores", "class_subsets"]

RULES: Mapping[str, VoidPredictions] = {"standard": "error", "cotraining": "drop"}
"""Name of a protocol -> what becomes of void predictions on valid pixels. ``cotraining`` is the evaluator of that system;
numbers of the two must not be compared with each other."""


def class_subsets(space: LabelSpace) -> dict[str, tuple[int, ...]]:
    """Return the sets of classes over which means are reported, by their number: 19, 16 and 13 for Cityscapes.

    SYNTHIA-Seq: 12, and the 11 without fence of published numbers.
    """
    if space == CITYSCAPES_19:
        return CITYSCAPES_SUBSETS
    subsets = {str(space.num_classes): tuple(range(space.num_classes))}
    if space == SYNTHIA_SEQ_12:
        subsets[str(len(SYNTHIA_SEQ_REPORTED))] = SYNTHIA_SEQ_REPORTED
    return subsets


@dataclass(frozen=True)
class SegmentationScores:
    """Scores of a data set; all ratios in 0..1, NaN where undefined.

    Attributes:
        space: the classes.
        confusion: (C, C + 1) pixels: rows true, columns predicted, the last one void predictions.
        true_void: (C + 1,) pixels that are void by their labels, where void is scored as a class of its own.
    """

    space: LabelSpace
    confusion: Counts
    true_void: Counts | None = None

    @cached_property
    def by_rule(self) -> dict[str, SemanticScores]:
        """The scores of every protocol of ``RULES``."""
        subsets = class_subsets(self.space)
        return {
            name: semantic_scores(self.confusion, void_predictions=rule, subsets=subsets)
            for name, rule in RULES.items()
        }

    @property
    def standard(self) -> SemanticScores:
        """The standard definition: a void prediction on a valid pixel is an error."""
        return self.by_rule["standard"]

    @property
    def miou(self) -> float:
        """The mean over all classes by the standard definition."""
        return self.standard.miou

    @cached_property
    def with_void(self) -> CoTrainingScores | None:
        """Scores with void as one more class (the original's ``--void-metric``, without its NaN), in percent."""
        if self.true_void is None:
            return None
        return cotraining_scores(np.vstack([self.confusion, self.true_void]), void_is_class=True)

    def values(self) -> dict[str, float]:
        """Return the numbers that are logged: of the standard definition, with the IoU of every class."""
        iou = {f"iou/{n}": float(v) for n, v in zip(self.space.names, self.standard.iou, strict=True)}
        return self.standard.values() | iou

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each class: scores of both protocols, true pixels, and void predictions among them."""
        standard, other = self.standard, self.by_rule["cotraining"]
        return [
            {
                "class": name,
                "iou": float(standard.iou[label]),
                "iou_cotraining": float(other.iou[label]),
                "recall": float(standard.recall[label]),
                "precision": float(standard.precision[label]),
                "pixels": int(self.confusion[label].sum()),
                "void_predictions": int(self.confusion[label, -1]),
            }
            for label, name in enumerate(self.space.names)
        ]

    def text(self) -> str:
        """Return all of it as a table for people, in percent."""
        columns = ("iou", "iou_cotraining", "recall", "precision")
        lines = [f"{'class':<18}{'IoU':>8}{'(c.t.)':>8}{'recall':>8}{'prec.':>8}{'pixels':>14}"]
        for row in self.rows():
            numbers = "".join(f"{_percent(row[column]):>8}" for column in columns)
            lines.append(f"{row['class']:<18}{numbers}{row['pixels']:>14,}")
        lines += ["", f"{'mIoU over classes':<18}" + "".join(f"{name:>12}" for name in RULES)]
        for subset in class_subsets(self.space):
            means = "".join(f"{_percent(scores.subsets[subset]):>12}" for scores in self.by_rule.values())
            lines.append(f"{subset:<18}{means}")
        lines.append(
            f"{'pixel accuracy':<18}" + "".join(f"{_percent(s.accuracy):>12}" for s in self.by_rule.values())
        )
        if self.with_void is not None:
            lines.append(f"mIoU with void as a class: {self.with_void.miou:.2f}")
        void = int(self.confusion[:, -1].sum())
        if void:
            share = void / max(1, int(self.confusion.sum()))
            lines.append(
                f"void predictions on {100 * share:.2f} % of the labelled pixels (c.t. leaves them out)"
            )
        return "\n".join(lines)

    def csv(self) -> str:
        """Return the rows of the classes, and of the means, as comma-separated values; ratios in 0..1."""
        buffer = io.StringIO()
        rows = self.rows()
        writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: _cell(value) for key, value in row.items()})
        for subset in class_subsets(self.space):
            means = {name: scores.subsets[subset] for name, scores in self.by_rule.items()}
            mean = {
                "class": f"mean of {subset}",
                "iou": means["standard"],
                "iou_cotraining": means["cotraining"],
            }
            writer.writerow({key: _cell(value) for key, value in mean.items()})
        return buffer.getvalue()

    def record(self) -> dict[str, Any]:
        """Return JSON values: every number under the name of its protocol, and the table they come from."""
        return {
            "space": self.space.name,
            "protocols": {
                name: {
                    "void_predictions": RULES[name],
                    "miou": {subset: _or_none(value) for subset, value in scores.subsets.items()},
                    "pixel_accuracy": _or_none(scores.accuracy),
                    "mean_accuracy": _or_none(scores.mean_accuracy),
                    "frequency_weighted_iou": _or_none(scores.frequency_weighted_iou),
                }
                for name, scores in self.by_rule.items()
            },
            "classes": [
                {key: _or_none(value) if isinstance(value, float) else value for key, value in row.items()}
                for row in self.rows()
            ],
            "confusion": self.confusion.tolist(),
            **self._void_record(),
        }

    def _void_record(self) -> dict[str, Any]:
        if self.with_void is None or self.true_void is None:
            return {}
        miou, accuracy = self.with_void.miou / 100, self.with_void.pixel_accuracy / 100
        return {
            "void_as_class": {"miou": _or_none(miou), "pixel_accuracy": _or_none(accuracy)},
            "true_void": self.true_void.tolist(),
        }


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def _cell(value: Any) -> Any:
    return "" if isinstance(value, float) and math.isnan(value) else value


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
