"""What came of a run, as one page: how many objects each stage found, scores, and the stages side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nolabel.data.files import read_image
from nolabel.engine.predicting import PredictionOptions
from nolabel.methods.unmore.detector_model import DetectorModel, load_detector
from nolabel.methods.unmore.detector_predict import detect_batch
from nolabel.methods.unmore.label_files import LabelledImage, read_label_file
from nolabel.methods.unmore.label_pictures import SHEET
from nolabel.methods.unmore.merging import SCENE_PREFIX
from nolabel.structures import Instances
from nolabel.viz import Report, contact_sheet
from nolabel.viz.overlays import instance_overlay

__all__ = ["SHOWN", "write_report"]

EXAMPLES = 6
LEAST_SHOWN = 0.3
"""Detections of a lower score are not drawn."""
SHOWN = ("AP50", "AP", "AR100")
"""The numbers of the table."""
Picture = NDArray[Any]


def write_report(
    run: Path,
    scenes: Path,
    labels: Mapping[str, Path],
    scores: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> Path:
    """Write ``report.html``.

    Args:
        run: a finished run's folder.
        scenes: where the scenes lie.
        labels: label file of every stage by the stage's name; ``discovered`` and ``training`` are of the scenes.
        scores: stage -> task -> COCO's numbers, percent; empty where nothing was scored.
    """
    stages = {name: read_label_file(path) for name, path in labels.items()}
    report = Report("unMORE", "Objects of unlabelled photographs, and a detector that learned from them.")
    if scores:
        report.heading("Scores on labelled images")
        report.paragraph("Class-agnostic, percent. These labels were used for this table alone.")
        report.table(*_score_table(scores))
    report.heading("Objects by stage")
    report.table(["stage", "images", "with objects", "objects", "for an image"], _counts(stages))
    report.heading("What the networks learned from")
    _picture(report, run / "votecut" / SHEET, "Photographs, and the masks cut from their features")
    _picture(
        report,
        run / "objectness" / "fields.png",
        "Fields of held-out photographs: what the network draws beside what it should",
    )
    report.heading("Scenes")
    report.image(_scene_sheet(run, scenes, stages), "Objects found by reasoning, and by the detector")
    return report.save(run / "report.html")


def _score_table(
    scores: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> tuple[list[str], list[list[object]]]:
    kinds = {"bbox": "box", "segm": "mask"}
    header = ["stage", *(f"{kind} {name}" for kind in kinds.values() for name in SHOWN)]
    rows: list[list[object]] = [
        [stage, *(_shown(tasks.get(task, {}).get(name)) for task in kinds for name in SHOWN)]
        for stage, tasks in scores.items()
    ]
    return header, rows


def _shown(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.2f}"


def _counts(stages: Mapping[str, Sequence[LabelledImage]]) -> list[list[object]]:
    rows: list[list[object]] = []
    for name, images in stages.items():
        counts = [len(image.instances) for image in images]
        rows.append(
            [name, len(counts), sum(map(bool, counts)), sum(counts), sum(counts) / max(1, len(counts))]
        )
    return rows


def _picture(report: Report, path: Path, caption: str) -> None:
    if path.is_file():
        report.image(np.asarray(Image.open(path).convert("RGB")), caption)


def _scene_sheet(run: Path, scenes: Path, stages: Mapping[str, Sequence[LabelledImage]]) -> Picture:
    detector = load_detector(run / "detector", confidence_threshold=LEAST_SHOWN)
    found = stages["discovered"]
    sure = {str(image.id).removeprefix(SCENE_PREFIX): image.instances for image in stages["training"]}
    rows: list[list[Picture | None]] = []
    for record in found[:: max(1, len(found) // EXAMPLES)][:EXAMPLES]:
        image = read_image(scenes / record.file_name).as_subclass(Tensor)
        columns = [record.instances, sure.get(str(record.id)), _detected(detector, image)]
        rows.append([_bytes(image), *(None if own is None else _overlay(image, own) for own in columns)])
    return contact_sheet(rows, column_titles=["scene", "discovered", "sure", "detector"])


def _detected(detector: DetectorModel, image: Tensor) -> Instances:
    return detect_batch(detector, [image], PredictionOptions())[0]


def _overlay(image: Tensor, objects: Instances) -> Picture:
    return instance_overlay(image, objects.id_map())


def _bytes(image: Tensor) -> Picture:
    return np.asarray((image.permute(1, 2, 0) * 255).round().byte())
