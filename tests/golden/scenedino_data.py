"""SceneDINO's data sets and its CRF (golden scenedino)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden.scenedino_geometry import case, close
from golden.support import case_parameters
from nolabel.data.driving_views import cut_to_view, raw_to_kitti360
from nolabel.data.kitti360_calibration import PERSPECTIVE, SIDE, lidar_depth, read_kitti360_calibration
from nolabel.data.realestate import camera_to_world, covering_crop
from nolabel.labels import VOID, raw_table
from nolabel.methods.scenedino.crf import refined_beliefs

pytestmark = pytest.mark.golden


@pytest.mark.parametrize("path", case_parameters("scenedino", "kitti360_calibration_and_depth"))
def test_kitti360(path):
    given, recorded = case(path)
    ours = read_kitti360_calibration(path / "calibration")
    close(ours.matrix, recorded["K"], 1e-5)
    assert list(ours.image_size) == recorded["im_size"].tolist()
    for camera in PERSPECTIVE + SIDE:
        close(ours.camera_to_vehicle[camera], recorded[f"T_cam_to_pose_{camera[-2:]}"], 1e-5)
    for camera in SIDE:
        close(ours.rotation[camera], recorded[f"R_{camera[-2:]}"], 1e-5)
        close(ours.fisheye[camera], recorded[f"fisheye_{camera[-2:]}"], 1e-5)
    close(ours.lidar_to_vehicle, recorded["T_velo_to_pose"], 1e-5)
    for camera in PERSPECTIVE:
        close(ours.lidar_to_camera(camera), recorded[f"T_velo_to_cam_{camera[-2:]}"], 1e-5)
    size = (192, 640)  # README: "LiDAR depth map of the left camera at 192x640"
    # The original's float32 matrices: a point lies so near the border of two pixels that ours move it.
    to_camera = recorded[f"T_velo_to_cam_{PERSPECTIVE[0][-2:]}"]
    depth = lidar_depth(given["points"], recorded["K"], to_camera, size, reference_compat=True).flatten()
    assert torch.equal(depth.nonzero().squeeze(1), recorded["depth_index"])
    close(depth[recorded["depth_index"]], recorded["depth_value"], 1e-5)
    classes = raw_table("kitti_360", "cityscapes_19")[given["labels"].numpy()].astype(np.int64)
    np.testing.assert_array_equal(np.where(classes == VOID, -1, classes), recorded["train_id"].numpy())


@pytest.mark.parametrize("path", case_parameters("scenedino", "re10k_geometry"))
def test_realestate(path):
    given, recorded = case(path)
    target = tuple(given["target"].tolist())
    crop = covering_crop(tuple(given["image"].shape[:2]), target)
    assert list(crop.resized) == recorded["resize_to"].tolist()
    assert [crop.left, crop.top, *crop.size[::-1]] == recorded["crop"].tolist()
    image = given["image"].permute(2, 0, 1)
    shown = image * 2 - 1 if recorded["image"].min() < 0 else image
    close(crop(shown), recorded["image"], 1e-5)
    close(crop.intrinsics(given["intr"], reference_compat=True), recorded["K"], 1e-5)
    close(camera_to_world(given["pose"]), recorded["pose_c2w"], 1e-5)


@pytest.mark.parametrize("path", case_parameters("scenedino", "cityscapes_bdd_transforms"))
def test_street_views(path):
    given, recorded = case(path)
    size = tuple(recorded["labels"].shape)
    image, labels = cut_to_view(given["image"].permute(2, 0, 1), given["labels"], size)
    assert float((2 * image[:, ::4, ::4] - 1 - recorded["image_sub4"]).abs().max()) <= 2 / 255
    assert torch.equal(labels, recorded["labels"])
    table = raw_to_kitti360("bdd_panoptic")[: len(recorded["bdd_to_kitti_id"])]
    np.testing.assert_array_equal(table, recorded["bdd_to_kitti_id"].numpy())


@pytest.mark.parametrize("path", case_parameters("scenedino", "dense_crf"))
def test_dense_crf(path):
    given, recorded = case(path)
    image = given["rgb"].permute(2, 0, 1)
    beliefs = refined_beliefs(given["labels"], image)
    assert float((beliefs - recorded["q"]).abs().max()) <= 0.05
    assert float((beliefs.argmax(dim=0) == recorded["refined"]).float().mean()) > 0.99
