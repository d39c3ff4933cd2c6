"""Finding the pictures that a label file names, in one or several folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath

from nolabel.errors import DataError

__all__ = ["ImageRoots"]


class ImageRoots:
    """Folders that pictures are looked for in.

    A file name of a label file is relative to one of the folders; where it is in none, its last part alone is tried
    (label files of COCO name ``000000000139.jpg``, others ``val2017/000000000139.jpg``), and the parts before it one by
    one. Folders are listed once, so that a million names cost a thousand listings and no more.

    Args:
        folders: they must exist.

    Raises:
        DataError: one does not.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = list(dict.fromkeys(Path(folder) for folder in folders))
        absent = [str(folder) for folder in self.folders if not folder.is_dir()]
        if absent or not self.folders:
            raise DataError(
                f"there is no folder of images {', '.join(absent)}", hint="check the path given as --images"
            )

    def __str__(self) -> str:
        return ", ".join(str(folder) for folder in self.folders)

    def find(self, file_name: str) -> Path | None:
        """Return the file of a name, or ``None``.

        Raises:
            DataError: several folders have a picture of this name.
        """
        parts = PurePosixPath(file_name).parts
        for start in range(len(parts)):
            paths = [folder / Path(*parts[start:]) for folder in self.folders]
            found = [path for path in paths if path.name in _listing(path.parent)]
            if len(found) > 1:
                raise DataError(
                    f"{file_name} is in several folders: {', '.join(map(str, found))}",
                    hint="give the folder above them as --images, and names that begin with their folder "
                    "(prepare --scenes-in, --photographs-in)",
                )
            if found:
                return found[0]
        return None


@cache
def _listing(folder: Path) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries)
    except OSError:
        return frozenset()
