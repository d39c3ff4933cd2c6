"""KITTI-360 and own rigs as posed views."""

from pathlib import Path

import pytest
import torch
import yaml

from nolabel.data.kitti360 import Kitti360Views, prepared_folder
from nolabel.data.kitti360_calibration import CAMERAS, lidar_depth, read_kitti360_calibration
from nolabel.data.posed_opening import open_posed_views
from nolabel.data.posed_rig import read_poses
from nolabel.data.rig_folder import RigFolderViews
from nolabel.errors import ConfigError, DataError
from nolabel.geometry import pixel_fisheye, pixel_intrinsics
from nolabel.methods.scenedino.prepare import prepare_kitti360

SIZE = (48, 160)
DRIVE = "2013_05_28_drive_1000_sync"


def linked(world: Path, out: Path, *without: str) -> Path:
    """A folder with the parts of the world but some, which may then be written anew."""
    out.mkdir(parents=True, exist_ok=True)
    for part in world.iterdir():
        if part.name not in without:
            (out / part.name).symlink_to(part)
    return out


def test_views_come_in_pairs_of_cameras_the_first_one_first(kitti360_world):
    views = Kitti360Views(kitti360_world, size=SIZE, side_offset=1)
    assert len(views) == 4  # two frames with a next one, from both cameras
    left, right = views[0], views[1]
    assert left.cameras == tuple(name for name in CAMERAS for _ in range(2))
    assert right.cameras[:4] == ("image_01", "image_01", "image_00", "image_00")
    assert left.frame_ids == (0, 1, 0, 1, 1, 2, 1, 2)
    assert left.images.shape == (8, 3, *SIZE)
    torch.testing.assert_close(left.poses[0], torch.eye(4))
    torch.testing.assert_close(left.poses[2, :3, 3], torch.tensor([0.594, 0.0, 0.0]), rtol=0, atol=1e-3)
    torch.testing.assert_close(left.images[2], right.images[0])


def test_frames_beyond_the_end_are_the_last_one_and_draws_repeat(kitti360_world):
    views = Kitti360Views(kitti360_world, size=SIZE, stereo=False, side_offset=(1, 40))
    drawn = []
    for seed in (0, 0, 1, 2, 3):
        torch.manual_seed(seed)
        drawn.append(views[0].frame_ids)
    assert drawn[0] == drawn[1]
    assert drawn[0][2:4] == drawn[0][4:6]  # one draw for both sides
    assert all(frame <= 2 for frames in drawn for frame in frames)
    assert all(frames[:2] == (0, 1) for frames in drawn)


def test_prepared_images_are_read_instead(kitti360_world, tmp_path):
    prepare_kitti360(kitti360_world, tmp_path, size=SIZE, progress=False)
    raw = Kitti360Views(kitti360_world, size=SIZE, side_offset=1)[0]
    ready = Kitti360Views(kitti360_world, size=SIZE, side_offset=1, prepared=tmp_path)[0]
    assert prepared_folder(tmp_path, DRIVE, "image_02", SIZE).is_dir()
    assert float((raw.images - ready.images).abs().max()) <= 0.5 / 255 + 1e-6
    torch.testing.assert_close(raw.poses, ready.poses)
    again = prepare_kitti360(kitti360_world, tmp_path, size=SIZE, progress=False)
    assert (again.done, again.skipped) == (0, 4)


def test_lists_and_labels_choose_the_samples(kitti360_world, tmp_path):
    lines = tmp_path / "mine.txt"
    lines.write_text(f"{DRIVE} 1 r\n{DRIVE} 0 l\n2013_05_28_drive_0002_sync 5 l\n")
    views = Kitti360Views(kitti360_world, lists=lines, size=SIZE, side_cameras=False)
    assert [(m.place, m.camera) for m in views.moments] == [(1, "image_01"), (0, "image_00")]
    needed = Kitti360Views(kitti360_world, lists=lines, size=SIZE, side_cameras=False, labels="required")
    assert len(needed) == 1 and needed[0].labels.shape == SIZE
    lines.write_text(f"{DRIVE} 7 l\n")
    with pytest.raises(DataError, match="starts from row 7"):
        Kitti360Views(kitti360_world, lists=lines, size=SIZE)


def test_the_rule_names_official_drives(kitti360_world, tmp_path):
    root = linked(kitti360_world, tmp_path, "splits")
    with pytest.raises(DataError, match="no drive of split 'train'"):
        Kitti360Views(root, size=SIZE)
    with pytest.raises(ConfigError, match="no split 'trial'"):
        Kitti360Views(root, "trial", size=SIZE)


