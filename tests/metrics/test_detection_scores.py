"""COCO scores by the own matcher against pycocotools on random data."""

import contextlib
import copy
import io

import numpy as np
import pycocotools.mask as mask_utils
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from nolabel.metrics.detection import SCORE_NAMES, detection_scores

SIZE = (120, 160)


def rle(box):
    mask = np.zeros(SIZE, np.uint8, order="F")
    x, y, width, height = (int(value) for value in box)
    mask[y : y + height, x : x + width] = 1
    mask[y, x] = 0  # no mask is its box
    coded = mask_utils.encode(mask)
    return {"size": list(SIZE), "counts": coded["counts"].decode()}


def scene(seed, images=12, categories=1, first_id=1):
    """Objects of all sizes with crowds, and detections near them, with equal scores and equal overlaps."""
    random = np.random.default_rng(seed)
    truth, found = [], []

    def box():
        width, height = random.integers(3, 110), random.integers(3, 90)
        return [
            int(random.integers(0, 160 - width)),
            int(random.integers(0, 120 - height)),
            int(width),
            int(height),
        ]

    for image in range(1, images + 1):
        own = [box() for _ in range(random.integers(0, 6))]
        own += own[:1] * int(random.integers(0, 2))  # twice the same object
        for one in own:
            truth.append(
                {
                    "id": first_id + len(truth),
                    "image_id": image,
                    "category_id": int(random.integers(1, categories + 1)),
                    "bbox": one,
                    "area": one[2] * one[3],
                    "iscrowd": int(random.random() < 0.15),
                    "segmentation": rle(one),
                }
            )
        for _ in range(int(random.integers(0, 25)) if image % 5 else 120):
            near = own and random.random() < 0.6
            one = list(own[random.integers(len(own))]) if near else box()
            if near:
                one[2] = max(2, min(one[2] + int(random.integers(-6, 7)), 160 - one[0]))
                one[3] = max(2, min(one[3] + int(random.integers(-6, 7)), 120 - one[1]))
            found.append(
                {
                    "image_id": image,
                    "category_id": int(random.integers(1, categories + 1)),
                    "bbox": one,
                    "score": float(random.integers(0, 12)) / 12,
                    "segmentation": rle(one),
                }
            )
    content = {
        "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in range(1, images + 1)],
        "annotations": truth,
        "categories": [{"id": c, "name": str(c)} for c in range(1, categories + 1)],
    }
    return content, found


def pycocotools(truth, found, task):
    rows = [{k: v for k, v in row.items() if task == "bbox" or k != "bbox"} for row in copy.deepcopy(found)]
    with contextlib.redirect_stdout(io.StringIO()):
        objects = COCO()
        objects.dataset = copy.deepcopy(truth)
        objects.createIndex()
        evaluation = COCOeval(objects, objects.loadRes(rows), task)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {
        name: 100 * v if v >= 0 else float("nan")
        for name, v in zip(SCORE_NAMES, evaluation.stats, strict=True)
    }


@pytest.mark.parametrize("task", ["bbox", "segm"])
@pytest.mark.parametrize("seed, categories", [(0, 1), (1, 1), (2, 3)])
def test_scores_are_those_of_pycocotools(seed, categories, task):
    truth, found = scene(seed, categories=categories)
    ours = detection_scores(truth, found, tasks=[task])[task]
    assert ours == pytest.approx(pycocotools(truth, found, task), abs=1e-9, nan_ok=True)
    assert 5 < ours["AP"] < 95


def test_the_object_with_id_0_is_never_found_in_the_original():
    truth, found = scene(3, first_id=0)
    ours = detection_scores(truth, found, tasks=["bbox"], reference_compat=True)["bbox"]
    assert ours == pytest.approx(pycocotools(truth, found, "bbox"), abs=1e-9, nan_ok=True)
    alone = {**truth, "annotations": [{**truth["annotations"][0], "iscrowd": 0}]}
    exact = [{**alone["annotations"][0], "score": 1.0}]
    assert detection_scores(alone, exact, tasks=["bbox"], reference_compat=True)["bbox"]["AR100"] == 0
    assert detection_scores(alone, exact, tasks=["bbox"])["bbox"]["AR100"] == 100


def test_classes_are_taken_for_one():
    truth, found = scene(4, categories=3)
    single, alike = copy.deepcopy(truth), copy.deepcopy(found)
    for row in single["annotations"] + alike:
        row["category_id"] = 1
    single["categories"] = [{"id": 1, "name": "fg"}]
    ours = detection_scores(truth, found, tasks=["bbox"], class_agnostic=True)["bbox"]
    assert ours == pytest.approx(pycocotools(single, alike, "bbox"), abs=1e-9, nan_ok=True)


def test_areas_that_are_missing_are_those_of_masks_or_boxes():
    truth, found = scene(5)
    expected = detection_scores(truth, found)["bbox"]
    for row in truth["annotations"]:
        del row["area"]
    assert detection_scores(truth, found)["bbox"] == pytest.approx(expected, rel=0, abs=0, nan_ok=True)
