"""Which images of a data set may be learnt from without labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nolabel.data import KittiRawStereoVideo, VideoFrames, open_unlabelled
from nolabel.errors import DataError


def save(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 12, 3), value, dtype=np.uint8)).save(path)
    return path


def test_cityscapes_gives_every_left_training_frame(cityscapes: Callable[..., Path]) -> None:
    clips = {("aachen", "000000"): [3, 4], ("ulm", "000001"): [7]}
    root = cityscapes(clips, {})
    save(root / "leftImg8bit_sequence" / "val" / "bonn" / "bonn_000000_000001_leftImg8bit.png")
    save(root / "leftImg8bit" / "train" / "ulm" / "ulm_000001_000007_leftImg8bit.png")
    names = [f"{city}_{sequence}_{n:06d}_leftImg8bit" for (city, sequence), ns in clips.items() for n in ns]
    assert open_unlabelled(root).names == names


def test_cityscapes_without_sequences_gives_its_labelled_images(tmp_path: Path) -> None:
    save(tmp_path / "leftImg8bit" / "train" / "ulm" / "ulm_000001_000007_leftImg8bit.png")
    assert open_unlabelled(tmp_path).names == ["ulm_000001_000007_leftImg8bit"]
    with pytest.raises(DataError, match="val"):
        open_unlabelled(tmp_path, split="val")


def test_kitti_gives_the_first_frames_of_its_pairs_without_right_frames(tmp_path: Path) -> None:
    for drive, count in (("2011_09_26_drive_0119", 3), ("2011_09_26_drive_0014", 30)):
        for n in range(count):
            save(tmp_path / "2011_09_26" / f"{drive}_sync" / "image_02" / "data" / f"{n:010d}.png", n)
    images = open_unlabelled(tmp_path)
    numbers = [path.stem for path in images.paths]
    assert numbers == [f"{n:010d}" for n in (*range(4), *range(25, 29))]
    assert all("0014" in str(path) for path in images.paths)
    with pytest.raises(DataError, match="files are missing"):
        KittiRawStereoVideo(tmp_path)


def test_kitti_with_left_out_drives_alone_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "2011_09_26/2011_09_26_drive_0119_sync/image_02/data/0000000000.png")
    with pytest.raises(DataError, match="no usable"):
        open_unlabelled(tmp_path)


def test_own_pictures_and_videos(tmp_path: Path) -> None:
    save(tmp_path / "own" / "b.png"), save(tmp_path / "own" / "a.png")
    assert open_unlabelled(tmp_path / "own").names == ["a", "b"]
    cv2 = pytest.importorskip("cv2")
    video = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (48, 32))
    video.write(np.zeros((32, 48, 3), dtype=np.uint8))
    video.release()
    assert isinstance(open_unlabelled(tmp_path / "v.avi"), VideoFrames)
