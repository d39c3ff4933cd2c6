"""What a validation leaves behind: a table, ``results.json`` and ``report.html``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nolabel import viz
from nolabel.data import LabelledDataset
from nolabel.engine.run_folder import surroundings
from nolabel.labels import VOID
from nolabel.methods.cups.kept_predictions import KeptPredictions
from nolabel.methods.cups.validation_pictures import compared_pictures, write_overlays
from nolabel.structures.files import write_json

if TYPE_CHECKING:
    from nolabel.methods.cups.validate import ValidationResult

__all__ = ["result_record", "save_results", "score_table", "write_report"]

EXTREMES = 3  # best and worst images in the report


def score_table(result: ValidationResult) -> str:
    """Return the scores in percent as text: totals, published values, one line for each class."""
    scores, rows = result.scores, [_headline(result), ""]
    semantic_only = result.config.semantic.center_crop is not None
    if not semantic_only:
        rows.append(f"{'':<18}{'PQ':>7}{'SQ':>7}{'RQ':>7}")
        for name, suffix in (("all", ""), ("things", "_things"), ("stuff", "_stuff")):
            values = (getattr(scores, f"{kind}{suffix}") for kind in ("pq", "sq", "rq"))
            rows.append(f"{name:<18}" + "".join(f"{_percent(value):>7}" for value in values))
    rows.append(f"{'mIoU':<18}{_percent(scores.miou):>7}")
    rows.append(f"{'accuracy':<18}{_percent(scores.accuracy):>7}")
    ours = scores.values()
    for name, value in result.config.published.items():
        rows.append(f"{name:<18}{_percent(ours[name]):>7}  published: {value:.1f}")
    rows += ["", f"{'class':<18}{'PQ':>7}{'SQ':>7}{'RQ':>7}{'IoU':>7}  {'found':>7}{'wrong':>7}{'missed':>7}"]
    for row in _class_rows(result):
        if semantic_only:
            row = {**row, "pq": math.nan, "sq": math.nan, "rq": math.nan}
        numbers = "".join(f"{_percent(row[key]):>7}" for key in ("pq", "sq", "rq", "iou"))
        counts = "".join(f"{row[key]:>7}" for key in ("found", "wrong", "missed"))
        mark = "  (not counted)" if row["class"] in result.config.ignored_classes else ""
        rows.append(f"{row['class']:<18}{numbers}  {counts}{mark}")
    rows += _warnings(result)
    return "\n".join(rows)


def result_record(result: ValidationResult) -> dict[str, Any]:
    """Return the content of ``results.json``: the protocol with its settings, scores in 0..1, counts, assignment."""
    scores = result.scores
    return {
        "protocol": result.config.protocol,
        "changed_settings": result.config.changes(),
        "settings": result.config.model_dump(mode="json"),
        "dataset": result.dataset,
        "space": result.space.name,
        "images": len(result.image_quality),
        "images_without_truth": list(result.no_truth),
        "failed": [{"name": name, "message": message} for name, message in result.failed],
        "predictions": result.facts,
        "scores": {name: _or_none(value) for name, value in scores.values().items()},
        "published_percent": result.config.published,
        "classes": [
            {key: _or_none(value) if isinstance(value, float) else value for key, value in row.items()}
            for row in _class_rows(result)
        ],
        "assignment": {
            "found_on_these_images": result.matched,
            "class_of_cluster": list(result.classes),
            "void": VOID,
        },
        "counts": scores.counts.tolist(),
        "image_pq": {name: _or_none(value) for name, value in result.image_quality.items()},
        "seconds": round(result.seconds, 2),
        **surroundings(),
    }


def save_results(
    result: ValidationResult,
    dataset: LabelledDataset,
    kept: KeptPredictions,
    out: Path,
    *,
    visualize: int | None = 0,
    boxes: bool = False,
    progress: bool = True,
) -> list[Path]:
    """Write overlays, the report and, last, ``results.json``; return what was written.

    Args:
        result: the scores.
        dataset: the images they belong to.
        kept: the predicted maps.
        out: folder.
        visualize: number of overlays; ``None`` for all.
        boxes: draw boxes into them.
        progress: show progress.
    """
    written = []
    names = list(result.image_quality)
    if visualize != 0:
        crop = result.config.semantic.center_crop
        written.append(
            write_overlays(
                out,
                dataset,
                names[:visualize],
                kept,
                result.classes,
                center_crop=crop,
                boxes=boxes,
                progress=progress,
            )
        )
    written.append(write_report(out / "report.html", result, dataset, kept))
    written.append(write_json(out / "results.json", result_record(result)))
    return written


def write_report(
    path: Path, result: ValidationResult, dataset: LabelledDataset, kept: KeptPredictions
) -> Path:
    """Write one self-contained HTML file with tables, plots, and the best and worst images."""
    scores = result.scores
    report = viz.Report(f"Validation: {result.dataset}", _headline(result))
    report.heading("Scores")
    totals = [
        [name, *(100 * getattr(scores, f"{kind}{suffix}") for kind in ("pq", "sq", "rq"))]
        for name, suffix in (("all", ""), ("things", "_things"), ("stuff", "_stuff"))
    ]
    report.table(["", "PQ", "SQ", "RQ"], totals, "Percent.")
    report.table(["mIoU", "accuracy"], [[100 * scores.miou, 100 * scores.accuracy]], "Percent.")
    if result.config.published:
        report.table(
            ["score", "here", "published"],
            [[name, 100 * scores.values()[name], value] for name, value in result.config.published.items()],
            "Percent.",
        )
    for warning in filter(None, _warnings(result)):
        report.paragraph(warning)
    _class_section(report, result)
    if result.matched:
        report.heading("Which class a cluster stands for")
        report.image(
            _count_picture(result), "Share of each cluster's pixels by true class; framed: its class.", "png"
        )
    _extremes(report, result, dataset, kept)
    report.heading("Protocol")
    report.code("\n".join(f"{k}: {v}" for k, v in result.config.model_dump(mode="json").items()))
    return report.save(path)


def _class_section(report: viz.Report, result: ValidationResult) -> None:
    report.heading("By class")
    rows = _class_rows(result)
    report.image(
        viz.bar_plot(
            [row["class"] for row in rows],
            {
                name: [100 * row[key] for row in rows]
                for name, key in (("PQ", "pq"), ("SQ", "sq"), ("RQ", "rq"))
            },
            y_label="percent",
            size=(max(700, 42 * len(rows)), 400),
        ),
        "Panoptic, segmentation and recognition quality of each class; no bar where a class does not occur.",
        "png",
    )
    keys, counts = ("pq", "sq", "rq", "iou"), ("found", "wrong", "missed", "clusters")
    header = ["class", "PQ", "SQ", "RQ", "IoU", *counts]
    report.table(
        header,
        [[row["class"], *(100 * row[key] for key in keys), *(row[key] for key in counts)] for row in rows],
        "Percent; segments found (IoU above one half), predicted wrongly, and missed.",
    )


def _count_picture(result: ValidationResult) -> np.ndarray:
    counts = result.scores.counts
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    num_things = result.facts.get("thing_clusters", 0)
    kinds = ["thing" if i >= len(counts) - num_things else "stuff" for i in range(len(counts))]
    return viz.matrix_plot(
        shares,
        [f"{kind} {i}" if num_things else str(i) for i, kind in enumerate(kinds)],
        result.space.names,
        marked=[None if c == VOID else c for c in result.classes],
        x_label="true class",
        y_label="cluster",
    )


def _extremes(
    report: viz.Report, result: ValidationResult, dataset: LabelledDataset, kept: KeptPredictions
) -> None:
    ranked = sorted(
        (name for name, value in result.image_quality.items() if not math.isnan(value)),
        key=lambda name: result.image_quality[name],
        reverse=True,
    )
    best = ranked[:EXTREMES]
    worst = [name for name in reversed(ranked[-EXTREMES:]) if name not in best]
    for title, names in (("Best images", best), ("Worst images", worst)):
        if names:
            report.heading(title)
        for name in names:
            report.heading(f"{name}: PQ {100 * result.image_quality[name]:.1f}", 3)
            crop = result.config.semantic.center_crop
            pictures = compared_pictures(dataset, name, kept, result.classes, center_crop=crop)
            small = [viz.resize(p, width=640) if p.shape[1] > 640 else p for p in pictures.values()]
            report.gallery(small, list(pictures), cell_width=380)


def _class_rows(result: ValidationResult) -> list[dict[str, Any]]:
    """One entry for each class; values in 0..1, NaN where a class does not occur."""
    scores = result.scores
    hits, wrong, missed = scores.true_positives, scores.false_positives, scores.false_negatives
    segments = hits + (wrong + missed) / 2
    rows = []
    for label, name in enumerate(result.space.names):
        occurs = segments[label] > 0
        rows.append(
            {
                "class": name,
                "pq": float(scores.iou_sum[label] / segments[label]) if occurs else math.nan,
                "sq": float(scores.iou_sum[label] / max(hits[label], 1)) if occurs else math.nan,
                "rq": float(hits[label] / segments[label]) if occurs else math.nan,
                "iou": float(scores.iou_per_class[label]),
                "found": int(hits[label]),
                "wrong": int(wrong[label]),
                "missed": int(missed[label]),
                "clusters": [i for i, c in enumerate(result.classes) if c == label],
            }
        )
    return rows


def _headline(result: ValidationResult) -> str:
    changes = result.config.changes()
    changed = f", changed: {'; '.join(changes)}" if changes else ""
    count = len(result.image_quality)
    return (
        f"{result.dataset}: {count} images, {result.space.name}, protocol {result.config.protocol}{changed}"
    )


def _warnings(result: ValidationResult) -> list[str]:
    lines = []
    if result.no_truth:
        lines.append(f"{len(result.no_truth)} images have no truth (every pixel is void)")
    if result.failed:
        lines.append(f"{len(result.failed)} images could not be scored and are left out:")
        lines += [f"  {name}: {message}" for name, message in result.failed[:5]]
    return ["", *lines] if lines else []


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