def test_missing_images_are_named(kitti360_world, tmp_path):
    root = linked(kitti360_world, tmp_path, "data_2d_raw")
    drive = linked(kitti360_world / "data_2d_raw" / DRIVE, root / "data_2d_raw" / DRIVE, "image_01")
    (drive / "image_01" / "data_rect").mkdir(parents=True)
    with pytest.raises(DataError, match="3 images are missing"):
        Kitti360Views(root, size=SIZE)
    assert len(Kitti360Views(root, size=SIZE, stereo=False)) == 2


def test_depth_takes_the_nearest_point_and_none_from_behind():
    matrix = torch.diag(torch.tensor([1.0, 1.0, 1.0]))
    points = torch.tensor([[0.0, 0.0, 9.0], [0.0, 0.0, 5.0], [0.0, 0.0, -2.0], [4.0, 0.0, 5.0]])
    depth = lidar_depth(points, matrix, torch.eye(4), (4, 5))
    assert depth[2, 2] == 5 and depth[2, 4] == 5 and int((depth > 0).sum()) == 2


def test_broken_pose_files_are_explained(tmp_path):
    path = tmp_path / "poses.txt"
    path.write_text("0 1 2 3\n")
    with pytest.raises(DataError, match="rows 1 do not have 13 numbers"):
        read_poses(path)
    path.write_text("")
    with pytest.raises(DataError, match="it has no row"):
        read_poses(path)


@pytest.fixture
def own_rig(kitti360_world, tmp_path):
    """The world once more, as a person with other cameras would describe it."""
    calibration = read_kitti360_calibration(kitti360_world / "calibration")
    (height, width), cameras = calibration.image_size, {}
    pinhole = pixel_intrinsics(calibration.matrix, height, width)
    view = {"fx": pinhole[0, 0], "fy": pinhole[1, 1], "cx": pinhole[0, 2], "cy": pinhole[1, 2]}
    view = {name: float(value) for name, value in view.items()}
    for name, camera in (("left", "image_00"), ("right", "image_01"), ("side", "image_02")):
        kind = "data_rgb" if name == "side" else "data_rect"
        (tmp_path / name).symlink_to(kitti360_world / "data_2d_raw" / DRIVE / camera / kind)
        to_rig = calibration.camera_to_vehicle[camera]
        cameras[name] = dict(view)
        if name == "side":
            mei = pixel_fisheye(calibration.fisheye[camera], width, width)
            names = ("xi", "k1", "k2", "gamma1", "gamma2", "u0", "v0")
            turn = torch.eye(4, dtype=torch.float64)
            turn[:3, :3] = calibration.rotation[camera]
            to_rig = to_rig @ turn.T
            cameras[name] = {
                "fisheye": dict(zip(names, mei.tolist(), strict=True)),
                "view": view | {"width": width, "height": height, "tilt": -15.0},
                "offset": [1, 1],
            }
        cameras[name]["to_rig"] = to_rig[:3].flatten().tolist()
    (tmp_path / "rig.yaml").write_text(
        yaml.safe_dump({"cameras": cameras, "splits": {"train": [0, 2]}}, sort_keys=False)
    )
    (tmp_path / "poses.txt").write_bytes((kitti360_world / "data_poses" / DRIVE / "poses.txt").read_bytes())
    return tmp_path


def test_own_rigs_give_the_same_views(kitti360_world, own_rig):
    theirs = Kitti360Views(kitti360_world, size=SIZE, side_offset=1)[0]
    ours = open_posed_views(own_rig, size=SIZE)[0]
    assert ours.cameras == ("left", "left", "right", "right", "side", "side")
    torch.testing.assert_close(ours.images, theirs.images[:6], rtol=0, atol=2e-3)
    torch.testing.assert_close(ours.poses, theirs.poses[:6], rtol=0, atol=1e-4)
    torch.testing.assert_close(ours.intrinsics, theirs.intrinsics[:6], rtol=0, atol=1e-3)


def test_own_rigs_say_what_is_wrong(own_rig):
    assert len(RigFolderViews(own_rig, size=SIZE)) == 2
    with pytest.raises(DataError, match="no split 'val'"):
        RigFolderViews(own_rig, "val", size=SIZE)
    content = yaml.safe_load((own_rig / "rig.yaml").read_text())
    del content["cameras"]["right"]["fy"]
    (own_rig / "rig.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(DataError, match="right needs fx, fy, cx, cy"):
        RigFolderViews(own_rig, size=SIZE)
    with pytest.raises(ConfigError, match="unexpected keyword"):
        open_posed_views(own_rig, fisheye=True)
