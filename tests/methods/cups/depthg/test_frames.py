"""Frames of stereo video: disparity becomes depth, once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nolabel.errors import ConfigError
from nolabel.methods.cups import motion_source
from nolabel.methods.cups.depthg.frames import StereoFrames, open_frames
from nolabel.methods.cups.pseudo_label_config import MotionConfig
from nolabel.structures import StereoCalibration

FOCAL, BASELINE, DISPARITY = 80.0, 0.5, 8.0


class KnownDisparity:
    """Eight pixels everywhere; the right image disagrees in the upper half."""

    calls = 0

    def disparity(self, left, right, reference="left"):
        KnownDisparity.calls += 1
        disparity = torch.full((1, 1, *left.shape[-2:]), DISPARITY)
        if reference == "right":
            disparity[..., : left.shape[-2] // 2, :] = 30.0
        return disparity


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "drive"
    random = np.random.default_rng(0)
    for side in ("left", "right"):
        (root / side).mkdir(parents=True)
        for number in range(3):
            picture = random.integers(0, 255, (48, 96, 3), dtype=np.uint8)
            Image.fromarray(picture).save(root / side / f"{number:04d}.png")
    StereoCalibration(FOCAL, FOCAL, 48.0, 24.0, BASELINE, 10.0).to_yaml(root / "calibration.yaml")
    monkeypatch.setattr(motion_source, "load_motion", lambda config, device: KnownDisparity())
    KnownDisparity.calls = 0
    return root


def open_drive(root: Path, cache: Path, **options) -> StereoFrames:
    frames = open_frames(root, MotionConfig(), cache, "cpu", **options)
    assert isinstance(frames, StereoFrames)
    return frames


def test_disparity_becomes_metres_where_both_views_agree(drive: Path, tmp_path: Path) -> None:
    frames = open_drive(drive, tmp_path / "depth")
    frame = frames.read(0)
    assert frame.image.shape == (3, 48, 96) and frame.depth.shape == (1, 48, 96)
    assert frames.has_depth and len(frames.names) == 2  # pairs of consecutive frames
    below = frame.depth[0, 24:, 8:]
    torch.testing.assert_close(below, torch.full_like(below, FOCAL * BASELINE / DISPARITY))
    assert frame.depth[0, :24].max() == 0  # the two views disagree
    assert frame.depth[0, :, :7].max() == 0  # not seen by the right camera


def test_depth_is_estimated_once_for_each_frame(drive: Path, tmp_path: Path) -> None:
    first = open_drive(drive, tmp_path / "depth").read(1)
    calls = KnownDisparity.calls
    again = open_drive(drive, tmp_path / "depth").read(1)
    assert KnownDisparity.calls == calls
    torch.testing.assert_close(again.depth, first.depth, atol=0.006, rtol=0)
    other = open_frames(drive, MotionConfig(updates=3), tmp_path / "depth", "cpu")
    other.read(1)
    assert KnownDisparity.calls > calls  # another estimator, another depth


def test_features_that_use_geometry_get_it(drive: Path, tmp_path: Path) -> None:
    assert open_drive(drive, tmp_path / "depth").read(0).geometry is None
    frame = open_drive(drive, tmp_path / "depth", wants_geometry=True).read(0)
    assert frame.geometry is not None and frame.geometry.depth.shape[:2] == (1, 1)


def test_options_that_do_not_belong_together_are_refused(drive: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="its depth is estimated"):
        open_drive(drive, tmp_path, depth=tmp_path)
    with pytest.raises(ConfigError, match="no stereo video"):
        open_frames(drive / "left", MotionConfig(), tmp_path, "cpu", scale=0.5)
