import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from nolabel.data import FolderImages, VideoFrames, find_layout, open_images
from nolabel.errors import DataError

from .conftest import picture, save

FRAMES = 12


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Twelve frames, each of one grey value: 20 times its index."""
    path = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write motion JPEG")
    for n in range(FRAMES):
        writer.write(np.full((48, 64, 3), 20 * n, np.uint8))
    writer.release()
    return path


def _index(image: torch.Tensor) -> int:
    return round(float(image.mean()) * 255 / 20)


def test_images_of_a_folder(tmp_path: Path) -> None:
    for name in ("b/10.png", "b/9.png", "a.png"):
        save(tmp_path / name, picture(0))
    images = open_images(tmp_path)
    assert images.names == ["a", "b_9", "b_10"]
    assert images[0]["image"].shape == (3, 48, 64)
    assert open_images(tmp_path / "a.png").names == ["a"]
    assert open_images([tmp_path / "a.png", tmp_path / "b/9.png"]).names == ["a", "9"]
    save(tmp_path / "b/a.png", picture(0))
    assert open_images([tmp_path / "a.png", tmp_path / "b/a.png"]).names == ["a", "b_a"]
    with pytest.raises(DataError, match="no file or folder"):
        open_images(tmp_path / "gone")


def test_only_camera_images_of_a_data_set_are_taken(stereo_folder: Path) -> None:
    assert open_images(stereo_folder).names[:2] == ["drive_a_0", "drive_a_1"]
    assert len(open_images(stereo_folder)) == 7


def test_equal_names_are_told_apart(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(0))
    save(tmp_path / "a.jpg", picture(0))
    assert sorted(FolderImages(tmp_path).names) == ["a_jpg", "a_png"]


def test_frames_in_any_order_are_exact(video: Path) -> None:
    frames = open_images(video)
    assert isinstance(frames, VideoFrames) and find_layout(video) == "video"
    assert len(frames) == FRAMES and frames.fps == pytest.approx(10)
    assert [_index(sample["image"]) for sample in frames] == list(range(FRAMES))
    assert [_index(frames[n]["image"]) for n in (7, 2, 11, 11, 0)] == [7, 2, 11, 11, 0]
    assert frames[3]["name"] == "drive_000003" and frames.names[-1] == "drive_000011"
    assert _index(pickle.loads(pickle.dumps(frames))[5]["image"]) == 5
    with pytest.raises(IndexError):
        frames[FRAMES]


def test_channels_of_a_video_are_rgb(tmp_path: Path) -> None:
    path = tmp_path / "red.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for _ in range(3):
        writer.write(np.full((48, 64, 3), (0, 0, 255), np.uint8))
    writer.release()
    red, green, blue = VideoFrames(path)[0]["image"].mean((1, 2)).tolist()
    assert red > 0.9 and green < 0.1 and blue < 0.1


def test_broken_videos_are_named(tmp_path: Path, video: Path) -> None:
    fake = tmp_path / "fake.mp4"
    fake.write_bytes(b"no video" * 100)
    with pytest.raises(DataError, match=r"fake\.mp4") as error:
        VideoFrames(fake)
    assert "ffmpeg" in str(error.value.hint)
    with pytest.raises(DataError, match=r"there is no video .*gone\.mp4"):
        VideoFrames(tmp_path / "gone.mp4")
