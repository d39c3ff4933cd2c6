"""Average precision and recall of detections by the COCO rules, with the numbers of pycocotools."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_utils
from numpy.typing import NDArray

from nolabel.errors import DataError
from nolabel.metrics.detection_matching import ImagePair, MatchedDetections, match_detections

__all__ = ["SCORE_NAMES", "detection_scores"]

SCORE_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
AREA_RANGES = np.array([(0, 1e10), (0, 32**2), (32**2, 96**2), (96**2, 1e10)], dtype=np.float64)
MOST = (1, 10, 100)
"""Detections of an image that count."""

Json = Mapping[str, Any]
Floats = NDArray[np.float64]


def detection_scores(
    ground_truth: Json | str | Path,
    predictions: Sequence[Json] | str | Path,
    *,
    tasks: Iterable[str] = ("bbox", "segm"),
    image_ids: Sequence[int | str] | None = None,
    class_agnostic: bool = False,
    reference_compat: bool = False,
) -> dict[str, dict[str, float]]:
    """Score detections against a COCO style ground truth (spec unmore 11).

    An object without ``area`` has that of its mask, or else of its box; one without ``iscrowd`` is none.

    Args:
        ground_truth: COCO content or its JSON file; crowds are ignored regions.
        predictions: list of ``image_id, category_id, bbox (XYWH) and/or segmentation (RLE)`` with
            ``score`` (else ``weight``, else 1), or a JSON file of it; or COCO content with such ``annotations``.
        tasks: "bbox", "segm" or both.
        image_ids: images to score; by default all of the ground truth, also those without predictions.
        class_agnostic: take all categories of both sides for one.
        reference_compat: keep object ids as given, so that an object with id 0 never counts as found.

    Returns:
        For each task the twelve COCO numbers by :data:`SCORE_NAMES`, in percent, NaN where undefined.

    Raises:
        DataError: a file cannot be read, or predictions name images that the ground truth lacks.
    """
    truth, found = _read(ground_truth), _read(predictions)
    if isinstance(found, Mapping):
        found = found.get("annotations", [])
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    strangers = {prediction["image_id"] for prediction in found} - sizes.keys()
    if strangers:
        raise DataError(
            f"predictions for {len(strangers)} images that the ground truth lacks, e.g. {min(strangers, key=str)}",
            hint="check that both files belong to the same split",
        )
    wanted = sizes.keys() if image_ids is None else set(image_ids)
    objects = _by_image(truth["annotations"], wanted, class_agnostic)
    detections = _by_image(found, wanted, class_agnostic)
    categories = [0] if class_agnostic else sorted({c["id"] for c in truth.get("categories", ())}, key=str)
    scores = {}
    for task in tasks:
        reader = _Reader(task, sizes, reference_compat)
        curves = []
        for category in categories:
            keys = [(image, category) for image in sorted(wanted, key=_order)]
            pairs = [reader.pair(detections.get(key, []), objects.get(key, []), key[0]) for key in keys]
            curves.append(_curves(match_detections(pairs, THRESHOLDS, AREA_RANGES)))
        scores[task] = _summary(curves)
    return scores


def _read(source: Any) -> Any:
    if not isinstance(source, str | Path):
        return source
    try:
        return json.loads(Path(source).read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {source}: {error}", hint="give a COCO style JSON file") from error


def _by_image(
    rows: Iterable[Json], wanted: Iterable[int | str], class_agnostic: bool
) -> dict[tuple[Any, Any], list[Json]]:
    images, groups = set(wanted), defaultdict(list)
    for row in rows:
        if row["image_id"] in images:
            groups[row["image_id"], 0 if class_agnostic else row["category_id"]].append(row)
    return groups


def _order(image: int | str) -> tuple[bool, Any]:
    """Numbers by value, then texts: which of two equal scores of different images comes first depends on it."""
    return isinstance(image, str), image


@dataclass(frozen=True)
class _Reader:
    """Brings the detections and objects of an image together for one task."""

    task: str
    sizes: Mapping[int | str, tuple[int, int]]
    reference_compat: bool

    def pair(self, detections: Sequence[Json], objects: Sequence[Json], image: int | str) -> ImagePair:
        scores = np.array([row.get("score", row.get("weight", 1.0)) for row in detections], dtype=np.float64)
        order = np.argsort(-scores, kind="stable")[: MOST[-1]]
        detections = [detections[i] for i in order]
        crowd = np.array([bool(row.get("iscrowd", 0)) for row in objects], dtype=bool)
        never = np.array([self.reference_compat and row["id"] == 0 for row in objects], dtype=bool)
        if self.task == "bbox":
            theirs, ours = _boxes(objects), _boxes(detections)
            areas = ours[:, 2] * ours[:, 3]
            iou = _box_iou(ours, theirs, crowd)
            object_areas = [
                row.get("area", box[2] * box[3]) for row, box in zip(objects, theirs, strict=True)
            ]
        else:
            masks = [self._mask(row, image) for row in objects]
            found = [self._mask(row, image) for row in detections]
            areas = np.asarray(mask_utils.area(found), dtype=np.float64).reshape(-1) if found else np.zeros(0)
            iou = _mask_iou(found, masks, crowd)
            object_areas = [
                row["area"] if "area" in row else float(mask_utils.area(mask))
                for row, mask in zip(objects, masks, strict=True)
            ]
        return ImagePair(iou, scores[order], areas, np.array(object_areas, dtype=np.float64), crowd, never)

    def _mask(self, row: Json, image: int | str) -> Any:
        """Bring a mask in any of COCO's forms to compressed RLE."""
        segmentation = row.get("segmentation")
        if isinstance(segmentation, Mapping) and not isinstance(segmentation["counts"], list):
            return segmentation
        height, width = self.sizes[image]
        if not segmentation:
            raise DataError(
                f"an object or detection of image {image} has no mask", hint="score boxes alone (--no-masks)"
            )
        coded = mask_utils.frPyObjects(segmentation, height, width)
        return mask_utils.merge(coded) if isinstance(segmentation, list) else coded


