"""The table behind ``nolabel datasets``: what is known, where to get it, and what of it lies in a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path

import yaml

from nolabel.errors import DataError

__all__ = ["KnownDataset", "catalogue", "found_in"]


@dataclass(frozen=True)
class KnownDataset:
    """One entry of ``catalogue.yaml``.

    Args:
        name: the data set.
        task: what its labels or frames are good for.
        reader: the name in :mod:`nolabel.data` that opens it.
        layout: its files, in words.
        licence: in words.
        source: where to get it.
        find: glob patterns below its root by what they count.
        counts: what the official release holds, by the same names.
    """

    name: str
    task: str
    reader: str
    layout: str
    licence: str
    source: str
    find: dict[str, str]
    counts: dict[str, int] = field(default_factory=dict)


@cache
def catalogue() -> tuple[KnownDataset, ...]:
    """Return every known data set."""
    content = yaml.safe_load((resources.files("nolabel.data") / "catalogue.yaml").read_text(encoding="utf-8"))
    return tuple(KnownDataset(**entry) for entry in content)


def found_in(root: str | Path) -> list[tuple[Path, KnownDataset, dict[str, int]]]:
    """Look for known data sets in a folder and in its direct subfolders.

    Returns:
        (folder, data set, counts by name) for every set of which all kinds of files were found.

    Raises:
        DataError: the folder is missing.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}", hint="name the folder that holds your data sets")
    folders = [
        root,
        *sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")),
    ]
    found = []
    for folder in folders:
        for known in catalogue():
            counts = {name: sum(1 for _ in folder.glob(pattern)) for name, pattern in known.find.items()}
            if any(counts.values()):
                found.append((folder, known, counts))
    return found
