"""SceneDINO's scores: 2D segmentation, depth, features, occupancy, scene completion (golden scenedino)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden.support import case_parameters, load_npz
from nolabel.metrics import (
    SCENEDINO_CLASS_WEIGHTS,
    CompletionQuality,
    SemanticQuality,
    depth_scores,
    feature_scores,
    merge_clusters,
    occupancy_scores,
    semantic_scores,
)
from nolabel.metrics.completion import (
    completion_table,
    ssc_prediction_labels,
    ssc_target_labels,
    ssc_unobserved,
)

pytestmark = pytest.mark.golden


def compare_2d(scores, recorded, prefix):
    np.testing.assert_allclose(scores.iou, recorded[f"{prefix}_per_class_iou"], atol=1e-6)
    np.testing.assert_allclose(scores.miou, recorded[f"{prefix}_miou"], atol=1e-6)
    np.testing.assert_allclose(scores.weighted_miou, recorded[f"{prefix}_weighted_miou"], atol=1e-6)
    np.testing.assert_allclose(scores.accuracy, recorded[f"{prefix}_acc"], atol=1e-6)
    np.testing.assert_array_equal(scores.confusion[:, :-1], recorded[f"{prefix}_confusion_matrix"])


@pytest.mark.parametrize("path", case_parameters("scenedino", "seg_metric"))
def test_segmentation(path):
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    target = torch.from_numpy(given["gt"])
    runs = [name.removeprefix("confusion") for name in recorded if name.startswith("confusion")]
    assert runs
    for run in runs:
        classes, clusters = recorded[f"confusion{run}"].shape
        options = {"absent_classes": "zero", "class_weights": SCENEDINO_CLASS_WEIGHTS}
        metric = SemanticQuality(classes, clusters, matching="covering", **options)
        metric.update(torch.from_numpy(given[f"pred{run}"]), target)
        counts = metric.confusion[:, :-1].numpy()
        np.testing.assert_array_equal(counts, recorded[f"confusion{run}"])
        scores, prefix = metric.compute(), f"n{run}_assigned"
        best = recorded[f"{prefix}_assignment"]
        assert np.array_equal(np.unique(scores.assignment), np.arange(classes))
        # Several maps may be best: ours has the same total, and theirs gives their numbers.
        everyone = np.arange(clusters)
        assert counts[scores.assignment, everyone].sum() == counts[best, everyone].sum()
        np.testing.assert_allclose(scores.accuracy, recorded[f"{prefix}_acc"], atol=1e-6)
        compare_2d(semantic_scores(merge_clusters(counts.T, best), **options), recorded, prefix)
        if f"n{run}_direct_miou" in recorded:
            direct = SemanticQuality(classes, clusters, **options)
            direct.update(torch.from_numpy(given[f"pred{run}"]), target)
            compare_2d(direct.compute(), recorded, f"n{run}_direct")


@pytest.mark.parametrize("path", case_parameters("scenedino", "depth_and_feature_metrics"))
def test_depth_features_occupancy(path):
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    tensors = {name: torch.from_numpy(values) for name, values in given.items()}
    depth = [tensors[name].flatten(0, 1) for name in ("pred", "gt")]
    ours = {}
    for prefix, scaling in (("depth_", "none"), ("depth_l2scaled_", "least_squares")):
        scores = depth_scores(*depth, scaling=scaling, reference_compat=True)
        ours |= {prefix + name: values for name, values in scores.items()}
    features = feature_scores(tensors["dino_pred"].squeeze(-2), tensors["dino_gt"])
    for ours_name, theirs in (("l1", "l1"), ("l2", "l2"), ("cosine", "cos_sim")):
        views = features[ours_name][0]
        ours |= {f"dino_{theirs}_{view}": value for view, value in enumerate(views)}
        ours[f"dino_{theirs}"] = views.mean()
    occupancy = occupancy_scores(tensors["occ_pred"], tensors["occ_gt"], tensors["vis"])
    ours |= {f"occ_{name}": value for name, value in occupancy.items()}
    assert set(recorded) <= set(ours)
    for name, value in recorded.items():
        np.testing.assert_allclose(ours[name].numpy().ravel(), value.ravel(), rtol=1e-5, err_msg=name)


def recorded_tables(text):
    """Columns of both tables in results.md: name -> three printed values, and the lines below them."""
    for part in text.split("Mode: ")[1:]:
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines() if "|" in line]
        values = {row[0]: row[1:] for row in rows if not row[0].startswith("--")}
        below = dict(line.split(": ") for line in part.splitlines() if ": " in line)
        yield part.split()[0], values, below


@pytest.mark.parametrize("path", case_parameters("scenedino", "ssc_evaluation"))
def test_scene_completion(path):
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    tensors = {name: torch.from_numpy(values) for name, values in given.items()}
    target = ssc_target_labels(tensors["target"])
    invalid = np.unpackbits(recorded["additional_invalids_packed"])[: target.numel()].reshape(target.shape)
    raw_invalid = (target == 255).numpy() & (given["target"] != 255)
    np.testing.assert_array_equal(raw_invalid, invalid.astype(bool))
    np.testing.assert_array_equal(raw_invalid.sum((1, 2, 3)), recorded["additional_invalids_count"])
    assert not ssc_unobserved(target).any()
    metric = CompletionQuality()
    for frame in range(len(target)):
        one = slice(frame, frame + 1)
        classes, sigma = tensors["classes"][one], tensors["sigma"][one]
        metric.update(ssc_prediction_labels(classes, sigma, reference_compat=True), target[one])
    scores = metric.compute()
    ranges = [values for name, values in recorded.items() if name.startswith("confusion_")]
    np.testing.assert_array_equal(scores.confusion, np.stack(ranges))
    modes = {"direct": scores.direct, "hungarian": scores.matched}
    tables = list(recorded_tables((path / "results.md").read_text()))
    assert {mode for mode, _, _ in tables} == set(modes)
    for mode, table, below in tables:
        for name, *values in completion_table(modes[mode]):
            assert table[name] == values, (mode, name)
        assert below["Mean IoU"] == f"{100 * modes[mode][-1].miou:.2f}"
        assert below["Weighted Mean IoU"] == f"{100 * modes[mode][-1].weighted_miou:.2f}"
        if "Reassignment" in below:
            assert below["Reassignment"].strip("[]").split() == [str(c) for c in scores.reassignment]
