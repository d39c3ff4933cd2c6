"""The camera of an image, from whatever is known about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from nolabel.errors import DataError

__all__ = ["GUESSED_VIEW", "camera_of_image", "find_calibration"]

GUESSED_VIEW = 70.0
"""Horizontal field of view, degrees, of a camera that nothing is known about: a dash camera's or a telephone's."""
CALIBRATION = "calibration.yaml"
NARROWEST, WIDEST = 5.0, 160.0  # degrees: no pinhole camera is beyond

_HINT = (
    "give a 3x3 matrix, (fx, fy, cx, cy) in pixels of this image, a calibration.yaml, or the horizontal field of "
    "view in degrees"
)


def camera_of_image(given: Any, size: tuple[int, int]) -> tuple[Tensor, str | None]:
    """Return the pinhole matrix of an image.

    Args:
        given: a matrix (3, 3); (fx, fy, cx, cy); a number, the horizontal field of view in degrees; the path of a
            calibration.yaml with these four; a mapping with them; or None, which guesses 70 degrees. Pixels are those of
            the image, integer coordinates are pixel centres. A field of view means square pixels and a centre in the
            middle.
        size: (height, width) of the image.

    Returns:
        The matrix (3, 3) float64, and what was guessed in words, or None.

    Raises:
        DataError: this is no camera, or not the camera of an image of this size.
    """
    if given is None:
        view = f"a horizontal field of view of {GUESSED_VIEW:.0f} degrees"
        note = f"no camera was given: {view} is a guess, and so are all metres"
        return _of_view(GUESSED_VIEW, size), note
    if isinstance(given, str | Path):
        given = _read(Path(given))
    if isinstance(given, Mapping):
        lacking = [name for name in ("fx", "fy", "cx", "cy") if name not in given]
        if lacking:
            raise DataError(f"the camera lacks {', '.join(lacking)}", hint=_HINT)
        given = [given[name] for name in ("fx", "fy", "cx", "cy")]
    try:
        values = torch.as_tensor(given, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"this is no camera: {error}", hint=_HINT) from None
    if values.shape == ():
        return _of_view(float(values), size), None
    if values.shape == (4,):
        fx, fy, cx, cy = values.tolist()
        values = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)
    return _checked(values, size), None


def find_calibration(image: Path) -> Path | None:
    """The calibration.yaml beside an image or folder, or one folder above, as an own rig has it; None if there is none."""
    folder = image if image.is_dir() else image.parent
    places = [folder / CALIBRATION, folder.resolve().parent / CALIBRATION]
    return next((place for place in places if place.is_file()), None)


def _of_view(degrees: float, size: tuple[int, int]) -> Tensor:
    if not NARROWEST <= degrees <= WIDEST:
        raise DataError(
            f"a horizontal field of view of {degrees:g} is not between {NARROWEST:g} and {WIDEST:g} degrees",
            hint=_HINT,
        )
    height, width = size
    focal = width / 2 / math.tan(math.radians(degrees) / 2)
    return torch.tensor(
        [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]], dtype=torch.float64
    )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read the calibration {path}: {error.strerror}", hint=_HINT) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a YAML file: {error}", hint=_HINT) from None
    if not isinstance(content, Mapping):
        raise DataError(f"{path} holds no keys and values", hint=_HINT)
    return content


def _checked(matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """The matrix, if it can be that of an image (height, width)."""
    if matrix.shape != (3, 3):
        raise DataError(f"a camera of shape {tuple(matrix.shape)} was given", hint=_HINT)
    rows: Sequence[Sequence[float]] = matrix.tolist()
    (fx, _, cx), (below, fy, cy), last = rows
    if not bool(matrix.isfinite().all()) or below != 0 or last != [0, 0, 1] or min(fx, fy) <= 0:
        raise DataError(f"{rows} is no pinhole camera [[fx, s, cx], [0, fy, cy], [0, 0, 1]]", hint=_HINT)
    height, width = size
    views = [2 * math.degrees(math.atan(side / 2 / focal)) for side, focal in ((width, fx), (height, fy))]
    inside = -width / 2 <= cx <= 1.5 * width and -height / 2 <= cy <= 1.5 * height
    if not inside or not all(NARROWEST / 4 <= view <= WIDEST for view in views):
        raise DataError(
            f"fx {fx:g}, fy {fy:g}, cx {cx:g}, cy {cy:g} does not belong to an image of {width}x{height} pixels: it would "
            f"see {views[0]:.0f} by {views[1]:.0f} degrees around ({cx:.0f}, {cy:.0f})",
            hint="the numbers are in pixels of this very image: multiply them as the image was resized",
        )
    return matrix
