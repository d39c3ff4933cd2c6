"""Finding and reading label files: what the layouts share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from nolabel.data.files import examples, natural_key, read_map
from nolabel.data.labelled import IdMap, LabelledRecord
from nolabel.errors import DataError

__all__ = ["decode_classes", "find_files", "pair_files", "read_channels"]


def find_files(root: Path, pattern: str, source: str) -> list[Path]:
    """List the files below a root by a glob pattern, naturally sorted; DataError with the source if there are none."""
    found = sorted(root.glob(pattern), key=natural_key)
    if not found:
        raise DataError(f"{root} holds no {pattern}", hint=source)
    return found


def pair_files(
    images: list[Path], partner: Callable[[Path], Path], root: Path, source: str
) -> list[tuple[Path, Path]]:
    """Pair each file with another; the folders are listed once instead of asking for every file."""
    pairs = [(image, partner(image)) for image in images]
    there = {
        path
        for folder in {other.parent for _, other in pairs}
        if folder.is_dir()
        for path in folder.iterdir()
    }
    missing = [other.relative_to(root) for _, other in pairs if other not in there]
    if missing:
        raise DataError(
            f"{root}: {len(missing)} of {len(pairs)} partner files are missing: {examples(missing)}",
            hint=source,
        )
    return pairs


def read_channels(path: Path, channels: int) -> IdMap:
    """Read a map and insist on its number of channels."""
    values = read_map(path)
    if (values.shape[2] if values.ndim == 3 else 1) != channels:
        raise DataError(
            f"{path} has {values.shape[2] if values.ndim == 3 else 1} channels, not {channels}",
            hint="this is not the label file of this data set's layout",
        )
    return values


def decode_classes(record: LabelledRecord) -> tuple[IdMap, IdMap]:
    """A map of class ids without instances."""
    values = read_channels(record.label, 1)
    return values, np.zeros_like(values)
