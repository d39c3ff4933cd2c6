"""CUPS' panoptic quality with semantic matching (golden cups_model/pq)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden.support import case_parameters, load_json, load_npz
from nolabel.labels import LabelClass, LabelSpace
from nolabel.metrics import PanopticQuality

pytestmark = pytest.mark.golden

TOLERANCE = 1e-6  # table of the folder's README


def label_space(things: list[int], stuff: list[int]) -> LabelSpace:
    classes = range(len(things) + len(stuff))
    return LabelSpace("case", tuple(LabelClass(str(c), (c, c, c), c in things) for c in classes))


@pytest.mark.parametrize("path", case_parameters("cups_model", "pq"))
def test_panoptic_quality(path):
    case, settings = load_npz(path), load_json(path.with_suffix(".json"))
    metric = PanopticQuality(
        settings["num_clusters"],
        settings["stuff_clusters"],
        label_space(settings["things"], settings["stuffs"]),
        split_things=settings["split"],
        one_to_one=settings["one_to_one"],
        matching=not settings["disable_matching"],
        classes_mask=settings["classes_mask"],
    )
    for predictions, targets in zip(case["preds"], case["targets"], strict=True):
        metric.update(torch.from_numpy(predictions), torch.from_numpy(targets))
    scores = metric.compute()

    np.testing.assert_array_equal(scores.counts, case["cost_matrix"])
    counted = case["cost_matrix"].sum(1) > 0  # other clusters may take any class
    np.testing.assert_array_equal(scores.assignment[counted], case["assignments"][counted])
    order = settings["things"] + settings["stuffs"]
    for ours, recorded in (("true_positives", "tp"), ("false_positives", "fp"), ("false_negatives", "fn")):
        np.testing.assert_array_equal(getattr(scores, ours)[order], case[recorded], err_msg=recorded)
    np.testing.assert_allclose(scores.iou_sum[order], case["iou_sum"], atol=TOLERANCE)
    names = {"_c": "_per_class", "_t": "_things", "_s": "_stuff", "": ""}
    for quality in ("pq", "sq", "rq"):
        for theirs, ours in names.items():
            value = getattr(scores, quality + ours)
            np.testing.assert_allclose(value, case[quality + theirs], atol=TOLERANCE, err_msg=quality + ours)
    np.testing.assert_allclose(scores.miou, case["miou"], atol=TOLERANCE)
    np.testing.assert_allclose(scores.accuracy, case["acc"], atol=TOLERANCE)
