"""Videos that are whole or absent, and COCO files written image by image."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from nolabel.errors import ConfigError, DataError
from nolabel.labels import CITYSCAPES_19, pseudo_space
from nolabel.structures import CocoWriter, PanopticMap, load_coco_detection, save_coco_panoptic
from nolabel.viz import VideoFile
from nolabel.viz.panoptic_files import PanopticFiles, check_formats


def test_a_video_holds_its_pictures_whatever_their_size(tmp_path: Path) -> None:
    with VideoFile(tmp_path / "v.mp4", 12) as video:
        for size in ((41, 63), (41, 63), (20, 30)):
            video.add(np.full((*size, 3), (200, 60, 10), np.uint8))
        assert not (tmp_path / "v.mp4").exists()
    capture = cv2.VideoCapture(str(tmp_path / "v.mp4"))
    frames = [capture.read()[1] for _ in range(3)]
    assert all(frame.shape == (42, 64, 3) for frame in frames) and not capture.read()[0]
    assert np.abs(frames[0][..., ::-1].reshape(-1, 3).mean(0) - (200, 60, 10)).max() < 12
    assert [path.name for path in tmp_path.iterdir()] == ["v.mp4"]


def test_an_interrupted_video_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), VideoFile(tmp_path / "v.mp4") as video:
        video.add(np.zeros((20, 20, 3), np.uint8))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with VideoFile(tmp_path / "empty.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_impossible_videos_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        VideoFile(tmp_path / "v.mp4", 0)
    with pytest.raises(ConfigError):
        VideoFile(tmp_path / "v.gif")


def result(seed: int) -> PanopticMap:
    generator = torch.Generator().manual_seed(seed)
    semantic = (
        torch.randint(0, 19, (4, 6), generator=generator).repeat_interleave(5, 0).repeat_interleave(5, 1)
    )
    instance = torch.arange(24).reshape(4, 6).repeat_interleave(5, 0).repeat_interleave(5, 1) + 1
    return PanopticMap(semantic, torch.where(semantic >= 11, instance, 0), CITYSCAPES_19)


def test_the_writer_writes_what_the_function_writes(tmp_path: Path) -> None:
    results = [(f"image_{seed}", result(seed)) for seed in range(3)]
    save_coco_panoptic(results, CITYSCAPES_19, tmp_path / "at_once")
    writer = CocoWriter(tmp_path / "one_by_one", CITYSCAPES_19, detection=True)
    for name, value in results:
        writer.add(name, value)
    assert not (tmp_path / "one_by_one" / "panoptic.json").exists()
    writer.close()
    for path in (tmp_path / "at_once").rglob("*.*"):
        other = tmp_path / "one_by_one" / path.relative_to(tmp_path / "at_once")
        assert path.read_bytes() == other.read_bytes()
    objects = load_coco_detection(tmp_path / "one_by_one" / "detection.json", CITYSCAPES_19)
    assert [len(found) for _, found in objects] == [len(value.instances()) for _, value in results]
    with pytest.raises(DataError, match="two results"):
        writer.add("image_0", result(0))


def test_cityscapes_codes_need_cityscapes_classes() -> None:
    assert check_formats(["video", "labels"], CITYSCAPES_19) == ("labels", "video")
    with pytest.raises(ConfigError, match="no Cityscapes ids"):
        check_formats(["cityscapes"], pseudo_space(5, [3, 4]))


@pytest.mark.parametrize(("total", "shown"), [(1, 1), (60, 60), (61, 60), (150, 60)])
def test_the_gallery_shows_pictures_spread_over_all(tmp_path: Path, total: int, shown: int) -> None:
    value, image = result(0), torch.zeros(3, 20, 30)
    with PanopticFiles(tmp_path, CITYSCAPES_19, ["gallery"], total=total) as files:
        for index in range(total):
            files.add(f"image_{index}", value, image if index % 2 else None)
    assert (tmp_path / "index.html").read_text().count("<figcaption>image_") == shown
