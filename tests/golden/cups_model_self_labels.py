"""Golden cases of the labels that a network's own predictions become: copy-paste source and self-training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from golden.support import case_parameters, load_json, load_npz
from nolabel.methods.cups.self_labels import confident_target, self_label, without_known
from nolabel.models.panoptic import PanopticSegments, PanopticTarget, Segment

pytestmark = pytest.mark.golden
# What ``tta`` cases were recorded with and do not repeat (README: the default of the label fusion, spec 5.4).
SEMANTIC_THRESHOLD = 0.5


def read(case: Path) -> tuple[dict[str, np.ndarray], dict[str, Any], PanopticSegments]:
    arrays, meta = load_npz(case.with_suffix(".npz")), load_json(case)
    ids = torch.from_numpy(arrays["panoptic"].astype(np.int32))
    areas = torch.bincount(ids.flatten().long(), minlength=len(meta["segments"]) + 1).tolist()
    segments = tuple(
        Segment(
            segment["id"],
            segment["isthing"],
            segment["category_id"],
            areas[segment["id"]],
            segment.get("score"),
            segment.get("instance_id"),
        )
        for segment in meta["segments"]
    )
    return arrays, meta, PanopticSegments(ids, segments)


def check(arrays: dict[str, np.ndarray], prefix: str, target: PanopticTarget) -> None:
    np.testing.assert_array_equal(target.semantic.numpy(), arrays[f"{prefix}sem"])
    np.testing.assert_array_equal(target.instances.numpy(), arrays[f"{prefix}instance"])
    check_objects(arrays, prefix, target)


def check_objects(arrays: dict[str, np.ndarray], prefix: str, target: PanopticTarget) -> None:
    np.testing.assert_array_equal(target.boxes.numpy(), arrays[f"{prefix}boxes"])
    np.testing.assert_array_equal(target.classes.numpy(), arrays[f"{prefix}classes"])


@pytest.mark.parametrize(
    "case",
    case_parameters("cups_model", "pseudo_labels/*.json") + case_parameters("cups_model", "tta/*.json"),
)
def test_labels_of_the_teacher(case: Path) -> None:
    arrays, meta, panoptic = read(case)
    threshold = meta.get("semantic_threshold", SEMANTIC_THRESHOLD)
    probabilities = torch.from_numpy(arrays["sem_prob"])
    check(arrays, "label_", self_label(probabilities, panoptic, threshold, reference_compat=True))


@pytest.mark.parametrize("case", case_parameters("cups_model", "pseudo_labels/*.json"))
def test_predictions_as_copy_paste_source(case: Path) -> None:
    arrays, meta, panoptic = read(case)
    target = confident_target(panoptic, meta["copy_paste_confidence"], reference_compat=True)
    check(arrays, "fmt_", target)
    if "filter_target_boxes" in arrays:
        known = torch.from_numpy(arrays["filter_target_boxes"])
        check_objects(arrays, "filtered_", without_known(target, known))
