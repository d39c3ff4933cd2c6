import pickle
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nolabel.data import (
    CityscapesStereoVideo,
    FolderStereoVideo,
    KittiRawStereoVideo,
    StereoVideoOptions,
    open_stereo_video,
)
from nolabel.data.clips import runs
from nolabel.data.stereo import valid_region
from nolabel.errors import ConfigError, DataError
from nolabel.structures import StereoCalibration

from .conftest import CALIBRATION, picture, save


def test_pairs_stay_within_their_clip(stereo_folder: Path) -> None:
    dataset = FolderStereoVideo(stereo_folder)
    assert dataset.names == ["drive_a_0", "drive_a_1", "drive_a_2", "drive_b_0", "drive_b_1"]
    assert FolderStereoVideo(stereo_folder, stride=2).names == ["drive_a_0", "drive_a_1", "drive_b_0"]


def test_sample_holds_the_four_images(stereo_folder: Path) -> None:
    sample = FolderStereoVideo(stereo_folder)[1]
    expected = torch.from_numpy(picture(2).copy()).permute(2, 0, 1) / 255
    assert torch.equal(sample["left_1"].as_subclass(torch.Tensor), expected)
    # x_right = x_left - 4
    assert torch.equal(sample["right_1"][..., :-4].as_subclass(torch.Tensor), expected[..., 4:])
    assert sample["valid"].dtype == torch.bool and bool(sample["valid"].all())
    assert sample["calibration"] == StereoCalibration(40, 40, 31.5, 23.5, 0.5, 10)


def test_no_pair_bridges_a_missing_frame(stereo_folder: Path) -> None:
    for side in ("left", "right"):
        (stereo_folder / side / "drive_a" / "1.png").unlink()
    assert FolderStereoVideo(stereo_folder).names == ["drive_a_2", "drive_b_0", "drive_b_1"]


def test_scale_and_crop_move_the_calibration(stereo_folder: Path) -> None:
    sample = FolderStereoVideo(stereo_folder, scale=0.5, crop=(20, 24))[0]
    assert sample["left_0"].shape == (3, 20, 24) and sample["valid"].shape == (20, 24)
    assert sample["calibration"] == StereoCalibration(20, 20, 15.75 - 4, 11.75 - 2, 0.5, 10)


def test_sizes_become_multiples_of_eight(tmp_path: Path) -> None:
    for n in range(2):
        for side in ("left", "right"):
            save(tmp_path / side / f"{n}.png", picture(n, 46, 70))
    (tmp_path / "calibration.yaml").write_text(CALIBRATION)
    dataset = FolderStereoVideo(tmp_path)
    sample = dataset[0]
    assert sample["left_0"].shape == (3, 40, 64) and dataset.size() == (40, 64)
    assert sample["calibration"].cx == 31.5 - 3 and sample["calibration"].cy == 23.5 - 3


def test_only_the_left_image_can_be_read(stereo_folder: Path) -> None:
    dataset = FolderStereoVideo(stereo_folder, scale=0.5)
    assert torch.equal(dataset.image(2)["image"], dataset[2]["left_0"])


def test_the_data_set_travels_to_other_processes(stereo_folder: Path) -> None:
    dataset = FolderStereoVideo(stereo_folder)
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.fingerprint == dataset.fingerprint and torch.equal(copy[0]["left_0"], dataset[0]["left_0"])
    assert FolderStereoVideo(stereo_folder, scale=0.5).fingerprint != dataset.fingerprint


