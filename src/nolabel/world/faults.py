"""Footage with known faults: what the checks of data and pseudo-labels must find, made from a good folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from nolabel.errors import ConfigError
from nolabel.structures import StereoCalibration
from nolabel.structures.files import write_png

__all__ = ["blacken", "miscalibrate", "repeat_frame"]


def miscalibrate(root: Path, *, intrinsics: float = 1.0, baseline: float = 1.0) -> StereoCalibration:
    """Write a wrong ``calibration.yaml`` into a stereo folder.

    Args:
        root: the folder.
        intrinsics: factor of fx, fy, cx, cy: 2 are those of images twice as large.
        baseline: factor of the baseline.
    """
    good = StereoCalibration.from_yaml(root / "calibration.yaml")
    wrong = replace(good.scaled(intrinsics), baseline=good.baseline * baseline)
    wrong.to_yaml(root / "calibration.yaml")
    return wrong


def repeat_frame(root: Path, first: str, second: str) -> None:
    """Let the frame ``second`` (path below ``left/`` and ``right/`` without suffix) show the pixels of ``first``."""
    for side in ("left", "right"):
        (root / side / f"{second}.png").write_bytes((root / side / f"{first}.png").read_bytes())


def blacken(root: Path, frame: str, sides: Sequence[str] = ("left",)) -> None:
    """Make the images of a frame black.

    Raises:
        ConfigError: a side is neither left nor right.
    """
    if not set(sides) <= {"left", "right"}:
        raise ConfigError(f"there are no sides {sorted(set(sides))}", hint="left and right")
    for side in sides:
        path = root / side / f"{frame}.png"
        with Image.open(path) as image:
            write_png(path, np.zeros((image.height, image.width, 3), np.uint8))
