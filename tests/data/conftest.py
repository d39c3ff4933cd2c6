"""Tiny data in the layouts under test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CALIBRATION = "fx: 40.0\nfy: 40.0\ncx: 31.5\ncy: 23.5\nbaseline: 0.5\nfps: 10\n"


def save(path: Path, pixels: np.ndarray) -> Path:
    """Write an array as an image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def picture(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Random colours in blocks of 2 x 2 pixels."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 2, width // 2, 3), np.uint8)
    return small.repeat(2, 0).repeat(2, 1)


@pytest.fixture
def stereo_folder(tmp_path: Path) -> Path:
    """Two clips of four and three frames; the right view sees everything 4 px further left."""
    for clip, count in (("drive_a", 4), ("drive_b", 3)):
        for n in range(count):
            left = picture(n)
            save(tmp_path / "left" / clip / f"{n}.png", left)
            save(tmp_path / "right" / clip / f"{n}.png", np.roll(left, -4, axis=1))
    (tmp_path / "calibration.yaml").write_text(CALIBRATION)
    return tmp_path


@pytest.fixture
def labelled_folder(tmp_path: Path) -> Path:
    """Five images with label maps of the classes 0..9, one of them with instances."""
    for n in range(5):
        save(tmp_path / "images" / f"{n}.jpg", picture(n))
        ids = np.random.default_rng(n).integers(0, 10, (48, 64)).astype(np.uint8)
        save(tmp_path / "labels" / f"{n}.png", ids)
    save(tmp_path / "instances" / "0.png", (np.arange(48 * 64).reshape(48, 64) // 1000).astype(np.uint16))
    return tmp_path


@pytest.fixture
def cityscapes(tmp_path: Path) -> Callable[..., Path]:
    """Write Cityscapes stereo video: frame numbers for each (city, sequence), and camera frames."""

    def write(clips: dict[tuple[str, str], list[int]], cameras: dict[tuple[str, str], list[int]]) -> Path:
        for (city, sequence), numbers in clips.items():
            for side in ("left", "right"):
                for n in numbers:
                    folder = tmp_path / f"{side}Img8bit_sequence" / "train" / city
                    save(folder / f"{city}_{sequence}_{n:06d}_{side}Img8bit.png", picture(n, 16, 32))
        for (city, sequence), numbers in cameras.items():
            for n in numbers:
                content = {
                    "extrinsic": {"baseline": 0.2},
                    "intrinsic": {"fx": 20.0 + n, "fy": 20.0 + n, "u0": 16.0, "v0": 8.0},
                }
                path = tmp_path / "camera" / "train" / city / f"{city}_{sequence}_{n:06d}_camera.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(content))
        return tmp_path

    return write
