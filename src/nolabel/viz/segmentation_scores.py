"""The scores of a semantic segmentation as files: text, CSV, JSON, and pictures of classes and confusions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nolabel.metrics.segmentation import SegmentationScores
from nolabel.structures.files import write_bytes, write_json, write_png
from nolabel.viz.colours import Picture
from nolabel.viz.plots import bar_plot, matrix_plot

__all__ = ["class_picture", "confusion_picture", "write_segmentation_scores"]


def class_picture(scores: SegmentationScores, title: str = "") -> Picture:
    """Draw the IoU of every class by both protocols, in percent."""
    rows = scores.rows()
    groups = {
        "standard": [100 * row["iou"] for row in rows],
        "cotraining (void dropped)": [100 * row["iou_cotraining"] for row in rows],
    }
    return bar_plot(scores.space.names, groups, title=title, y_label="IoU, %")


def confusion_picture(scores: SegmentationScores, title: str = "") -> Picture:
    """Draw which classes the pixels of each true class were given, in shares of its pixels."""
    counts = scores.confusion.astype(np.float64)
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    return matrix_plot(
        shares,
        scores.space.names,
        [*scores.space.names, "void"],
        title=title,
        x_label="predicted",
        y_label="true",
    )


def write_segmentation_scores(
    scores: SegmentationScores, out: Path, *, title: str = "", facts: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write ``scores.txt``, ``classes.csv``, ``classes.png``, ``confusion.png`` and, last, ``results.json``.

    Args:
        scores: of a data set.
        out: the folder.
        title: of text and pictures.
        facts: more entries of ``results.json``, JSON values.
    """
    out = Path(out)
    return [
        write_bytes(out / "scores.txt", f"{title}\n\n{scores.text()}\n".lstrip().encode()),
        write_bytes(out / "classes.csv", scores.csv().encode()),
        write_png(out / "classes.png", class_picture(scores, title)),
        write_png(out / "confusion.png", confusion_picture(scores, title)),
        write_json(out / "results.json", {**(facts or {}), **scores.record()}),
    ]
