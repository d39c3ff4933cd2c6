"""Semantic scores against hand-made tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nolabel.errors import ConfigError, DataError
from nolabel.metrics import SemanticQuality, confusion_matrix, cotraining_scores, semantic_scores
from nolabel.metrics.semantic import iou_per_class

TABLE = np.array([[6, 2, 0, 2], [1, 3, 0, 0], [0, 0, 0, 0]])  # class 2 never occurs; 2 px left void


def test_confusion_by_hand():
    target = torch.tensor([[0, 0, 1, 255], [1, 2, -1, 0]])
    prediction = torch.tensor([[0, 1, 1, 0], [255, 3, 1, -1]])
    expected = [[1, 1, 0, 0, 1], [0, 1, 0, 0, 1], [0, 0, 0, 1, 0]]
    assert confusion_matrix(prediction, target, 3, 4).tolist() == expected


def test_void_predictions_are_errors_or_dropped():
    error, drop = semantic_scores(TABLE), semantic_scores(TABLE, void_predictions="drop")
    np.testing.assert_allclose(error.iou, [6 / 11, 3 / 6, np.nan])
    np.testing.assert_allclose(drop.iou, [6 / 9, 3 / 6, np.nan])
    assert error.accuracy == pytest.approx(9 / 14) and drop.accuracy == pytest.approx(9 / 12)
    assert error.miou == pytest.approx((6 / 11 + 1 / 2) / 2)
    np.testing.assert_allclose(error.recall, [0.6, 0.75, np.nan])
    np.testing.assert_allclose(error.precision, [6 / 7, 3 / 5, np.nan])
    assert error.frequency_weighted_iou == pytest.approx((6 / 11 * 10 + 0.5 * 4) / 14)


def test_absent_classes():
    assert semantic_scores(TABLE, absent_classes="zero").miou == pytest.approx((6 / 11 + 1 / 2) / 3)


def test_subsets_and_weights():
    scores = semantic_scores(
        TABLE, class_ids=[1], class_weights=[1, 3, 0], subsets={"first": [0], "two": [0, 1]}
    )
    assert scores.miou == pytest.approx(0.5)
    assert scores.subsets == pytest.approx({"first": 6 / 11, "two": (6 / 11 + 0.5) / 2})
    assert scores.weighted_miou == pytest.approx((6 / 11 + 1.5) / 4)
    assert scores.values()["miou_first"] == pytest.approx(6 / 11)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_updates_add_up(seed, classes):
    generator = torch.Generator().manual_seed(seed)
    prediction, target = torch.randint(0, classes + 2, (2, 3, 8, 8), generator=generator)
    whole, parts = SemanticQuality(classes), SemanticQuality(classes)
    whole.update(prediction, target)
    for p, t in zip(prediction, target, strict=True):
        parts.update(p, t)
    assert torch.equal(whole.confusion, parts.confusion)
    assert int(whole.confusion.sum()) == int((target < classes).sum())
    iou = iou_per_class(whole.confusion.numpy())
    for c in range(classes):
        mine, true = (prediction == c) & (target < classes), target == c
        if (mine | true).any():
            assert iou[c] == pytest.approx(((mine & true).sum() / (mine | true).sum()).item())
        else:
            assert np.isnan(iou[c])


def test_matching_finds_a_permutation():
    target = torch.randint(0, 5, (4, 16, 16), generator=torch.Generator().manual_seed(0))
    permutation = torch.tensor([3, 0, 4, 1, 2])
    metric = SemanticQuality(5, matching="one_to_one")
    metric.update(permutation[target], target)
    scores = metric.compute()
    assert scores.miou == scores.accuracy == 1
    assert torch.equal(torch.from_numpy(scores.assignment)[permutation], torch.arange(5))


def test_extra_clusters_are_errors_one_to_one_and_merge_many_to_one():
    target = torch.tensor([0] * 6 + [1] * 4)
    prediction = torch.tensor([0] * 4 + [2] * 2 + [1] * 4)
    strict, merged = (SemanticQuality(2, 3, matching=rule) for rule in ("one_to_one", "many_to_one"))
    for metric in (strict, merged):
        metric.update(prediction, target)
    assert strict.compute().accuracy == pytest.approx(0.8)
    np.testing.assert_allclose(strict.compute().iou, [4 / 6, 1])
    assert merged.compute().accuracy == 1


def test_beyond_float32_counts_stay_exact():
    metric = SemanticQuality(1)
    metric.confusion += 2**24
    metric.update(torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    assert metric.confusion[0, 0] == 2**24 + 1


def test_cotraining_void_mode_is_nan_aware_unless_compatible():
    table = np.array([[4, 1, 0], [1, 4, 0], [0, 0, 0]])
    ours = cotraining_scores(table, void_is_class=True)
    theirs = cotraining_scores(table, void_is_class=True, reference_compat=True)
    assert ours.miou == pytest.approx(100 * 4 / 6) and np.isnan(theirs.miou)
    assert ours.pixel_accuracy == theirs.pixel_accuracy == pytest.approx(80)


def test_refusals():
    with pytest.raises(DataError, match="differ"):
        confusion_matrix(torch.zeros(3, dtype=torch.int64), torch.zeros(4, dtype=torch.int64), 2, 2)
    with pytest.raises(DataError, match="integers"):
        confusion_matrix(torch.zeros(3), torch.zeros(3, dtype=torch.int64), 2, 2)
    with pytest.raises(ConfigError, match="ignore"):
        semantic_scores(TABLE, void_predictions="ignore")
