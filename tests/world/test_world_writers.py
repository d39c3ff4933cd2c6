"""Files of the procedural world: layout, bytes, resuming."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nolabel.errors import ConfigError, DataError
from nolabel.structures import StereoCalibration
from nolabel.world import (
    Renderer,
    Rig,
    WorldSettings,
    generate_scene,
    write_cityscapes,
    write_folder,
    write_world,
)

RIG = Rig((64, 128))
OPTIONS = {"rig": RIG, "style": "synthetic", "seed": 3, "scenes": 2}


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("city")
    assert write_cityscapes(out, disparity=True, truth=True, **OPTIONS) == 2
    return out


def test_official_names(city: Path) -> None:
    names = set(digests(city))
    for frame in (0, 1):
        for eye in ("left", "right"):
            assert f"{eye}Img8bit_sequence/train/world/world_000001_{frame:06d}_{eye}Img8bit.png" in names
    for kind in ("labelIds", "labelTrainIds", "instanceIds", "color"):
        assert f"gtFine/train/world/world_000000_000000_gtFine_{kind}.png" in names
    assert "leftImg8bit/train/world/world_000000_000000_leftImg8bit.png" in names
    assert not any("000001_gtFine" in name for name in names)


def test_labels_and_disparity_files_hold_the_truth(city: Path) -> None:
    frame = Renderer(generate_scene(3), "synthetic", RIG).frame(0.0)
    stem = city / "gtFine/train/world/world_000000_000000_gtFine"
    train_ids = np.asarray(Image.open(f"{stem}_labelTrainIds.png"))
    np.testing.assert_array_equal(train_ids, frame.semantic.numpy())
    raw = np.asarray(Image.open(f"{stem}_labelIds.png"))
    assert set(raw[train_ids == 0].tolist()) == {7} and set(raw[train_ids == 10].tolist()) <= {23}
    instances = np.asarray(Image.open(f"{stem}_instanceIds.png")).astype(np.int64)
    things = frame.instance.numpy() > 0
    np.testing.assert_array_equal(instances[~things], raw[~things])
    np.testing.assert_array_equal(instances[things] // 1000, raw[things])
    np.testing.assert_array_equal(instances[things] % 1000, frame.instance.numpy()[things] - 1)
    coded = np.asarray(
        Image.open(city / "disparity_sequence/train/world/world_000000_000000_disparity.png")
    ).astype(float)
    decoded = np.where(coded > 0, (coded - 1) / 256, 0)
    np.testing.assert_allclose(decoded, frame.disparity.numpy(), atol=1 / 256)
    truth = np.load(city / "truth/train/world/world_000000_000000_truth.npz")
    np.testing.assert_array_equal(truth["depth"], frame.depth.numpy())
    assert truth["flow_forward"].shape == (2, 64, 128)
    assert "flow_forward" not in np.load(city / "truth/train/world/world_000000_000001_truth.npz")


def test_camera_file_has_the_official_keys(city: Path) -> None:
    camera = json.loads((city / "camera/train/world/world_000000_000000_camera.json").read_text())
    assert set(camera) == {"extrinsic", "intrinsic"}
    assert set(camera["extrinsic"]) == {"baseline", "pitch", "roll", "x", "y", "yaw", "z"}
    assert camera["extrinsic"]["baseline"] == RIG.baseline
    assert camera["intrinsic"] == pytest.approx({"fx": 140.8, "fy": 140.8, "u0": 63.5, "v0": 31.5})


def test_resuming_writes_only_what_is_missing_with_the_same_bytes(city: Path) -> None:
    before = digests(city)
    assert write_cityscapes(city, disparity=True, truth=True, **OPTIONS) == 0
    for name in before:
        if "world_000001" in name and ("gtFine" in name or "truth" in name):
            (city / name).unlink()
    assert write_cityscapes(city, disparity=True, truth=True, **OPTIONS) == 1
    assert digests(city) == before


@pytest.mark.slow
def test_processes_write_the_same_bytes(city: Path, tmp_path: Path) -> None:
    write_world(
        tmp_path, WorldSettings(layout="cityscapes", disparity=True, truth=True, **OPTIONS), workers=2
    )
    assert digests(tmp_path) == digests(city)


def test_other_settings_in_the_same_folder_are_refused(city: Path) -> None:
    with pytest.raises(DataError, match="style"):
        write_cityscapes(city, disparity=True, truth=True, **{**OPTIONS, "style": "real"})


def test_folder_layout(tmp_path: Path) -> None:
    write_folder(tmp_path, rig=RIG, style="real", scenes=1, annotate_all=True)
    assert {name for name in digests(tmp_path) if not name.endswith(".json")} == {
        "calibration.yaml",
        *(f"{eye}/000000_00000{frame}.png" for eye in ("left", "right") for frame in (0, 1)),
        *(f"labels/000000_00000{frame}_{kind}.png" for kind in ("semantic", "instance") for frame in (0, 1)),
    }
    assert StereoCalibration.from_yaml(tmp_path / "calibration.yaml") == RIG.calibration()


def test_impossible_settings_are_refused() -> None:
    for wrong in ({"layout": "kitti"}, {"style": "cartoon"}, {"scenes": 0}, {"city": "a_b"}):
        with pytest.raises(ConfigError):
            WorldSettings(**wrong)


def test_annotated_frames() -> None:
    assert list(WorldSettings(frames=30).annotated()) == [19]
    assert list(WorldSettings(frames=2).annotated()) == [0]
    assert list(WorldSettings(frames=3, annotate_all=True).annotated()) == [0, 1, 2]