def test_calibration_may_lie_elsewhere(stereo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("elsewhere") / "camera.yaml"
    (stereo_folder / "calibration.yaml").rename(path)
    with pytest.raises(DataError, match=r"no calibration file .*calibration\.yaml"):
        FolderStereoVideo(stereo_folder)
    assert open_stereo_video(stereo_folder, calibration=path).calibration(0).fx == 40


def test_missing_partners_are_counted(stereo_folder: Path) -> None:
    (stereo_folder / "right" / "drive_b" / "0.png").unlink()
    with pytest.raises(DataError, match="1 of 7 left frames have no right frame: drive_b/0"):
        FolderStereoVideo(stereo_folder)


def test_unknown_options_name_the_nearest(stereo_folder: Path) -> None:
    with pytest.raises(ConfigError) as error:
        FolderStereoVideo(stereo_folder, scales=0.5)
    assert "scale" in str(error.value.hint)
    with pytest.raises(DataError, match="crop of 640x1280 does not fit in 48x64"):
        FolderStereoVideo(stereo_folder, crop=(640, 1280))[0]


def test_views_of_different_size_are_refused(stereo_folder: Path) -> None:
    save(stereo_folder / "right" / "drive_a" / "0.png", picture(0, 48, 32))
    with pytest.raises(DataError, match=r"right/drive_a/0.png has 48x32 pixels"):
        FolderStereoVideo(stereo_folder)[0]


def test_valid_region_of_the_published_size() -> None:
    options = StereoVideoOptions(**CityscapesStereoVideo.defaults)
    valid = valid_region(1024, 2048, options)
    rows, columns = valid.any(1).nonzero().flatten(), valid.any(0).nonzero().flatten()
    assert (rows[0], rows[-1]) == (51, 1024 - 205 - 1)
    assert (columns[0], columns[-1]) == (96, 2048 - 96 - 1)
    assert int(valid.sum()) == len(rows) * len(columns)


def test_cityscapes_snippets_of_thirty_are_not_joined(cityscapes: Callable[..., Path]) -> None:
    root = cityscapes({("bonn", "000000"): list(range(100, 160))}, {("bonn", "000000"): [119, 149]})
    dataset = CityscapesStereoVideo(root, scale=1.0, crop=None)
    assert len(dataset) == 58
    assert "bonn_000000_000129_leftImg8bit" not in dataset.names
    # The nearest camera file: 134 is as far from 119 as from 149.
    focal = [
        dataset.calibration(dataset.names.index(f"bonn_000000_000{n}_leftImg8bit")).fx
        for n in (100, 133, 136)
    ]
    assert focal == [139.0, 139.0, 169.0]


def test_cityscapes_layout_with_short_clips(cityscapes: Callable[..., Path]) -> None:
    clips = {("town", f"{k:06d}"): [0, 1] for k in range(3)} | {("town", "000009"): [0, 1, 4, 5]}
    dataset = open_stereo_video(cityscapes(clips, {key: [0] for key in clips}), scale=1.0, crop=None)
    assert [name.split("_leftImg8bit")[0][-13:] for name in dataset.names] == [
        "000000_000000",
        "000001_000000",
        "000002_000000",
        "000009_000000",
        "000009_000004",
    ]
    assert dataset[0]["valid"].sum() == (16 - 1 - 3) * (32 - 2 * 2)


def test_cityscapes_says_what_is_missing(cityscapes: Callable[..., Path]) -> None:
    root = cityscapes({("ulm", "000001"): [0, 1, 2]}, {("ulm", "000002"): [0]})
    with pytest.raises(DataError, match="2 frames have no camera file") as error:
        CityscapesStereoVideo(root)
    assert "cityscapes-dataset.com" in str(error.value.hint)
    (root / "rightImg8bit_sequence/train/ulm/ulm_000001_000001_rightImg8bit.png").unlink()
    with pytest.raises(DataError, match="1 of 3 left frames have no right frame"):
        CityscapesStereoVideo(root)
    with pytest.raises(DataError, match=r"no folder .*leftImg8bit_sequence/val"):
        CityscapesStereoVideo(root, "val")


def _drive(root: Path, name: str, frames: int) -> None:
    for n in range(frames):
        for camera in ("image_02", "image_03"):
            save(root / name[:10] / f"{name}_sync" / camera / "data" / f"{n:010d}.png", picture(n, 16, 24))
    lines = "P_rect_02: 20 0 12 2 0 20 8 0 0 0 1 0\nP_rect_03: 20 0 12 -8 0 20 8 0 0 0 1 0\n"
    (root / name[:10] / "calib_cam_to_cam.txt").write_text(lines)


def test_kitti_leaves_out_drives_and_surroundings(tmp_path: Path) -> None:
    _drive(tmp_path, "2011_09_26_drive_0119", 3)  # an ignored drive
    _drive(tmp_path, "2011_09_26_drive_0014", 30)  # frames 10 and 20 are validation frames
    dataset = KittiRawStereoVideo(tmp_path)
    first = [int(name[-10:]) for name in dataset.names]
    assert first == [*range(4), *range(25, 29)]
    sample = dataset[0]
    assert sample["name"] == "2011_09_26_drive_0014_sync_0000000000"
    assert sample["left_0"].shape == (3, 368, 1104)
    assert sample["calibration"] == StereoCalibration(20, 20, 12, 8, 0.5, 10)  # top-left: nothing moves
    np.testing.assert_allclose(
        sample["left_0"][:, :16, :24], picture(0, 16, 24).transpose(2, 0, 1) / 255, atol=1e-6
    )


def _flat(root: Path, stems: list[str]) -> Path:
    for n, stem in enumerate(stems):
        for side in ("left", "right"):
            save(root / side / f"{stem}.png", picture(n, 16, 24))
    (root / "calibration.yaml").write_text(CALIBRATION)
    return root


def test_clips_in_one_folder_are_told_apart_by_their_names(tmp_path: Path) -> None:
    root = _flat(tmp_path, ["000000_000000", "000000_000001", "000001_000002", "000001_000003"])
    assert FolderStereoVideo(root).names == ["000000_000000", "000001_000002"]


def test_time_stamps_are_no_frame_numbers(tmp_path: Path) -> None:
    root = _flat(
        tmp_path, ["1403636579763555584", "1403636579813555901", "1403636579863556213", "1403636579913554911"]
    )
    assert len(FolderStereoVideo(root)) == 3


@given(st.lists(st.integers(0, 60), min_size=1, unique=True).map(sorted))
def test_runs_keep_every_frame_and_break_at_gaps_only(numbers: list[int]) -> None:
    pieces = runs(numbers, numbers)
    assert [number for piece in pieces for number in piece] == numbers
    inside = [b - a for piece in pieces for a, b in pairwise(piece)]
    between = [b[0] - a[-1] for a, b in pairwise(pieces)]
    assert max(inside, default=0) < min(between, default=99)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([0, 1, 3, 6], [[0, 1], [3], [6]]),
        ([0, 5, 10, 20, 25], [[0, 5, 10], [20, 25]]),
        ([0, 33, 67, 100, 200, 233], [[0, 33, 67, 100], [200, 233]]),
        ([7, 9], [[7, 9]]),
        ([3, None, 9], [[3, None, 9]]),
        ([], []),
    ],
)
def test_runs(numbers: list[int | None], expected: list[list[int | None]]) -> None:
    assert runs(numbers, numbers) == expected


def test_footage_of_one_camera_is_refused_in_plain_words(tmp_path: Path) -> None:
    for n in range(3):
        save(tmp_path / "frames" / f"{n}.png", picture(n))
    with pytest.raises(DataError, match="one view only") as caught:
        open_stereo_video(tmp_path / "frames")
    assert "left/ and right/" in (caught.value.hint or "")
    (tmp_path / "stereo").mkdir()
    (tmp_path / "frames").rename(tmp_path / "stereo" / "left")
    with pytest.raises(DataError, match="there is no folder"):
        open_stereo_video(tmp_path / "stereo")