def _boxes(rows: Sequence[Json]) -> Floats:
    if any("bbox" not in row for row in rows):
        masks = [row["segmentation"] for row in rows]
        return np.asarray(mask_utils.toBbox(masks), dtype=np.float64).reshape(-1, 4)
    return np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4)


def _box_iou(detections: Floats, objects: Floats, crowd: NDArray[np.bool_]) -> Floats:
    """(D, G) overlaps of XYWH boxes."""
    if not len(detections) or not len(objects):
        return np.zeros((len(detections), len(objects)))
    low = np.maximum(detections[:, None, :2], objects[None, :, :2])
    ends = [boxes[:, :2] + boxes[:, 2:] for boxes in (detections, objects)]
    sides = np.minimum(ends[0][:, None], ends[1][None]) - low
    shared = np.where((sides > 0).all(axis=2), sides.prod(axis=2), 0.0)
    ours, theirs = (boxes[:, 2] * boxes[:, 3] for boxes in (detections, objects))
    union = np.where(crowd, ours[:, None], ours[:, None] + theirs - shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def _mask_iou(detections: list[Any], objects: list[Any], crowd: NDArray[np.bool_]) -> Floats:
    if not detections or not objects:
        return np.zeros((len(detections), len(objects)))
    return np.asarray(mask_utils.iou(detections, objects, crowd.astype(np.uint8).tolist()), dtype=np.float64)


def _curves(matched: MatchedDetections) -> tuple[Floats, Floats]:
    """Precision at the recalls (A, M, T, 101) and largest recall (A, M, T); -1 where there are no objects."""
    precision = np.full((len(AREA_RANGES), len(MOST), len(THRESHOLDS), len(RECALLS)), -1.0)
    recall = np.full(precision.shape[:3], -1.0)
    # One order for all: leaving out higher ranks keeps it.
    order = np.argsort(-matched.scores, kind="stable")
    ranks = matched.ranks[order]
    for area, total in enumerate(matched.objects):
        if total == 0:
            continue
        counted = ~matched.ignored[area][:, order]
        true = matched.found[area][:, order] & counted
        false = counted & ~true
        for column, most in enumerate(MOST):
            if area and most != MOST[-1]:
                continue  # of single sizes COCO has no such score
            kept = ranks < most
            hits = np.cumsum(true[:, kept], axis=1, dtype=np.int64)
            misses = np.cumsum(false[:, kept], axis=1, dtype=np.int64)
            recall[area, column] = hits[:, -1] / total if hits.shape[1] else 0.0
            precision[area, column] = _interpolated(hits, misses, int(total))
    return precision, recall


def _interpolated(hits: NDArray[np.int64], misses: NDArray[np.int64], total: int) -> Floats:
    """(T, 101): the best precision at a recall or any higher one, 0 beyond the largest."""
    precision = np.zeros((len(hits), len(RECALLS)))
    for level, (true, false) in enumerate(zip(hits, misses, strict=True)):
        if not len(true):
            continue
        falling = np.maximum.accumulate((true / (true + false + np.spacing(1)))[::-1])[::-1]
        places = np.searchsorted(true / total, RECALLS, side="left")
        inside = places < len(true)
        precision[level, inside] = falling[places[inside]]
    return precision


def _summary(curves: Sequence[tuple[Floats, Floats]]) -> dict[str, float]:
    """The twelve numbers, means over categories that have objects."""

    def mean(values: Sequence[Floats]) -> float:
        defined = np.stack(values)
        defined = defined[defined > -1]
        return float("nan") if defined.size == 0 else 100 * float(defined.mean())

    precision, recall = ([curve[part] for curve in curves] for part in (0, 1))
    levels = {"AP": slice(None), "AP50": slice(0, 1), "AP75": slice(5, 6)}
    scores = {name: mean([p[0, -1, level] for p in precision]) for name, level in levels.items()}
    scores |= {f"AP{name}": mean([p[area, -1] for p in precision]) for area, name in enumerate("sml", 1)}
    scores |= {f"AR{most}": mean([r[0, column] for r in recall]) for column, most in enumerate(MOST)}
    return scores | {f"AR{name}": mean([r[area, -1] for r in recall]) for area, name in enumerate("sml", 1)}
