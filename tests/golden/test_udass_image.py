"""UDASS images: scores with 19, 16 and 13 classes (miou), raw label ids to training ids (label_conversion)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from golden.support import case_parameters, load_json, load_npz
from nolabel.labels import raw_table
from nolabel.metrics import CITYSCAPES_SUBSETS, SemanticQuality

pytestmark = pytest.mark.golden

TOLERANCE = 1e-7


@pytest.mark.parametrize("path", case_parameters("udass_image", "miou"))
def test_scores(path):
    given, recorded, meta = (
        load_npz(path / "input.npz"),
        load_npz(path / "output.npz"),
        load_json(path / "meta.json"),
    )
    classes = len(recorded["IoU"])
    subsets = {"16": meta["classes16"], "13": meta["classes13"]}
    metrics = {
        absent: SemanticQuality(classes, subsets=subsets, absent_classes=absent)
        for absent in ("ignore", "zero")
    }
    for metric in metrics.values():
        metric.update(torch.from_numpy(given["pred"]), torch.from_numpy(given["gt"]))
    scores = metrics["ignore"].compute()
    per_class = {
        "IoU": scores.iou,
        "Acc": scores.recall,
        "Recall": scores.recall,
        "Precision": scores.precision,
        "Dice": scores.dice,
        "Fscore": scores.f_score,
    }
    for name, values in per_class.items():
        np.testing.assert_allclose(values, recorded[name], atol=TOLERANCE, err_msg=name)
    single = {
        "aAcc": scores.accuracy,
        "mIoU_nanmean19": scores.miou,
        "mIoU16": scores.subsets["16"],
        "mIoU13": scores.subsets["13"],
        "mIoU19_zero_filled": metrics["zero"].compute().miou,
    }
    for name, value in single.items():
        np.testing.assert_allclose(value, recorded[name].item(), atol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize("path", case_parameters("udass_image", "miou"))
def test_subsets_are_those_of_the_benchmark(path):
    meta = load_json(path / "meta.json")
    assert list(CITYSCAPES_SUBSETS["16"]) == meta["classes16"]
    assert list(CITYSCAPES_SUBSETS["13"]) == meta["classes13"]


@pytest.mark.parametrize("case", case_parameters("udass_image", "label_conversion"))
def test_raw_labels_become_training_ids(case: Path) -> None:
    inputs, outputs = load_npz(case / "input.npz"), load_npz(case / "output.npz")
    for dataset, raw, converted in (
        ("gta5", inputs["gta_raw"], outputs["gta_train"]),
        ("synthia", inputs["synthia_raw_rgb"][..., 0], outputs["synthia_train"]),
    ):
        np.testing.assert_array_equal(raw_table(dataset, "cityscapes_19")[raw], converted)
