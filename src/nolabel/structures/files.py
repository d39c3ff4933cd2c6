"""Files that are whole or absent, with the same bytes for the same content.

A process may be killed at any moment: everything is written beside its place and moved there in one step.
This is the lowest floor that writes files; every stage above uses these functions.
"""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nolabel.errors import DataError

__all__ = [
    "DiskFullError",
    "atomic_path",
    "encode_json",
    "encode_png",
    "write_bytes",
    "write_json",
    "write_png",
]


class DiskFullError(DataError):
    """The disk, or the user's quota on it, is full; nothing half-written was left."""


@contextmanager
def atomic_path(path: Path, *, temporary: Path | None = None, durable: bool = False) -> Iterator[Path]:
    """Give a temporary path to write to; at success it is moved to ``path`` in one step.

    Args:
        path: the final place; its folder is made.
        temporary: folder for the temporary file, on the same disk; beside ``path`` by default.
        durable: force the bytes to the disk first, so that even a power cut leaves the old or the new file.

    Raises:
        DiskFullError: the disk is full. Whatever the error, the temporary file is removed and ``path`` is
            what it was before.
    """
    path = Path(path)
    folder = path.parent if temporary is None else temporary
    written = folder / f".{path.name[:150]}.{os.getpid()}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        yield written
        if durable:
            _sync(written)
        written.replace(path)
        if durable:
            _sync(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"the disk is full: cannot write {path}",
                hint="free some space and run the same command again; what is finished is kept",
            ) from error
        raise
    finally:
        written.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes, *, temporary: Path | None = None) -> Path:
    """Write bytes atomically."""
    with atomic_path(path, temporary=temporary) as written:
        written.write_bytes(content)
    return path


def encode_json(value: Any) -> bytes:
    """Return readable JSON with a final newline; the order of keys is the value's own."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_json(path: Path, value: Any) -> Path:
    """Write JSON atomically."""
    return write_bytes(Path(path), encode_json(value))


def encode_png(array: np.ndarray, palette: np.ndarray | None = None) -> bytes:
    """Return the bytes of a PNG, the same for the same array.

    Args:
        array: (H, W) uint8 or uint16, or (H, W, 3) uint8 RGB.
        palette: (256, 3) uint8 colours for a (H, W) uint8 array: the file keeps the labels and shows colours.

    Raises:
        ValueError: for another type or shape.
    """
    array = np.ascontiguousarray(array)
    grey = array.ndim == 2
    if array.dtype == np.uint16 and grey and palette is None:
        image = Image.frombytes("I;16", (array.shape[1], array.shape[0]), array.astype("<u2").tobytes())
    elif array.dtype == np.uint8 and (grey or (array.ndim == 3 and array.shape[2] == 3 and palette is None)):
        image = Image.fromarray(array)
        if palette is not None:
            image = image.convert("P")
            image.frombytes(array.tobytes())
            image.putpalette(np.ascontiguousarray(palette, dtype=np.uint8).tobytes())
    else:
        raise ValueError(f"no PNG for an array of {array.dtype} with shape {array.shape}")
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def write_png(path: Path, array: np.ndarray, palette: np.ndarray | None = None) -> Path:
    """Write a PNG atomically; see :func:`encode_png`."""
    return write_bytes(Path(path), encode_png(array, palette))
