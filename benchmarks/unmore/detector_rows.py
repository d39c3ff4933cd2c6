"""Rows of the detector and of the evaluation of unMORE."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from benchmarks.cups.row import Bench, Row, Work
from nolabel.methods.unmore.detector_copy_paste import PasteDraw, paste_objects
from nolabel.methods.unmore.detector_sample import DetectorSample
from nolabel.metrics import detection_scores
from nolabel.models.detection import ClassAgnosticConfig, ClassAgnosticMaskRCNN

IMAGES, DETECTIONS = 5000, 100
COCO_SIZE = (480, 640)


def annotations(images: int, seed: int = 0) -> tuple[dict, list[dict]]:
    """COCO's number of objects an image (7.3 on average, up to 60), and 100 detections of which a third is near one."""
    random = np.random.default_rng(seed)
    truth: list[dict] = []
    found: list[dict] = []

    def boxes(count: int) -> np.ndarray:
        sides = np.exp(random.uniform(np.log(8), np.log(300), (count, 2)))
        return np.concatenate([random.uniform(0, 1, (count, 2)) * (640, 480) * 0.6, sides], axis=1).round(2)

    for image in range(1, images + 1):
        own = boxes(min(1 + int(random.exponential(6.8)), 60))
        crowd = random.random(len(own)) < 0.01
        for box, many in zip(own.tolist(), crowd.tolist(), strict=True):
            area = 0.7 * box[2] * box[3]
            row = {"image_id": image, "category_id": 1, "bbox": box, "area": area, "iscrowd": int(many)}
            truth.append({"id": len(truth) + 1, **row})
        near = own[random.integers(0, len(own), DETECTIONS // 3)] * random.uniform(
            0.8, 1.2, (DETECTIONS // 3, 4)
        )
        all_boxes = np.concatenate([near, boxes(DETECTIONS - len(near))]).round(2)
        for box, score in zip(all_boxes.tolist(), random.random(DETECTIONS).tolist(), strict=True):
            found.append({"image_id": image, "category_id": 1, "bbox": box, "score": score})
    records = [{"id": i, "height": COCO_SIZE[0], "width": COCO_SIZE[1]} for i in range(1, images + 1)]
    return {"images": records, "annotations": truth, "categories": [{"id": 1, "name": "fg"}]}, found


def prepare_evaluation(bench: Bench) -> Work:
    """Our evaluator on COCO val2017's number of images."""
    truth, found = annotations(IMAGES)
    return lambda: detection_scores(truth, found, tasks=["bbox"])["bbox"]["AP"]


def prepare_pycocotools(bench: Bench) -> Work:
    """Pycocotools on the same."""
    truth, found = annotations(IMAGES)

    def work() -> float:
        with contextlib.redirect_stdout(io.StringIO()):
            objects = COCO()
            objects.dataset = truth
            objects.createIndex()
            evaluation = COCOeval(objects, objects.loadRes(found), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return 100 * float(evaluation.stats[0])

    return work


def prepare_detector(bench: Bench) -> Work:
    """The published network on one image."""
    torch.manual_seed(0)
    network = ClassAgnosticMaskRCNN(ClassAgnosticConfig()).eval().to(bench.device)
    image = torch.rand(3, 480, 640, generator=torch.Generator().manual_seed(0)).to(bench.device)
    return lambda: network.predict([image])


def prepare_copy_paste(bench: Bench) -> Work:
    """Five objects of one image into another of five."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 800, 1066), dtype=torch.uint8, generator=generator)
    masks = torch.zeros(5, 800, 1066, dtype=torch.bool)
    for row in range(5):
        masks[row, 100 * row : 100 * row + 150, 150 * row : 150 * row + 200] = True
    target, source = (
        DetectorSample.from_masks(
            image.to(bench.device), masks.to(bench.device), torch.ones(5).to(bench.device)
        )
        for image in images
    )
    draw = PasteDraw((0, 1, 2, 3), 0.6, 100, 100)

    def work() -> Tensor:
        return paste_objects(target, source, draw).image

    return work


ROWS = (
    Row(
        "evaluator",
        "COCO box AP, 5000 images x 100 detections",
        prepare_evaluation,
        82.5,
        extrapolated=True,
        note="AP {:.2f}".format,
    ),
    Row(
        "evaluator-pycocotools",
        "the same by pycocotools, without masks",
        prepare_pycocotools,
        note="AP {:.2f}".format,
        large=True,
    ),
    Row("detector", "Cascade Mask R-CNN R50-FPN, one image 480x640", prepare_detector),
    Row("copy-paste", "4 objects pasted into an image of 5, 800x1066", prepare_copy_paste),
)
