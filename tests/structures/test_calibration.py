"""Stereo calibration: the convention of scaling and cropping, and its file."""

from pathlib import Path

import pytest

from nolabel.errors import DataError
from nolabel.structures import StereoCalibration

EXAMPLE = StereoCalibration(fx=2262.5, fy=2265.3, cx=1096.98, cy=513.137, baseline=0.209, fps=17.0)


def test_matrix() -> None:
    assert EXAMPLE.matrix().tolist() == [[2262.5, 0, 1096.98], [0, 2265.3, 513.137], [0, 0, 1]]


def test_scaling_multiplies_all_four_and_cropping_moves_the_centre() -> None:
    scaled = EXAMPLE.scaled(0.5)
    assert (scaled.fx, scaled.fy, scaled.cx, scaled.cy) == (1131.25, 1132.65, 548.49, 256.5685)
    assert (scaled.baseline, scaled.fps) == (EXAMPLE.baseline, EXAMPLE.fps)
    cropped = EXAMPLE.cropped(top=13, left=-7)
    assert (cropped.cx, cropped.cy) == (EXAMPLE.cx + 7, EXAMPLE.cy - 13) and cropped.fx == EXAMPLE.fx


@pytest.mark.parametrize("fps", [17.0, None])
def test_yaml_round_trip(tmp_path: Path, fps: float | None) -> None:
    calibration = StereoCalibration(1.0, 2.0, 3.0, 4.0, 0.5, fps)
    assert StereoCalibration.from_yaml(calibration.to_yaml(tmp_path / "calibration.yaml")) == calibration


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("fx: 1\nfy: 1\ncx: 1\ncy: 1\n", "lacks baseline"),
        ("fx: 1\nfy: 1\ncx: 1\ncy: 1\nbaseline: 1\nfocal: 2\n", "unknown keys focal"),
        ("fx: 1\nfy: 1\ncx: 1\ncy: 1\nbaseline: -0.2\n", "baseline must be positive, got -0.2"),
        ("fx: wide\nfy: 1\ncx: 1\ncy: 1\nbaseline: 1\n", "fx must be a finite number, got 'wide'"),
        ("fx: .nan\nfy: 1\ncx: 1\ncy: 1\nbaseline: 1\n", "fx must be a finite number"),
        ("fx: true\nfy: 1\ncx: 1\ncy: 1\nbaseline: 1\n", "fx must be a finite number, got True"),
        ("- 1\n", "expected keys and values"),
        ("fx: [1\n", "is not a YAML file"),
    ],
)
def test_a_broken_file_is_named_with_its_problem(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "calibration.yaml"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        StereoCalibration.from_yaml(path)
    assert str(path) in str(caught.value) and problem in str(caught.value) and caught.value.hint


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.yaml"):
        StereoCalibration.from_yaml(tmp_path / "nowhere.yaml")
