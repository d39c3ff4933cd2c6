"""Motion from files and from a cache gives the labels that computing it gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from methods.cups.test_pseudo_labels import CONFIG, label_bytes, run, write_video
from nolabel.data import FolderStereoVideo, open_stereo_video
from nolabel.errors import ConfigError
from nolabel.methods.cups.motion_source import open_motion
from nolabel.methods.cups.pseudo_label_config import MotionConfig
from nolabel.models.motion import OpenCVMotion
from nolabel.world import Rig, WorldSettings, generate_scene, render_stereo_video, write_world
from nolabel.world.render import Renderer


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("video")
    write_video(root)
    return root


@pytest.fixture(scope="module")
def folder(video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What OpenCV finds, as another program would leave it: one file of each kind for each frame."""
    root, data, estimator = tmp_path_factory.mktemp("motion"), FolderStereoVideo(video), OpenCVMotion()
    for index in range(len(data)):
        sample = data[index]
        views = ("left_0", "right_0", "left_1", "right_1")
        motion = estimator.stereo_video(*(sample[key].as_subclass(torch.Tensor)[None] for key in views))  # type: ignore[literal-required]
        first, second = f"{index:03d}", f"{index + 1:03d}"
        for kind, frame, values in (
            ("flow_forward", first, motion.flow_forward[0]),
            ("flow_backward", second, motion.flow_backward[0]),
            ("disparity", first, motion.disparity_0[0, 0]),
            ("disparity", second, motion.disparity_1[0, 0]),
            ("disparity_right", first, motion.disparity_right_0[0, 0]),
            ("disparity_right", second, motion.disparity_right_1[0, 0]),
        ):
            (root / kind).mkdir(exist_ok=True)
            np.save(root / kind / f"{frame}.npy", values.numpy())
    return root


@pytest.fixture(scope="module")
def computed(video: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return label_bytes(run(video, tmp_path_factory.mktemp("labels")).out)


def with_motion(**values: object):
    return CONFIG.replaced(motion=MotionConfig(**values).model_dump())  # type: ignore[arg-type]


def test_files_give_the_same_labels(
    video: Path, folder: Path, computed: dict[str, bytes], tmp_path: Path
) -> None:
    summary = run(video, tmp_path, with_motion(name="files", folder=folder))
    assert label_bytes(tmp_path) == computed and not summary.labelling.failed


def test_a_missing_file_fails_its_pairs_only(video: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "flow_forward" / "001.npy").rename(tmp_path / "kept.npy")
    summary = run(video, tmp_path / "labels", with_motion(name="files", folder=folder))
    (tmp_path / "kept.npy").rename(folder / "flow_forward" / "001.npy")
    ((name, message),) = summary.labelling.failed
    assert name == "001" and "flow_forward" in message
    assert "flow_forward of frame 001" in str(summary)


def test_files_need_a_folder(video: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a folder"):
        run(video, tmp_path, with_motion(name="files"))


def test_cached_motion_is_read_not_computed(
    video: Path, computed: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_motion(cache=tmp_path / "cache")
    run(video, tmp_path / "first", config)
    assert label_bytes(tmp_path / "first") == computed
    assert len(list((tmp_path / "cache").glob("*/*.npz"))) == 3

    def refuse(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(OpenCVMotion, "stereo_video", refuse)
    other = config.replaced(crf=CONFIG.crf.replaced(iterations=0).model_dump())
    assert len(run(video, tmp_path / "second", other).labelling.failed) == 0
    run(video, tmp_path / "third", config)
    assert label_bytes(tmp_path / "third") == computed


def test_cache_knows_settings_and_data(video: Path, folder: Path) -> None:
    data = FolderStereoVideo(video)
    cropped = FolderStereoVideo(video, crop=(48, 96))
    keys = {
        open_motion(data, MotionConfig(), "cpu").key,
        open_motion(cropped, MotionConfig(), "cpu").key,
        open_motion(data, MotionConfig(name="files", folder=folder), "cpu").key,
    }
    assert len(keys) == 3
    cached = open_motion(data, MotionConfig(cache=folder), "cpu")
    assert cached.key in keys  # where it is kept does not matter


@pytest.mark.parametrize("layout", ["folder", "cityscapes"])
def test_the_world_writes_its_exact_motion(tmp_path: Path, layout: str) -> None:
    rig = Rig(size=(64, 128))
    write_world(tmp_path, WorldSettings(layout=layout, scenes=1, frames=3, rig=rig, motion=True))  # type: ignore[arg-type]
    options = {} if layout == "folder" else {"scale": 1.0, "crop": None}
    data = open_stereo_video(tmp_path, **options)
    motion_folder = tmp_path / "motion" if layout == "folder" else tmp_path / "motion" / "train"
    read = open_motion(data, MotionConfig(name="files", folder=motion_folder), "cpu").of(1, data[1])
    truth = render_stereo_video(Renderer(generate_scene(0), "real", rig), 1 / rig.fps, 2 / rig.fps)
    for name, exact in (("flow_forward", truth.flow_forward), ("flow_backward", truth.flow_backward)):
        near = exact.abs().amax(0) < 500  # what the 16 bits hold
        assert (getattr(read, name)[0] - exact)[:, near].abs().max() <= 1 / 128 + 1e-4
    for name, frame in (("disparity_0", truth.left_0), ("disparity_right_1", truth.right_1)):
        near = frame.disparity < 255
        assert (getattr(read, name)[0, 0] - frame.disparity)[near].abs().max() <= 1 / 512 + 1e-4
