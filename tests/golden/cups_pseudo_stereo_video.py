"""The original's Cityscapes stereo video data set and both calibration readers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from golden.support import case_parameters, load_npz
from nolabel.data import CityscapesStereoVideo
from nolabel.data.kitti import read_kitti_calibration

pytestmark = pytest.mark.golden
CASES = case_parameters("cups_pseudo", "stereo_video_dataset*")
# The case's protocol, from the folder's README: 30 frames, sample 3, scale 0.625, bands of 96 columns.
FRAMES, SAMPLE, SCALE, BAND = 30, 3, 0.625, 96


def _write_clip(root: Path, given: dict[str, np.ndarray]) -> None:
    image = given["image"].reshape(given["image"].shape[-3:]).transpose(1, 2, 0)
    for side, offset in (("left", 0), ("right", 1)):
        folder = root / f"{side}Img8bit_sequence" / "train" / "town"
        folder.mkdir(parents=True)
        for n in range(FRAMES):
            pixels = np.ascontiguousarray(np.roll(image, n + offset, axis=1))
            Image.fromarray(pixels).save(folder / f"town_000000_{n:06d}_{side}Img8bit.png")
    camera = {
        "extrinsic": {"baseline": float(given["baseline"])},
        "intrinsic": {key: float(given[key]) for key in ("fx", "fy", "u0", "v0")},
    }
    place = root / "camera" / "train" / "town" / "town_000000_000019_camera.json"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(camera))


@pytest.mark.parametrize("case", CASES)
def test_sample_equals_the_recorded_one(case: Path, tmp_path: Path) -> None:
    given, expected = load_npz(case / "input.npz"), load_npz(case / "output.npz")
    _write_clip(tmp_path, given)
    crop = expected["sample_valid_pixels"].shape[-2:]
    dataset = CityscapesStereoVideo(
        tmp_path,
        scale=SCALE,
        crop=crop,
        side_band=BAND / given["image"].shape[-1],
        reference_compat=True,
    )
    assert len(dataset) == int(expected["sample_count"])
    sample = dataset[SAMPLE]
    np.testing.assert_allclose(sample["left_0"].numpy(), expected["sample_image_0_l"][0], atol=1e-5)
    np.testing.assert_allclose(sample["right_1"].numpy(), expected["sample_image_1_r"][0], atol=1e-5)
    np.testing.assert_array_equal(sample["valid"].numpy(), expected["sample_valid_pixels"][0, 0])
    full, scaled = dataset.calibration(SAMPLE), sample["calibration"]
    np.testing.assert_allclose(full.matrix().numpy(), expected["cityscapes_k"], rtol=1e-5)
    np.testing.assert_allclose(scaled.matrix().numpy(), expected["sample_intrinsics"][0], rtol=1e-5)
    np.testing.assert_allclose(scaled.baseline, expected["sample_baseline"][0], rtol=1e-5)
    np.testing.assert_allclose(full.baseline, expected["cityscapes_baseline"], rtol=1e-5)
    # Without the quirk the crop's offset is taken off the principal point.
    ours = CityscapesStereoVideo(tmp_path, scale=SCALE, crop=crop)[SAMPLE]["calibration"]
    height, width = (int(n * SCALE) for n in given["image"].shape[-2:])
    assert scaled.cx - ours.cx == pytest.approx((width - crop[1]) // 2)
    assert scaled.cy - ours.cy == pytest.approx((height - crop[0]) // 2)


@pytest.mark.parametrize("case", CASES)
def test_kitti_calibration_equals_the_recorded_one(case: Path, tmp_path: Path) -> None:
    given, expected = load_npz(case / "input.npz"), load_npz(case / "output.npz")
    lines = [
        f"{key}: " + " ".join(repr(float(value)) for value in given[name].ravel())
        for key, name in (("P_rect_02", "p2"), ("P_rect_03", "p3"))
    ]
    path = tmp_path / "calib_cam_to_cam.txt"
    path.write_text("calib_time: 09-Jan-2012 13:57:47\n" + "\n".join(lines) + "\n")
    calibration = read_kitti_calibration(path)
    np.testing.assert_allclose(calibration.matrix().numpy(), expected["kitti_k"], rtol=1e-5)
    np.testing.assert_allclose(calibration.baseline, expected["kitti_baseline"].item(), rtol=1e-5)
