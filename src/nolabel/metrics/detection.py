"""Average precision and recall of class-agnostic detections, by the COCO rules (pycocotools)."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from nolabel.errors import DataError

SCORE_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")

Json = Mapping[str, Any]


def _read(source: Any) -> Any:
    if not isinstance(source, str | Path):
        return source
    try:
        return json.loads(Path(source).read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {source}: {error}", hint="give a COCO style JSON file") from error


def _results(predictions: Sequence[Json], task: str) -> list[dict[str, Any]]:
    """Results as pycocotools wants them: a score, and for masks no box, so that areas are mask areas."""
    results = []
    for prediction in predictions:
        result = {key: value for key, value in prediction.items() if key not in ("score", "weight")}
        result["score"] = prediction.get("score", prediction.get("weight", 1.0))
        if task == "segm":
            result.pop("bbox", None)
        results.append(result)
    return results


def _ground_truth(content: Json, reference_compat: bool) -> COCO:
    content = copy.deepcopy(dict(content))
    if not reference_compat:
        # pycocotools takes a match to the object with id 0 for no match: number from 1.
        for number, annotation in enumerate(content["annotations"], start=1):
            annotation["id"] = number
    truth = COCO()
    truth.dataset = content
    truth.createIndex()
    return truth


def detection_scores(
    ground_truth: Json | str | Path,
    predictions: Sequence[Json] | str | Path,
    *,
    tasks: Iterable[str] = ("bbox", "segm"),
    image_ids: Sequence[int] | None = None,
    reference_compat: bool = False,
) -> dict[str, dict[str, float]]:
    """Score detections against a COCO style ground truth (spec unmore 11).

    Args:
        ground_truth: COCO content or its JSON file; crowds are ignored regions.
        predictions: list of ``image_id, category_id, bbox (XYWH) and/or segmentation (RLE)`` with
            ``score`` (else ``weight``, else 1), or a JSON file of it.
        tasks: "bbox", "segm" or both.
        image_ids: images to score; by default all of the ground truth, also those without predictions.
        reference_compat: keep object ids as given, so that an object with id 0 never counts as found.

    Returns:
        For each task the twelve COCO numbers by :data:`SCORE_NAMES`, in percent, NaN where undefined.

    Raises:
        DataError: a file cannot be read, or predictions name images that the ground truth lacks.
    """
    truth, found = _read(ground_truth), _read(predictions)
    known = {image["id"] for image in truth["images"]}
    strangers = {prediction["image_id"] for prediction in found} - known
    if strangers:
        raise DataError(
            f"predictions for {len(strangers)} images that the ground truth lacks, e.g. {min(strangers)}",
            hint="check that both files belong to the same split",
        )
    scores = {}
    for task in tasks:
        if not found:
            scores[task] = dict.fromkeys(SCORE_NAMES, 0.0)
            continue
        with contextlib.redirect_stdout(io.StringIO()):
            objects = _ground_truth(truth, reference_compat)
            evaluation = COCOeval(objects, objects.loadRes(_results(found, task)), task)
            if image_ids is not None:
                evaluation.params.imgIds = list(image_ids)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        values = (float(value) for value in evaluation.stats)
        scores[task] = {
            name: float("nan") if value < 0 else 100 * value
            for name, value in zip(SCORE_NAMES, values, strict=True)
        }
    return scores
