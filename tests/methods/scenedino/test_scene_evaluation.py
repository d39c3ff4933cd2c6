"""Scores of views and volumes: the truth is best, and a baseline is what it is."""

import numpy as np
import pytest
import torch

from nolabel.data.kitti360 import Kitti360Views
from nolabel.data.sscbench import SscbenchFrames, find_voxels, read_voxels
from nolabel.errors import DataError
from nolabel.geometry import distance_from_depth
from nolabel.labels import raw_table
from nolabel.methods.scenedino.baselines import BackProjection, EmptyScene, GroundPlane
from nolabel.methods.scenedino.evaluate_2d import Evaluation2dConfig, evaluate_2d
from nolabel.methods.scenedino.evaluate_consistency import evaluate_consistency
from nolabel.methods.scenedino.evaluate_ssc import evaluate_ssc, evaluate_volumes
from nolabel.methods.scenedino.scene_model import ViewPrediction

SIZE = (96, 320)


@pytest.fixture(scope="module")
def views(kitti360_world):
    return Kitti360Views(
        kitti360_world, size=SIZE, stereo=False, side_cameras=False, labels="required", depth=True
    )


class Truth:
    """Knows the labels and depth of its images; its cluster ids are the classes in another order."""

    def __init__(self, samples):
        self.samples = list(samples)

    def view(self, image, intrinsics, *, features=False):
        sample = next(one for one in self.samples if torch.equal(one.images[0], image))
        distance = distance_from_depth(sample.depth, sample.intrinsics[0])
        classes = sample.labels.clamp(max=18)
        colours = image if features else None
        return ViewPrediction(
            {"stego_cluster": (classes + 5) % 19}, {"stego_cluster": classes}, distance, colours
        )


def test_the_truth_scores_all_of_2d(views, tmp_path):
    model = Truth(views[index] for index in range(len(views)))
    result = evaluate_2d(model, views, Evaluation2dConfig(crf=True), out=tmp_path, progress=False)
    scores = result.heads["stego_cluster"]
    assert result.images == len(views) == 2 and scores.accuracy == 1
    present = len(views[0].labels.unique())
    assert scores.miou == pytest.approx(present / 19, abs=2 / 19)  # absent classes count 0
    assert 0.9 < result.heads["stego_cluster_crf"].accuracy < 1
    assert result.depth["abs_rel"] == pytest.approx(0, abs=0.02) and result.depth["a1"] > 0.97
    assert (tmp_path / "results.json").is_file() and "mIoU" in result.table()


def test_distances_taken_for_depths_are_the_originals_way(views):
    model = Truth(views[index] for index in range(len(views)))
    plain = evaluate_2d(model, views, limit=1, progress=False)
    compat = evaluate_2d(
        model, views, Evaluation2dConfig(depth_reference_compat=True), limit=1, progress=False
    )
    assert compat.depth["abs_rel"] > 5 * plain.depth["abs_rel"]


def test_views_without_labels_are_refused(kitti360_world):
    plain = Kitti360Views(kitti360_world, size=SIZE, stereo=False, side_cameras=False)
    with pytest.raises(DataError, match="none of the views has labels"):
        evaluate_2d(EmptyScene(), plain, progress=False)


@pytest.fixture(scope="module")
def frames(kitti360_world):
    return SscbenchFrames(kitti360_world, split="train", size=SIZE)


def test_baselines_of_completion_rank_as_they_should(frames, views, kitti360_world, tmp_path):
    surface = BackProjection(Truth([views[0]]))
    scores = {
        name: evaluate_ssc(model, frames, name=name, out=tmp_path / name, progress=False)
        for name, model in (("empty", EmptyScene()), ("ground", GroundPlane()), ("surface", surface))
    }
    ious = {name: result.scores.direct[0].geometric_iou for name, result in scores.items()}
    assert ious["empty"] == 0 < ious["ground"] and ious["surface"] > 0.1
    assert scores["surface"].scores.direct[-1].miou > scores["ground"].scores.direct[-1].miou > 0
    road = scores["ground"].scores.direct[0].iou[6]
    assert road > 0.1
    ground = scores["ground"]
    assert ground.trade_off[1][2] == ground.scores.direct[-1].recall  # a plane is as dense at any threshold
    text = (tmp_path / "ground" / "results.md").read_text()
    saved = evaluate_ssc(GroundPlane(), frames, out=tmp_path / "kept", save_volumes=True, progress=False)
    again = evaluate_volumes(tmp_path / "kept" / "volumes", kitti360_world / "sscbench", progress=False)
    assert np.array_equal(saved.scores.confusion, again.scores.confusion)
    assert len(list((tmp_path / "kept" / "volumes").glob("*/*_voxels.ply"))) == 1
    assert "Mode: hungarian" in text and f"Mean IoU: {100 * ground.scores.direct[-1].miou:.2f}" in text


def test_label_volumes_of_any_origin(kitti360_world, tmp_path):
    targets = kitti360_world / "sscbench"
    path = find_voxels(targets)[0]
    raw = read_voxels(path).numpy()
    table = raw_table("sscbench", "ssc_16")
    for name, volume in (("own", table[np.where(raw == 255, 0, raw)]), ("raw", np.where(raw == 255, 0, raw))):
        place = tmp_path / name / path.parent.name
        place.mkdir(parents=True)
        np.save(place / path.name, volume.astype(np.uint8))
    for name, space in (("own", "ssc_16"), ("raw", "sscbench_19")):
        result = evaluate_volumes(tmp_path / name, targets, space=space, progress=False)
        best = result.scores.direct[-1]
        assert best.geometric_iou == 1 and best.precision == 1
        assert np.nanmin(best.iou) == 1
    with pytest.raises(DataError, match=r"lacks 1 of 1 volumes"):
        (tmp_path / "other" / "drive").mkdir(parents=True)
        np.save(tmp_path / "other" / "drive" / "000000_1_1.npy", raw)
        evaluate_volumes(tmp_path / "other", targets, progress=False)


def test_consistency_of_colours_along_no_motion(views):
    class NoMotion:
        def flow(self, first, second):
            return torch.zeros(1, 2, *first.shape[-2:])

    samples = [views[index] for index in range(2)]
    pair = samples[0].__class__(**(vars(samples[0]) | {"images": samples[0].images[:1].repeat(2, 1, 1, 1)}))
    scores = evaluate_consistency(Truth([pair]), [pair], NoMotion(), progress=False)
    assert scores.l2 == 0 and scores.visible == 1
