"""The two sides of domain adaptation as entries of a recipe: labelled data sets, and images without labels."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import torch
from torch.utils.data import Dataset

from nolabel.config import Config
from nolabel.data.folder import FolderImages
from nolabel.data.labelled import LabelledDataset
from nolabel.data.labelled_opening import find_labelled, open_labels
from nolabel.data.unlabelled import open_unlabelled
from nolabel.data.video import VideoFrames
from nolabel.errors import ConfigError
from nolabel.labels import LabelSpace
from nolabel.structures import LabelledSample

__all__ = ["JoinedLabelled", "LabelledEntry", "UnlabelledEntry", "open_domain"]


class LabelledEntry(Config):
    """A labelled data set."""

    data: Path
    """Its folder; or a text file of images, one path a line, with ``labels``."""
    labels: Path | None = None
    """Text file of the label maps, line by line those of ``data``."""
    dataset: str | None = None
    """Its layout (`nolabel datasets`); found by looking by default. GTA5 has to be named."""
    split: str | None = None
    """Part of it; by default ``train`` where the layout has it."""
    raw_ids_of: str | None = None
    """Own folders: data set whose raw ids the maps hold."""
    mapping: Path | None = None
    """Own folders: file that says what ids or colours mean; ``classes.yaml`` of the folder by default."""

    def open(self, space: LabelSpace | str | None = None, *, split: str = "train") -> LabelledDataset:
        """Open it, whole images.

        Args:
            space: classes of the labels; the layout's by default.
            split: taken where the entry names none and the layout has it.

        Raises:
            ConfigError, DataError: see :func:`~nolabel.data.labelled_opening.open_labels`.
        """
        layout = self.dataset or (None if self.data.is_file() else find_labelled(self.data))
        part = self.split
        if part is None and (layout != "folder" or (self.data / "labels" / split).is_dir()):
            part = split
        return open_labels(
            self.data,
            layout,
            part,
            space=space,
            labels=self.labels,
            raw_ids_of=self.raw_ids_of,
            mapping=self.mapping,
        )


class UnlabelledEntry(Config):
    """Images to adapt to."""

    data: Path
    """Folder, data set, video, or text file with one path a line."""
    dataset: str | None = None
    """Its layout; found by looking by default."""
    split: str = "train"
    """Part of it, where the layout has parts."""

    def open(self) -> FolderImages | VideoFrames:
        """Open it.

        Raises:
            DataError: see :func:`~nolabel.data.unlabelled.open_unlabelled`.
        """
        return open_unlabelled(self.data, self.dataset, split=self.split)


class JoinedLabelled(Dataset[LabelledSample]):
    """Several labelled data sets one after the other, with one label space (GTA5 and Synscapes).

    Args:
        parts: the data sets. Where names repeat, the position of the part is put in front.

    Raises:
        ConfigError: the label spaces differ, or there are none.
    """

    def __init__(self, parts: Sequence[LabelledDataset]) -> None:
        spaces = {part.space.name for part in parts}
        if len(spaces) != 1:
            raise ConfigError(
                f"data sets with one label space are wanted, not {', '.join(sorted(spaces)) or 'none at all'}",
                hint="name the space",
            )
        self.parts = list(parts)
        self.space = parts[0].space
        self._ends = list(accumulate(len(part) for part in parts))
        names = [name for part in parts for name in part.names]
        if len(set(names)) < len(names):
            names = [f"{position}_{name}" for position, part in enumerate(parts) for name in part.names]
        self.names = names

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> LabelledSample:
        part, place = self._find(index)
        sample = part[place]
        sample["name"] = self.names[index]
        return sample

    def read_labels(self, index: int) -> torch.Tensor:
        """Return the classes (H, W) uint8 of a sample as stored, without reading its image."""
        part, place = self._find(index)
        return part.read_labels(place)

    def read_image(self, index: int) -> torch.Tensor:
        """Return the image (3, H, W) uint8 of a sample as stored, without reading its labels."""
        part, place = self._find(index)
        return part.read_image(place)

    def _find(self, index: int) -> tuple[LabelledDataset, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect_right(self._ends, index)
        return self.parts[number], index - (self._ends[number - 1] if number else 0)


def open_domain(
    entries: Sequence[LabelledEntry], space: LabelSpace | str | None = None, *, split: str = "train"
) -> LabelledDataset | JoinedLabelled:
    """Open one or several labelled data sets as one.

    Args:
        entries: the data sets.
        space: classes of all of them; by default those of the first.
        split: see :meth:`LabelledEntry.open`.

    Raises:
        ConfigError, DataError: see :func:`~nolabel.data.labelled_opening.open_labels`.
    """
    parts: list[LabelledDataset] = []
    for entry in entries:
        parts.append(entry.open(space, split=split))
        space = space or parts[0].space
    return parts[0] if len(parts) == 1 else JoinedLabelled(parts)
