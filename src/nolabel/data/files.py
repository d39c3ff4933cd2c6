"""Reading single files: images, maps of ids, sizes; and listing folders. Every failure names file and remedy.

Pillow decodes, because it refuses truncated files where libjpeg's other bindings return a half-grey picture.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torchvision import tv_tensors

from nolabel.errors import DataError

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "examples",
    "image_size",
    "list_images",
    "natural_key",
    "read_image",
    "read_image_bytes",
    "read_json",
    "read_map",
]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DAMAGED = "the file is damaged or was cut short: copy, unpack or download it again"


def read_image(path: str | Path) -> tv_tensors.Image:
    """Read a picture as RGB.

    Grey, palette, RGBA and 16-bit files become RGB; the rotation that a camera notes in EXIF is applied.

    Returns:
        (3, H, W) float32 in [0, 1].

    Raises:
        DataError: the file is missing, damaged, or no image.
    """
    pixels = _read_colours(Path(path))
    scale = 65535.0 if pixels.dtype == np.uint16 else 255.0
    image = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1).contiguous()
    return tv_tensors.Image(image.div_(scale))


def read_image_bytes(path: str | Path) -> torch.Tensor:
    """Read a picture as RGB bytes, like :func:`read_image` but without a way through floats: (3, H, W) uint8.

    The deep colours of 16-bit files are rounded.
    """
    pixels = _read_colours(Path(path))
    if pixels.dtype == np.uint16:
        pixels = (pixels / 257.0).round().astype(np.uint8)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _read_colours(path: Path) -> npt.NDArray[Any]:
    """Read (H, W, 3) uint8 or uint16."""
    if _png_layout(path) in {(16, 2), (16, 6)}:
        return _read_deep_colour(path)[..., :3]
    with _Decoding(path), Image.open(path) as file:
        if file.mode.startswith("I"):
            return np.repeat(np.asarray(file)[..., None], 3, axis=2).astype(np.uint16)
        return np.array(ImageOps.exif_transpose(file).convert("RGB"))


def read_map(path: str | Path) -> npt.NDArray[np.int64]:
    """Read a map of ids exactly as stored: palette files give their index, 16 bits stay 16 bits.

    Returns:
        (H, W) or, for files with several channels, (H, W, C) in the file's order (RGB, RGBA), int64.

    Raises:
        DataError: the file is missing, damaged, or no image.
    """
    path = Path(path)
    if _png_layout(path) in {(16, 2), (16, 6)}:
        return _read_deep_colour(path).astype(np.int64)
    with _Decoding(path), Image.open(path) as file:
        if file.mode == "1":
            return np.asarray(file).astype(np.int64)
        return np.array(file).astype(np.int64)


def image_size(path: str | Path) -> tuple[int, int]:
    """Return (height, width) from the file's header, after any EXIF rotation, without decoding pixels.

    Raises:
        DataError: the file is missing, or no image.
    """
    with _Decoding(Path(path)), Image.open(path) as file:
        width, height = file.size
        rotated = file.format == "JPEG" and file.getexif().get(0x0112, 1) in {5, 6, 7, 8}
    return (width, height) if rotated else (height, width)


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: the file is missing or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"there is no file {path}", hint="check the path") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not JSON: {error}", hint=_DAMAGED) from None


def natural_key(text: str | Path) -> tuple[tuple[int, int, str], ...]:
    """Sort key that counts: ``frame_2`` before ``frame_10``."""
    parts = re.split(r"(\d+)", str(text))
    return tuple((0, int(part), part) if part.isdigit() else (1, 0, part.casefold()) for part in parts)


def list_images(root: Path) -> list[Path]:
    """List the image files below a folder, sorted naturally by relative path; hidden files are left out."""
    found: list[Path] = []
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        found += [
            Path(folder, name)
            for name in files
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122
        ]
    return sorted(found, key=lambda path: natural_key(path.relative_to(root)))


def examples(items: Iterable[object], count: int = 3) -> str:
    """Join the first few items for a message: ``a, b, c and 4 more``."""
    shown = [str(item) for item in items]
    rest = len(shown) - count
    return ", ".join(shown[:count]) + (f" and {rest} more" if rest > 0 else "")


class _Decoding:
    """Turn whatever a decoder raises into a DataError that names the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, DataError):
            return
        if isinstance(error, FileNotFoundError):
            raise DataError(f"there is no file {self.path}", hint="check the path") from None
        if isinstance(error, IsADirectoryError):
            raise DataError(f"{self.path} is a folder, not an image", hint="name a file inside it") from None
        if isinstance(error, PermissionError):
            raise DataError(f"not allowed to read {self.path}", hint="change its permissions") from None
        if isinstance(error, UnidentifiedImageError):
            raise DataError(f"{self.path} is not an image that can be read", hint=_DAMAGED) from None
        if isinstance(error, Image.DecompressionBombError):
            raise DataError(f"{self.path} is unreasonably large: {error}", hint="scale it down") from None
        if isinstance(error, OSError | SyntaxError | ValueError | EOFError | struct.error):
            raise DataError(f"cannot decode {self.path}: {error}", hint=_DAMAGED) from None


def _png_layout(path: Path) -> tuple[int, int] | None:
    """Return (bit depth, colour type) of a PNG, None for other files. Colour type 2 is RGB, 6 is RGBA."""
    with _Decoding(path), path.open("rb") as file:
        head = file.read(26)
    if len(head) < 26 or not head.startswith(_PNG_SIGNATURE):
        return None
    return head[24], head[25]


def _read_deep_colour(path: Path) -> npt.NDArray[np.uint16]:
    """Read 16-bit RGB(A), which Pillow would silently reduce to 8 bits: (H, W, 3 or 4) in RGB(A) order."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise DataError(f"cannot decode {path}", hint=_DAMAGED)
    order = [2, 1, 0, 3][: pixels.shape[2]]
    return np.ascontiguousarray(pixels[..., order])
