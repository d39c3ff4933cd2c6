"""The calibration of a rectified stereo camera."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from nolabel.errors import DataError
from nolabel.structures.files import write_bytes

__all__ = ["StereoCalibration"]


@dataclass(frozen=True)
class StereoCalibration:
    """Intrinsics of a rectified pair and the distance between the two cameras.

    Args:
        fx: horizontal focal length, pixels, > 0.
        fy: vertical focal length, pixels, > 0.
        cx: column of the principal point, pixels; integer coordinates are pixel centres.
        cy: row of the principal point, pixels.
        baseline: distance between the cameras, metres, > 0.
        fps: frames per second, > 0, or None where unknown.

    Raises:
        DataError: a value is missing, not a finite number, or not positive where it must be.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    baseline: float
    fps: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is None and name == "fps":
                continue
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number:
                raise DataError(f"calibration: {name} must be a finite number, got {value!r}")
            if name not in ("cx", "cy") and value <= 0:
                raise DataError(f"calibration: {name} must be positive, got {value!r}", hint=_UNITS[name])

    def matrix(self) -> Tensor:
        """The camera matrix K, (3, 3) float64."""
        return torch.tensor(
            [[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]], dtype=torch.float64
        )

    def scaled(self, scale: float) -> StereoCalibration:
        """The calibration of the images resized by ``scale``: fx, fy, cx and cy are all multiplied by it.

        This is the convention of CUPS (spec ``cups_pseudo.md`` 2.1); it has no half-pixel term.
        """
        return replace(self, fx=self.fx * scale, fy=self.fy * scale, cx=self.cx * scale, cy=self.cy * scale)

    def cropped(self, top: float, left: float) -> StereoCalibration:
        """The calibration of the images with ``top`` rows and ``left`` columns cut off (negative: padded)."""
        return replace(self, cx=self.cx - left, cy=self.cy - top)

    @classmethod
    def from_yaml(cls, path: str | Path) -> StereoCalibration:
        """Read ``calibration.yaml``: the keys are the names of the fields.

        Raises:
            DataError: the file is missing, is not YAML, or lacks a key, with the file in the message.
        """
        path = Path(path)
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"cannot read the calibration {path}: {error.strerror}", hint=_EXAMPLE) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise DataError(f"{path} is not a YAML file: {error}", hint=_EXAMPLE) from error
        if not isinstance(content, Mapping):
            raise DataError(f"{path}: expected keys and values, got {type(content).__name__}", hint=_EXAMPLE)
        return cls._from_mapping(content, path)

    @classmethod
    def _from_mapping(cls, content: Mapping[str, Any], path: Path) -> StereoCalibration:
        known = {field.name for field in fields(cls)}
        missing = sorted(known - {"fps"} - set(content))
        unknown = sorted(str(key) for key in set(content) - known)
        if missing or unknown:
            problem = [f"lacks {', '.join(missing)}"] if missing else []
            problem += [f"has unknown keys {', '.join(unknown)}"] if unknown else []
            raise DataError(f"{path} {' and '.join(problem)}", hint=_EXAMPLE)
        try:
            return cls(**content)
        except DataError as error:
            raise DataError(f"{path}: {error.message}", hint=error.hint or _EXAMPLE) from error

    def to_yaml(self, path: str | Path) -> Path:
        """Write ``calibration.yaml``; :meth:`from_yaml` gives an equal calibration back."""
        content = {name: value for name, value in asdict(self).items() if value is not None}
        return write_bytes(Path(path), yaml.safe_dump(content, sort_keys=False).encode())


_UNITS = {
    "fx": "focal lengths are in pixels",
    "fy": "focal lengths are in pixels",
    "baseline": "the distance between the two cameras in metres, about 0.2 in Cityscapes",
    "fps": "frames per second of the recording; leave it out where unknown",
}
_EXAMPLE = "calibration.yaml holds fx, fy, cx, cy (pixels), baseline (metres) and, if known, fps"
