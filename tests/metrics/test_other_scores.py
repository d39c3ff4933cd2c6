"""Depth, features, occupancy, detection and scene completion: analytic truths."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from nolabel.errors import DataError
from nolabel.metrics import (
    CompletionQuality,
    depth_scores,
    detection_scores,
    feature_scores,
    occupancy_scores,
)
from nolabel.metrics.completion import (
    SSC_CLASSES,
    completion_table,
    ssc_field_of_view,
    ssc_prediction_labels,
    ssc_target_labels,
)


def test_depth_by_hand():
    target = torch.tensor([[[2.0, 4.0, 0.0]]])
    scores = depth_scores(torch.tensor([[[3.0, 4.0, 70.0]]]), target)
    expected = {"abs_rel": 0.25, "sq_rel": 0.25, "rmse": 0.5**0.5, "a1": 0.5, "a2": 1.0, "a3": 1.0}
    expected["rmse_log"] = (np.log(1.5) ** 2 / 2) ** 0.5
    assert {name: values.item() for name, values in scores.items()} == pytest.approx(expected)
    rooted = depth_scores(torch.tensor([[[3.0, 4.0, 70.0]]]), target, reference_compat=True)
    assert rooted["abs_rel"].item() == pytest.approx(0.5)


@pytest.mark.parametrize("scaling", ["least_squares", "median"])
def test_depth_scale_is_recovered(scaling):
    target = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0)) * 50 + 1
    offset = 3.0 if scaling == "least_squares" else 0.0
    prediction = (target - offset) / torch.tensor([2.0, 5.0])[:, None, None]
    target[:, 0] = 0
    scores = depth_scores(prediction, target, scaling=scaling)
    torch.testing.assert_close(scores["rmse"], torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(scores["a1"], torch.ones(2))


def test_features_by_hand():
    target = torch.zeros(1, 2, 3, 4)
    target[..., 0] = 1
    prediction = target.clone()
    prediction[:, 1] = torch.tensor([0.0, 2, 0, 0])
    scores = feature_scores(prediction, target)
    assert scores["l1"].tolist() == [[0, 0.75]]
    assert scores["l2"].tolist() == [[0, 1.25]]
    assert scores["cosine"].tolist() == [[1, 0]]


def test_occupancy_by_hand():
    prediction = torch.tensor([True, True, False, False])
    target = torch.tensor([True, False, True, False])
    scores = occupancy_scores(prediction, target, torch.zeros(4, dtype=torch.bool))
    assert scores["o_acc"] == scores["o_prec"] == scores["o_rec"] == scores["ie_rec"] == scores["ie_r"] == 0.5
    assert scores["t_ie"] == 2 and scores["t_no_nop_nv"] == 1


def detection_case():
    images = [{"id": i, "height": 100, "width": 100} for i in (1, 2)]
    boxes = [(1, [0, 0, 40, 40]), (1, [50, 50, 40, 40]), (2, [10, 10, 40, 40])]
    annotations = [
        {"id": i, "image_id": image, "category_id": 1, "iscrowd": 0, "area": 1600, "bbox": box}
        for i, (image, box) in enumerate(boxes)
    ]
    truth = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "fg"}]}
    found = [{"image_id": image, "category_id": 1, "bbox": box, "score": 0.9} for image, box in boxes]
    return truth, found


def test_perfect_detections_count_also_for_object_zero(tmp_path):
    truth, found = detection_case()
    scores = detection_scores(truth, found, tasks=["bbox"])["bbox"]
    assert scores["AP"] == scores["AP50"] == scores["APm"] == scores["AR100"] == 100
    assert np.isnan(scores["APs"])
    assert scores["AR1"] == pytest.approx(200 / 3)  # one of two objects of image 1, and that of image 2
    assert detection_scores(truth, found, tasks=["bbox"], reference_compat=True)["bbox"]["AR100"] < 100
    for name, content in (("truth", truth), ("found", found)):
        (tmp_path / name).write_text(json.dumps(content))
    assert detection_scores(tmp_path / "truth", tmp_path / "found", tasks=["bbox"])["bbox"]["AP"] == 100


def test_detection_score_names_and_slices():
    truth, found = detection_case()
    weighted = [{**result, "weight": result["score"]} for result in found]
    for result in weighted:
        del result["score"]
    assert detection_scores(truth, weighted, tasks=["bbox"])["bbox"]["AP"] == 100
    missing = [result for result in found if result["image_id"] == 1]
    assert detection_scores(truth, missing, tasks=["bbox"])["bbox"]["AP"] < 100
    assert detection_scores(truth, missing, tasks=["bbox"], image_ids=[1])["bbox"]["AP"] == 100
    assert detection_scores(truth, [], tasks=["bbox"])["bbox"]["AP"] == 0


def test_detection_refusals(tmp_path):
    truth, found = detection_case()
    with pytest.raises(DataError, match="99"):
        detection_scores(truth, [{**found[0], "image_id": 99}])
    with pytest.raises(DataError, match="nowhere"):
        detection_scores(tmp_path / "nowhere.json", found)


def test_field_of_view_widens_with_distance():
    view = ssc_field_of_view()
    seen = view.sum((1, 2))
    assert seen[-1] > seen[40] > seen[5] and not view[0].any()


def test_completion_of_the_truth_is_perfect():
    raw = torch.zeros(1, 256, 256, 32, dtype=torch.uint8)
    raw[..., 2] = 7  # a road plane
    raw[:, 60:80, 100:120, 3:10] = 1  # a car
    target = ssc_target_labels(raw)
    assert (target[..., :2] == 255).all() and (target[..., 12:] == 0).all()
    metric = CompletionQuality()
    metric.update(torch.where(target == 255, 5, target), target)
    scores = metric.compute()
    for result in scores.direct:
        assert result.geometric_iou == result.precision == result.recall == 1
        assert result.iou[0] == result.iou[6] == 1 and np.isnan(result.iou[1])
        assert result.miou == pytest.approx(2 / 15)
    assert len(completion_table(scores.direct)) == 5 + len(SSC_CLASSES)


def test_prediction_grows_by_one_voxel():
    sigma = torch.zeros(1, 5, 5, 5)
    sigma[0, 2, 2, 2] = 9.0
    classes = torch.full((1, 5, 5, 5), 13)  # car
    labels = ssc_prediction_labels(classes, sigma)
    assert (labels[0, 1:4, 1:4, 1:4] == 1).all() and (labels > 0).sum() == 27
    compatible = ssc_prediction_labels(classes, sigma, reference_compat=True)
    assert compatible[0, 2, 2, 2] == 1 and (compatible == 7).sum() == 26
