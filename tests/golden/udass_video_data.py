"""UDASS video evaluation (golden udass_video/evaluation)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from golden.support import case_parameters, load_npz
from nolabel.metrics import SYNTHIA_SEQ_REPORTED, SemanticQuality

pytestmark = pytest.mark.golden

TIES = 3  # pixels that may fall on the other side of a tie, README
TOLERANCE = 1e-6


@pytest.mark.parametrize("path", case_parameters("udass_video", "evaluation"))
def test_evaluation(path):
    case = load_npz(path)
    classes = len(case["hist"])
    reported = range(classes) if len(case["reported_iou_f64"]) == classes else SYNTHIA_SEQ_REPORTED
    metric = SemanticQuality(classes, class_ids=tuple(reported))
    frames = sorted(name.removeprefix("label") for name in case if name.startswith("label"))
    for frame in frames:
        scores = torch.from_numpy(case[f"scores{frame}"])
        size = case[f"label{frame}"].shape
        prediction = F.interpolate(scores, size, mode="bilinear", align_corners=True).argmax(1)[0]
        assert np.count_nonzero(prediction.numpy() != case[f"pred{frame}"]) < TIES
        metric.update(torch.from_numpy(case[f"pred{frame}"]), torch.from_numpy(case[f"label{frame}"]))
    np.testing.assert_array_equal(metric.confusion[:, :-1].numpy(), case["hist"])
    result = metric.compute()
    np.testing.assert_allclose(result.iou, case["iou_f64"], atol=TOLERANCE)
    np.testing.assert_allclose(result.iou[list(reported)], case["reported_iou_f64"], atol=TOLERANCE)
    np.testing.assert_allclose(round(100 * result.miou, 2), case["miou"], atol=TOLERANCE)
