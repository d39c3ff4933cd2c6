"""Worlds in KITTI-360's layout: cameras, LiDAR and voxels tell of one and the same scene."""

import numpy as np
import torch

from nolabel.data.kitti360 import Kitti360Views
from nolabel.data.kitti360_calibration import SIDE, read_kitti360_calibration
from nolabel.data.sscbench import find_voxels, read_voxels
from nolabel.geometry import PinholeCamera, transform
from nolabel.metrics.completion import ssc_field_of_view, ssc_voxel_centres
from nolabel.world import Renderer, Rig, generate_scene
from nolabel.world.kitti360_files import SSC_GRID, camera_to_vehicle, perspective_matrix, vehicle_pose

SIZE, FPS, SEED = (96, 320), 4.0, 3


def test_fisheye_images_become_the_pictures_of_a_perspective_camera(kitti360_world):
    sample = Kitti360Views(kitti360_world, size=SIZE, side_offset=0)[0]
    renderer = Renderer(generate_scene(SEED), "synthetic", Rig(SIZE, fps=FPS))
    matrix = perspective_matrix(SIZE)
    matrix[:2, 2] -= 0.5
    calibration = read_kitti360_calibration(kitti360_world / "calibration")
    for view, camera in ((4, SIDE[0]), (6, SIDE[1])):
        pose = vehicle_pose(renderer.scene, 0.0) @ calibration.camera_to_vehicle[camera]
        exact = renderer.view(0.0, pose, matrix, SIZE).image
        seen = sample.images[view]
        assert sample.cameras[view] == camera
        difference = [float((exact - seen.roll(shift, -1)).abs()[..., 8:-8].mean()) for shift in (-6, 0, 6)]
        assert difference[1] < 0.6 * min(difference[0], difference[2])  # the rest is texture that got blurred


def test_lidar_points_are_the_depth_of_the_left_camera(kitti360_world):
    views = Kitti360Views(kitti360_world, size=SIZE, side_cameras=False, depth=True, labels="present")
    sample = views[0]
    renderer = Renderer(generate_scene(SEED), "synthetic", Rig(SIZE, fps=FPS))
    matrix = perspective_matrix(SIZE)
    matrix[:2, 2] -= 0.5
    pose = vehicle_pose(renderer.scene, 0.0) @ camera_to_vehicle("image_00")
    frame = renderer.view(0.0, pose, matrix, SIZE)
    torch.testing.assert_close(sample.depth, frame.depth, rtol=1e-4, atol=1e-3)
    assert torch.equal(sample.labels, frame.semantic)
    torch.testing.assert_close(sample.intrinsics[0].double(), matrix, rtol=1e-6, atol=1e-3)


def test_voxels_hold_what_the_camera_sees(kitti360_world):
    sample = Kitti360Views(kitti360_world, size=SIZE, side_cameras=False, depth=True, labels="present")[0]
    voxels = read_voxels(find_voxels(kitti360_world / "sscbench")[0])
    points = PinholeCamera(sample.intrinsics[0]).backproject(sample.depth)
    kept = (
        (sample.depth > 0) & (sample.depth < 40) & ~torch.isin(sample.labels, torch.tensor([8]))
    )  # leaves have holes
    calibration = read_kitti360_calibration(kitti360_world / "calibration")
    lidar = transform(torch.linalg.inv(calibration.lidar_to_camera("image_00")), points[kept].double())
    index, inside = SSC_GRID.index_of(lidar)
    found = voxels[tuple(index[inside].T)]
    assert inside.float().mean() > 0.8
    assert (found > 0).float().mean() > 0.97
    road = sample.labels[kept][inside] == 0
    # The centres of the evaluation's grid, in the camera's frame, are those of this grid.
    centres = transform(calibration.lidar_to_camera("image_00"), SSC_GRID.centres(torch.float64))
    torch.testing.assert_close(centres, ssc_voxel_centres(), rtol=0, atol=1e-5)
    assert (found[road] == 7).float().mean() > 0.9
    assert ssc_field_of_view()[tuple(index[inside].T)].float().mean() > 0.98


def test_what_is_enclosed_is_unknown(kitti360_world):
    voxels = read_voxels(find_voxels(kitti360_world / "sscbench")[0]).numpy()
    counts = {label: int((voxels == label).sum()) for label in np.unique(voxels)}
    assert counts[0] > counts[255] > 0 and {7, 9, 11} <= set(counts)
